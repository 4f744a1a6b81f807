//! One answer of an endpoint, as far as the monitor uses it. Everything may be missing: an older or newer validator has other families.

use crate::bridge::{Marks, Standing, ViewRow};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Rows that are kept of any list in an answer.
const ROWS_MAX: usize = 1_024;

/// `/snapshot`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Reading {
    /// When its figures were published, milliseconds since 1970.
    pub written_unix_ms: u64,
    /// Chain id.
    pub chain: String,
    /// The validator's seat.
    pub seat: u16,
    /// The set's marks.
    pub marks: Marks,
    /// Weight that spoke in open views.
    #[serde(default)]
    pub standings: Vec<Standing>,
    /// The latest views.
    #[serde(default)]
    pub views: Vec<ViewRow>,
    /// The families.
    #[serde(default)]
    pub families: BTreeMap<String, Vec<Point>>,
}

/// A sample.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Point {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Of a counter or a gauge.
    pub value: f64,
    /// Of a histogram.
    pub count: u64,
    /// Of a histogram.
    pub sum: f64,
    /// Bound (None for the last) and cumulative count.
    pub buckets: Vec<(Option<f64>, u64)>,
}

impl Reading {
    /// None if it is no snapshot.
    pub fn parse(bytes: &[u8]) -> Option<Reading> {
        let mut reading: Reading = serde_json::from_slice(bytes).ok()?;
        // What is shown must be readable: no control characters from a stranger reach the terminal.
        reading.chain.retain(|c| c.is_ascii_alphanumeric());
        reading.views.truncate(ROWS_MAX);
        reading.standings.truncate(ROWS_MAX);
        reading.families.values_mut().for_each(|points| points.truncate(ROWS_MAX));
        for label in reading.families.values_mut().flatten().flat_map(|point| point.labels.values_mut()) {
            label.retain(|c| !c.is_control());
        }
        Some(reading)
    }

    /// The points of a family.
    pub fn points(&self, family: &str) -> &[Point] {
        self.families.get(family).map_or(&[], Vec::as_slice)
    }

    /// The sum of a family's values; None if it has none.
    pub fn total(&self, family: &str) -> Option<f64> {
        let points = self.points(family);
        (!points.is_empty()).then(|| points.iter().map(|point| point.value).sum())
    }

    /// Values of a family by one of its labels, added up.
    pub fn by(&self, family: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for point in self.points(family) {
            if let Some(name) = point.labels.get(label) {
                *sums.entry(name.clone()).or_insert(0.0) += point.value;
            }
        }
        sums
    }
}

/// What a histogram gained between two readings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gain {
    /// Values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    buckets: Vec<(Option<f64>, u64)>,
}

impl Gain {
    /// From `before` to `after`; a process that began again counts from zero.
    pub fn between(before: Option<&Point>, after: &Point) -> Gain {
        let before = before.filter(|before| before.count <= after.count && before.buckets.len() == after.buckets.len());
        let less = |at: usize| before.map_or(0, |before| before.buckets[at].1);
        Gain {
            count: after.count - before.map_or(0, |before| before.count),
            sum: after.sum - before.map_or(0.0, |before| before.sum),
            buckets: after.buckets.iter().enumerate().map(|(at, (bound, count))| (*bound, count.saturating_sub(less(at)))).collect(),
        }
    }

    /// The value below which this share of what was gained lies, within its bucket by straight line; None if nothing was gained.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let wanted = self.count as f64 * share;
        let (mut low, mut below) = (0.0, 0);
        for (bound, count) in &self.buckets {
            if *count as f64 >= wanted && *count > below {
                let Some(bound) = bound else { return Some(low) };
                return Some(low + (bound - low) * (wanted - below as f64) / (count - below) as f64);
            }
            (low, below) = (bound.unwrap_or(low), *count);
        }
        None
    }

    /// Mean; None if nothing was gained.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(counts: [u64; 3]) -> Point {
        Point {
            count: counts[2],
            sum: counts[2] as f64,
            buckets: vec![(Some(1.0), counts[0]), (Some(2.0), counts[1]), (None, counts[2])],
            ..Point::default()
        }
    }

    #[test]
    fn quantiles_are_of_what_was_gained() {
        let gain = Gain::between(Some(&point([10, 10, 10])), &point([10, 20, 20]));
        assert_eq!((gain.count, gain.quantile(0.5), gain.quantile(1.0)), (10, Some(1.5), Some(2.0)));
        assert_eq!(Gain::between(Some(&point([9, 9, 9])), &point([9, 9, 9])).quantile(0.5), None);
        assert_eq!(Gain::between(None, &point([0, 0, 4])).quantile(0.5), Some(2.0), "beyond the last bound: at least that bound");
        assert_eq!(Gain::between(Some(&point([9, 9, 9])), &point([1, 1, 1])).count, 1, "a process that began again");
    }

    #[test]
    fn a_reading_needs_its_head_and_loses_what_a_terminal_would_obey() {
        let head = "\"written_unix_ms\":1,\"chain\":\"ab\\u001b[2J\",\"seat\":2,\"marks\":{\"total\":6,\"m\":3,\"l\":5}";
        let text = format!("{{{head},\"families\":{{\"f\":[{{\"labels\":{{\"x\":\"a\\u001bb\"}},\"value\":2}}]}}}}");
        let reading = Reading::parse(text.as_bytes()).unwrap();
        assert_eq!((reading.chain.as_str(), reading.total("f"), reading.total("g")), ("ab2J", Some(2.0), None));
        assert_eq!(reading.by("f", "x"), BTreeMap::from([("ab".to_string(), 2.0)]));
        for bad in ["", "[]", "{}", "{\"seat\":70000}", "null"] {
            assert!(Reading::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
