//! Rows, and what is made of them: JSON, a table, `.hgrm` files and plots.

use super::cases::{Case, Rung};
use super::ends::Measured;
use super::floor::{self, Figures};
use super::stretch::{Gaps, Stretch};
use crate::bridge::Distribution;
use crate::exit::Exit;
use crate::localnet::report::hgrm;
use comfy_table::{CellAlignment, Table, presets};
use plotters::prelude::*;
use serde::Serialize;
use std::path::Path;

/// One rung and case beside one rival. Latencies are nanoseconds; what a case does not have is null.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What moved the datagrams.
    pub rung: &'static str,
    /// What was measured.
    pub case: String,
    /// Median over all rounds.
    pub p50_ns: Option<u64>,
    /// 99th percentile.
    pub p99_ns: Option<u64>,
    /// 99.9th percentile.
    pub p999_ns: Option<u64>,
    /// Millions of messages per second that arrived.
    pub mpps: Option<f64>,
    /// Their message bits, Gbit/s.
    pub gbps: Option<f64>,
    /// Who was measured in the same rounds; null if nobody was.
    pub rival: Option<&'static str>,
    /// How many times better than the rival, above 1 if better: median over the rounds of the ratio of medians, or of rates.
    pub ratio: Option<f64>,
    /// Rounds that the ratio is the median of.
    pub pairs: usize,
    /// Messages measured.
    pub count: u64,
    /// Messages that did not arrive.
    pub lost: u64,
    /// What took the cores away meanwhile.
    pub stretch: Stretch,
}

/// Everything measured of one rung and case, a round each.
#[derive(Clone, Debug)]
pub struct Series {
    /// What moved the datagrams.
    pub rung: Rung,
    /// What was measured.
    pub case: Case,
    /// One measurement per round.
    pub rounds: Vec<Measured>,
}

impl Series {
    /// All rounds together.
    pub fn whole(&self) -> Measured {
        let mut whole = Measured::default();
        self.rounds.iter().for_each(|round| whole.merge(round));
        whole
    }

    /// The figure that ratios compare, of each round: larger is better.
    pub fn merits(&self) -> Vec<f64> {
        let merit = |round: &Measured| {
            if self.case.is_rate() { round.mpps() } else { 1e9 / (round.latency.percentiles(1.0).p50).max(1.0) }
        };
        self.rounds.iter().map(merit).collect()
    }

