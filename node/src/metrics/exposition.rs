//! The figures of one scrape as OpenMetrics text, as the classic Prometheus text, and as JSON.
//!
//! `prometheus-client` writes OpenMetrics. The classic format differs in three lines per family only (a counter's name in HELP and TYPE ends
//! in `_total`, there is no UNIT and no EOF), so it is made from the same text.

use super::families;
use super::picture::Picture;
use super::sample::{Family, Kind, Sample, Spread, Value};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use serde_json::{Map, json};
use std::fmt;
use std::sync::Arc;

/// Content type of [`openmetrics`].
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Content type of [`classic`].
pub const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every family that has a value, with its values; copies share them.
#[derive(Clone, Debug)]
pub struct Scrape(Arc<Vec<(Family, Vec<Sample>)>>);

impl Scrape {
    /// Fills all families.
    pub fn of(picture: &Picture) -> Scrape {
        let filled = families::all().map(|family| (*family, family.samples(picture)));
        Scrape(Arc::new(filled.filter(|(_, samples)| !samples.is_empty()).collect()))
    }

    /// `{family: [{"labels": {..}, "value": n} | {"labels": {..}, "count", "sum", "buckets": [[bound, cumulative], ..]}]}`; the bound of the
    /// last bucket is null.
    pub fn json(&self) -> serde_json::Value {
        let of = |(family, samples): &(Family, Vec<Sample>)| (family.exposed(), samples.iter().map(|s| sample_json(family, s)).collect());
        serde_json::Value::Object(self.0.iter().map(of).collect())
    }
}

fn sample_json(family: &Family, sample: &Sample) -> serde_json::Value {
    let labels: Map<_, _> = family.labels.iter().map(|name| name.to_string()).zip(sample.labels.iter().map(|value| json!(value))).collect();
    match &sample.value {
        Value::Number(value) => json!({ "labels": labels, "value": value }),
        Value::Spread(Spread { count, sum, buckets }) => json!({ "labels": labels, "count": count, "sum": sum, "buckets": buckets }),
    }
}

/// OpenMetrics text, with its end marker.
pub fn openmetrics(scrape: Scrape) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut text = String::with_capacity(64 << 10);
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("writing to a String does not fail");
    text
}

/// Prometheus text format 0.0.4.
pub fn classic(scrape: Scrape) -> String {
    let text = openmetrics(scrape);
    let mut classic = String::with_capacity(text.len() + 4_096);
    for line in text.lines() {
        match line
            .split_once(' ')
            .map_or(("", ""), |(mark, rest)| if mark == "#" { rest.split_once(' ').unwrap_or((rest, "")) } else { ("", "") })
        {
            ("EOF" | "UNIT", _) => continue,
            (word @ ("HELP" | "TYPE"), rest) => {
                let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                let counter = families::all().any(|family| family.name == name && family.kind == Kind::Counter);
                classic.extend(["# ", word, " ", name, if counter { "_total " } else { " " }, rest]);
            }
            _ => classic.push_str(line),
        }
        classic.push('\n');
    }
    classic
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (family, samples) in self.0.iter() {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for sample in samples {
                encode_sample(&mut metric, family, sample)?;
            }
        }
        Ok(())
    }
}

fn encode_sample(metric: &mut MetricEncoder<'_>, family: &Family, sample: &Sample) -> fmt::Result {
    if family.labels.is_empty() {
        return encode_value(metric, family.kind, &sample.value);
    }
    let labels: Vec<(&str, &str)> = family.labels.iter().copied().zip(sample.labels.iter().map(String::as_str)).collect();
    let labels = labels.as_slice();
    encode_value(&mut metric.encode_family(&labels)?, family.kind, &sample.value)
}

fn encode_value(metric: &mut MetricEncoder<'_>, kind: Kind, value: &Value) -> fmt::Result {
    match (kind, value) {
        (Kind::Counter, Value::Number(value)) => metric.encode_counter::<NoLabelSet, _, f64>(value, None),
        (_, Value::Number(value)) => metric.encode_gauge(value),
        (_, Value::Spread(spread)) => {
            // The encoder adds up by itself.
            let mut below = 0;
            let cells: Vec<_> =
                spread.buckets.iter().map(|(bound, count)| (*bound, count - std::mem::replace(&mut below, *count))).collect();
            metric.encode_histogram::<NoLabelSet>(spread.sum, spread.count, &cells, None)
        }
    }
}
