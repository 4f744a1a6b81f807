//! One family of the table, and the values it had at one scrape.

use super::picture::Picture;
use crate::bridge::Distribution;

/// What kind of figure a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives; its exposed name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size, cumulative.
    Histogram,
}

impl Kind {
    /// As in the exposition.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A family: what it is called, what it says, and how it is filled.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Name without the counter's `_total`.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// One sentence, with the unit where the name has none.
    pub help: &'static str,
    /// Fills it from a picture.
    pub fill: fn(&Picture, &mut Emit),
}

impl Family {
    /// A family of counters.
    pub const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str, fill: fn(&Picture, &mut Emit)) -> Family {
        Family { name, kind: Kind::Counter, labels, help, fill }
    }

    /// A family of gauges.
    pub const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str, fill: fn(&Picture, &mut Emit)) -> Family {
        Family { name, kind: Kind::Gauge, labels, help, fill }
    }

    /// A family of histograms.
    pub const fn histogram(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
        fill: fn(&Picture, &mut Emit),
    ) -> Family {
        Family { name, kind: Kind::Histogram, labels, help, fill }
    }

    /// The name a query uses: with `_total` for a counter.
    pub fn exposed(&self) -> String {
        let suffix = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{}{suffix}", self.name)
    }

    /// Its values in `picture`.
    pub fn samples(&self, picture: &Picture) -> Vec<Sample> {
        let mut emit = Emit { labels: self.labels.len(), samples: Vec::new() };
        (self.fill)(picture, &mut emit);
        emit.samples
    }
}

/// A value with the values of its family's labels, in the family's order.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Label values.
    pub labels: Vec<String>,
    /// The value.
    pub value: Value,
}

/// What a sample says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a histogram.
    Spread(Spread),
}

/// A histogram at one scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spread {
    /// Number of values.
    pub count: u64,
    /// Their sum, known to 0.1 %.
    pub sum: f64,
    /// Upper bound and values at or below it, ascending; the last bound is infinite and holds all.
    pub buckets: Vec<(f64, u64)>,
}

/// Where a family's function puts its values.
pub struct Emit {
    labels: usize,
    samples: Vec<Sample>,
}

impl Emit {
    /// A number under these label values.
    pub fn number<L: ToString>(&mut self, labels: &[L], value: f64) {
        self.push(labels, Value::Number(value));
    }

    /// A count under these label values; exact up to 2^53.
    pub fn count<L: ToString>(&mut self, labels: &[L], value: u64) {
        self.number(labels, value as f64);
    }

    /// A distribution whose values times `unit` are in the family's unit.
    pub fn spread<L: ToString>(&mut self, labels: &[L], distribution: &Distribution, unit: f64, bounds: &[f64]) {
        self.push(labels, Value::Spread(Spread::of(distribution, unit, bounds)));
    }

    fn push<L: ToString>(&mut self, labels: &[L], value: Value) {
        assert_eq!(labels.len(), self.labels, "a sample has a value for each label of its family");
        self.samples.push(Sample { labels: labels.iter().map(L::to_string).collect(), value });
    }
}

/// No label.
pub const PLAIN: &[&str] = &[];

impl Spread {
    /// One walk over the recorded values. A value that lies in a bucket's last thousandth counts for the next: the source keeps three digits.
    pub fn of(distribution: &Distribution, unit: f64, bounds: &[f64]) -> Spread {
        let mut spread = Spread { buckets: bounds.iter().chain([&f64::INFINITY]).map(|bound| (*bound, 0)).collect(), ..Spread::default() };
        let mut at = 0;
        for step in distribution.histogram().iter_recorded() {
            let (value, count) = (step.value_iterated_to() as f64 * unit, step.count_since_last_iteration());
            while value > spread.buckets[at].0 {
                at += 1;
            }
            spread.buckets[at].1 += count;
            spread.count += count;
            spread.sum += value * count as f64;
        }
        let mut below = 0;
        for (_, count) in &mut spread.buckets {
            below += *count;
            *count = below;
        }
        spread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_a_value_at_a_bound_is_inside() {
        let mut distribution = Distribution::default();
        for value in [0, 999, 1_000, 1_001, 5_000, 2_000_000] {
            distribution.record(value);
        }
        let spread = Spread::of(&distribution, 1e-6, &[0.001, 0.01]);
        assert_eq!(spread.buckets, [(0.001, 3), (0.01, 5), (f64::INFINITY, 6)]);
        assert_eq!(spread.count, 6);
        assert!((spread.sum - 2.008).abs() < 0.003, "{}", spread.sum);
    }

    #[test]
    fn an_empty_distribution_has_all_buckets_empty() {
        let spread = Spread::of(&Distribution::default(), 1.0, &[1.0]);
        assert_eq!((spread.count, spread.buckets), (0, vec![(1.0, 0), (f64::INFINITY, 0)]));
    }
}