    /// A row beside a rival with these merits of the same rounds.
    pub fn row(&self, rival: Option<(&'static str, &[f64])>) -> Row {
        let whole = self.whole();
        let latency = (!self.case.is_rate() && whole.latency.count() > 0).then(|| whole.latency.percentiles(1.0));
        let rated = !whole.elapsed.is_zero();
        let ratios: Vec<f64> =
            rival.map_or(Vec::new(), |(_, merits)| self.merits().iter().zip(merits).map(|(ours, rival)| ours / rival).collect());
        Row {
            rung: self.rung.as_str(),
            case: self.case.to_string(),
            p50_ns: latency.map(|p| p.p50 as u64),
            p99_ns: latency.map(|p| p.p99 as u64),
            p999_ns: latency.map(|p| p.p999 as u64),
            mpps: rated.then(|| whole.mpps()),
            gbps: rated.then(|| whole.gbps()),
            rival: rival.map(|(name, _)| name),
            pairs: ratios.len(),
            ratio: median(ratios),
            count: whole.delivered,
            lost: whole.lost,
            stretch: whole.stretch,
        }
    }
}

impl Row {
    /// What the C floor did in the rounds of `case`: the median of each of its figures, beside a rival with these merits of the same rounds. The floor against the
    /// kernel's UDP is the most that any port over the same interface can gain.
    pub fn of_floor(case: Case, figures: &[Figures], rival: Option<(&'static str, &[f64])>) -> Row {
        let ratio = |rival: &[f64]| figures.iter().zip(rival).map(|(floor, rival)| floor.merit() / rival).collect::<Vec<_>>();
        let ratios = rival.map_or(Vec::new(), |(_, merits)| ratio(merits));
        let rtt =
            |at: usize| median(figures.iter().filter_map(|round| round.rtt_ns).map(|rtt| rtt[at] as f64).collect()).map(|ns| ns as u64);
        let rate = |of: fn((f64, f64)) -> f64| median(figures.iter().filter_map(|round| round.rate).map(of).collect());
        Row {
            rung: floor::NAME,
            case: case.to_string(),
            p50_ns: rtt(0),
            p99_ns: rtt(1),
            p999_ns: rtt(2),
            mpps: rate(|rate| rate.0),
            gbps: rate(|rate| rate.1),
            rival: rival.map(|(name, _)| name),
            pairs: ratios.len(),
            ratio: median(ratios),
            count: figures.len() as u64,
            lost: 0,
            stretch: Stretch::default(),
        }
    }
}

/// The middle value; None of nothing.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|value| value.is_finite());
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// Where it was measured.
#[derive(Clone, Debug, Serialize)]
pub struct HostFacts {
    /// CPU, kernel, commit.
    #[serde(flatten)]
    pub host: crate::bench::measure::Host,
    /// `veth` or `loopback`.
    pub network: &'static str,
    /// Cores of the near and the far end.
    pub end_cores: [usize; 2],
    /// What takes a core away from a loop that only reads its clock, per end.
    pub gaps: [Gaps; 2],
}

/// A rung that was not measured.
#[derive(Clone, Debug, Serialize)]
pub struct Skipped {
    /// Which.
    pub rung: &'static str,
    /// Why.
    pub reason: String,
}

/// What the command prints.
#[derive(Clone, Debug, Serialize)]
pub struct Document {
    /// In the order of the cases.
    pub rows: Vec<Row>,
    /// Where.
    pub host: HostFacts,
    /// What is missing.
    pub skipped: Vec<Skipped>,
}

impl Document {
    /// What a person reads.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header(["case", "rung", "p50 us", "p99 us", "p99.9 us", "Mpps", "Gbit/s", "lost", "x rival", "rival", "stretched by"]);
        let us = |ns: Option<u64>| ns.map_or("-".into(), |ns| format!("{:.2}", ns as f64 / 1e3));
        let digits = |value: Option<f64>, places: usize| value.map_or("-".into(), |value| format!("{value:.places$}"));
        for row in &self.rows {
            table.add_row([
                row.case.clone(),
                row.rung.into(),
                us(row.p50_ns),
                us(row.p99_ns),
                us(row.p999_ns),
                digits(row.mpps, 3),
                digits(row.gbps, 2),
                row.lost.to_string(),
                digits(row.ratio, 2),
                row.rival.unwrap_or("-").into(),
                row.stretch.line(),
            ]);
        }
        table.column_iter_mut().skip(2).take(7).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        let facts = &self.host;
        let gaps = |gaps: Gaps| {
            let us = |ns: u64| ns as f64 / 1e3;
            format!("{:.0}/s, p50 {:.1} us, p99 {:.1} us, max {:.1} us", gaps.per_second, us(gaps.p50_ns), us(gaps.p99_ns), us(gaps.max_ns))
        };
        let skipped: String = self.skipped.iter().map(|skipped| format!("\nnot measured: {}: {}", skipped.rung, skipped.reason)).collect();
        format!(
            "{table}\n{}, {}, {} over cores {} and {}, commit {}\nan idle loop is interrupted for over 1 us: near {}; far {}{skipped}",
            facts.host.cpu,
            facts.host.kernel,
            facts.network,
            facts.end_cores[0],
            facts.end_cores[1],
            facts.host.git_commit,
            gaps(facts.gaps[0]),
            gaps(facts.gaps[1])
        )
    }

