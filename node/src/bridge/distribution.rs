//! A latency distribution that survives JSON: an HDR histogram written as its recorded (value, count) pairs.
//!
//! Pairs instead of the HDR binary form: readable, mergeable by adding, and no base64. Values keep three significant digits, so a
//! pair's value may differ from the recorded one by 0.1 % and reading back what was written gives the same histogram.

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Larger values are recorded as this one (12 days in microseconds): bounds the memory a wild value can claim.
const VALUE_MAX: u64 = 1 << 40;

/// Counts by value. The unit stands in the name of the field that holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution(Histogram<u64>);

impl Eq for Distribution {}

impl Default for Distribution {
    fn default() -> Self {
        Distribution(Histogram::new(3).expect("three significant digits are allowed"))
    }
}

/// What reports print of a distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Largest.
    pub max: f64,
    /// Number of values.
    pub count: u64,
}

impl Distribution {
    /// Adds one value.
    pub fn record(&mut self, value: u64) {
        self.record_many(value, 1);
    }

    fn record_many(&mut self, value: u64, count: u64) {
        self.0.record_n(value.min(VALUE_MAX), count).expect("the histogram grows up to VALUE_MAX");
    }

    /// Adds everything another one holds.
    pub fn merge(&mut self, other: &Distribution) {
        self.0.add(&other.0).expect("both resize as needed");
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Percentiles, each value divided by `unit` (1000.0 turns microseconds into milliseconds). All zero when empty.
    pub fn percentiles(&self, unit: f64) -> Percentiles {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / unit;
        Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: self.0.max() as f64 / unit, count: self.0.len() }
    }

    /// The histogram itself, for `.hgrm` files and plots.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }
}

impl Serialize for Distribution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_since_last_iteration())))
    }
}

impl<'de> Deserialize<'de> for Distribution {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut distribution = Distribution::default();
        for (value, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            distribution.record_many(value, count);
        }
        Ok(distribution)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_every_count_and_merging_adds_them() {
        let mut one = Distribution::default();
        let mut two = Distribution::default();
        for value in 0..5_000u64 {
            one.record(value * value);
            two.record(value * 7 + 60_000_000);
        }
        let back: Distribution = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
        assert_eq!(back.percentiles(1.0), one.percentiles(1.0));
        assert_eq!(serde_json::to_string(&back).unwrap(), serde_json::to_string(&one).unwrap());
        let mut both = back;
        both.merge(&two);
        assert_eq!(both.count(), 10_000);
        let largest = (4_999 * 7 + 60_000_000) as f64;
        assert!((both.percentiles(1.0).max - largest).abs() <= largest / 1_000.0);
    }

    #[test]
    fn an_empty_distribution_reads_as_zeros() {
        assert_eq!(Distribution::default().percentiles(1_000.0), Percentiles::default());
        assert_eq!(serde_json::to_string(&Distribution::default()).unwrap(), "[]");
    }
}