    /// Writes report.json, report.txt, a histogram per latency series, and a plot per case that has latencies.
    pub fn write(&self, directory: &Path, all: &[Series]) -> Result<(), Exit> {
        let write = |name: String, text: String| {
            let path = directory.join(name);
            std::fs::write(&path, text).map_err(|error| Exit::failed(format!("{}: {error}", path.display())))
        };
        write("report.json".into(), format!("{}\n", serde_json::to_string_pretty(self).expect("rows are plain data")))?;
        write("report.txt".into(), format!("{}\n", self.table()))?;
        let latencies: Vec<_> =
            all.iter().map(|series| (series, series.whole().latency)).filter(|(_, latency)| latency.count() > 0).collect();
        for (series, latency) in &latencies {
            write(format!("{}-{}.hgrm", series.rung, series.case), hgrm(latency, 1_000.0))?;
        }
        for case in Case::all() {
            let lines: Vec<_> = latencies
                .iter()
                .filter(|(series, _)| series.case == case)
                .map(|(series, latency)| (series.rung.as_str(), latency))
                .collect();
            if !lines.is_empty() {
                let path = directory.join(format!("{case}.svg"));
                plot(&path, &case.to_string(), &lines).map_err(|error| Exit::failed(format!("{}: {error}", path.display())))?;
            }
        }
        Ok(())
    }
}

/// Latency over percentile by number of nines, both axes so that the tail is visible. Values are nanoseconds.
fn plot(path: &Path, case: &str, lines: &[(&str, &Distribution)]) -> Result<(), Box<dyn std::error::Error>> {
    let us = |latency: &Distribution, quantile: f64| (latency.histogram().value_at_quantile(quantile) as f64 / 1e3).max(0.1);
    let highest = lines.iter().map(|(_, latency)| us(latency, 1.0)).fold(1.0, f64::max);
    let lowest = lines.iter().map(|(_, latency)| us(latency, 0.0)).fold(highest, f64::min);
    let root = SVGBackend::new(path, (960, 540)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(format!("{case}: latency by percentile"), ("sans-serif", 22))
        .margin(16)
        .margin_right(40)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0f64..5.0, (lowest / 1.2..highest * 1.2).log_scale())?;
    let percentile = |nines: &f64| match nines.round() as i32 {
        0 => "0 %".to_string(),
        n => format!("{:.*} %", (n - 2).max(0) as usize, 100.0 - 10f64.powi(2 - n)),
    };
    chart.configure_mesh().x_labels(6).x_label_formatter(&percentile).y_desc("us").x_desc("percentile").draw()?;
    for (at, (name, latency)) in lines.iter().enumerate() {
        let color = Palette99::pick(at).to_rgba();
        let points = (0..=500).map(|step| f64::from(step) / 100.0).map(|nines| (nines, us(latency, 1.0 - 10f64.powf(-nines))));
        let line = chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?;
        line.label(*name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).border_style(BLACK).background_style(WHITE).draw()?;
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Dress, Size};
    use super::*;
    use std::time::Duration;

    fn series(case: Case, rounds: &[(u64, u64)]) -> Series {
        let of = |(latency, delivered): &(u64, u64)| {
            let mut measured = Measured { delivered: *delivered, elapsed: Duration::from_secs(1), ..Measured::default() };
            measured.latency.record(*latency);
            measured
        };
        Series { rung: Rung::XdpNative, case, rounds: rounds.iter().map(of).collect() }
    }

    #[test]
    fn a_ratio_above_one_is_better_for_latencies_and_for_rates() {
        let fast = series(Case::Rtt(Dress::Raw), &[(2_000, 1), (2_000, 1), (9_000, 1)]);
        let slow = series(Case::Rtt(Dress::Raw), &[(6_000, 1), (5_000, 1), (9_000, 1)]);
        let row = fast.row(Some(("udp", &slow.merits())));
        assert!((row.ratio.unwrap() - 2.5).abs() < 0.01, "the median of 3, 2.5 and 1: {:?}", row.ratio);
        assert_eq!((row.rival, row.pairs), (Some("udp"), 3));
        let rate = Case::Rate { size: Size::Vote, dress: Dress::Raw, gather: false };
        let row = series(rate, &[(0, 3_000_000)]).row(Some(("c-floor", &[2.0])));
        assert_eq!((row.ratio, row.mpps, row.p50_ns), (Some(1.5), Some(3.0), None));
    }

    #[test]
    fn a_row_has_the_contracted_keys_and_null_for_what_it_lacks() {
        let value = serde_json::to_value(series(Case::Wakeup, &[(1_000, 1)]).row(None)).unwrap();
        for key in ["rung", "case", "p50_ns", "p99_ns", "p999_ns", "mpps", "gbps", "rival", "ratio"] {
            assert!(value.get(key).is_some(), "{key}");
        }
        assert_eq!((&value["rung"], &value["case"]), (&"xdp-native".into(), &"wakeup".into()));
        assert!(value["rival"].is_null() && value["ratio"].is_null());
    }

    #[test]
    fn the_floor_stands_beside_the_rival_of_its_own_rounds() {
        let rtt = |p50: u64| Figures { rtt_ns: Some([p50, 2 * p50, 3 * p50]), rate: None };
        let (floor, udp) = ([rtt(2_000), rtt(4_000), rtt(3_000)], [1e9 / 3_000.0, 1e9 / 4_000.0, 1e9 / 6_000.0]);
        let row = Row::of_floor(Case::Rtt(Dress::Raw), &floor, Some(("udp", &udp)));
        assert!((row.ratio.unwrap() - 1.5).abs() < 0.01, "the median of 1.5, 1 and 2: {:?}", row.ratio);
        assert_eq!((row.rung, row.rival, row.pairs, row.p50_ns), ("c-floor", Some("udp"), 3, Some(3_000)));
        assert_eq!(Row::of_floor(Case::Rtt(Dress::Raw), &floor, None).ratio, None);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![1.0, 2.0]), Some(1.5));
        assert_eq!(median(vec![f64::NAN]), None);
    }
}
