//! Admission by class: the receiver derives class, size limit and rate from the first byte of the plaintext (DESIGN §3, rotor.md §8).
//!
//! ```text
//! opened message -> size limit of its kind -> token bucket of (peer, class) -> handler
//! ```
//! Invariants: no peer can spend the tokens of another, no class those of another; the arithmetic is integer and exact.

use samara_types::{Class, MessageKind, Nanos, ValidatorIndex};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Rate and burst of a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens added in one second, 1 to 10^9.
    pub per_second: u64,
    /// Most tokens held, 1 to 10^9; the bucket starts full.
    pub burst: u64,
}

impl Rate {
    /// A rate and its burst.
    pub const fn new(per_second: u64, burst: u64) -> Rate {
        assert!(
            per_second >= 1 && per_second <= NANOS_PER_SECOND && burst >= 1 && burst <= NANOS_PER_SECOND,
            "rates and bursts lie in 1..=10^9"
        );
        Rate { per_second, burst }
    }
}

/// A token bucket in units of one token over 10^9, so that a nanosecond adds exactly `per_second` units.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    units: u64,
    last: Nanos,
}

impl TokenBucket {
    /// A full bucket.
    pub fn full(rate: Rate, now: Nanos) -> TokenBucket {
        TokenBucket { units: rate.burst * NANOS_PER_SECOND, last: now }
    }

    /// Takes one token if there is one. A clock that steps back adds nothing.
    pub fn take(&mut self, rate: Rate, now: Nanos) -> bool {
        self.refill(rate, now);
        let enough = self.units >= NANOS_PER_SECOND;
        if enough {
            self.units -= NANOS_PER_SECOND;
        }
        enough
    }

    /// Whole tokens at `now`.
    pub fn tokens(&mut self, rate: Rate, now: Nanos) -> u64 {
        self.refill(rate, now);
        self.units / NANOS_PER_SECOND
    }

    fn refill(&mut self, rate: Rate, now: Nanos) {
        let earned = now.since(self.last).0.saturating_mul(rate.per_second);
        self.units = self.units.saturating_add(earned).min(rate.burst * NANOS_PER_SECOND);
        self.last = self.last.max(now);
    }
}

/// Receive rates of the four classes, per peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassRates(pub [Rate; 4]);

impl ClassRates {
    /// The rate of a class.
    pub fn of(&self, class: Class) -> Rate {
        self.0[class as usize]
    }
}

impl Default for ClassRates {
    /// Room for a block of 2,000 datagrams from one peer at once, many blocks a second, and a vote or two per view and peer many times over.
    fn default() -> Self {
        ClassRates([Rate::new(20_000, 8_192), Rate::new(20_000, 8_192), Rate::new(200_000, 65_536), Rate::new(100_000, 32_768)])
    }
}

/// Why an opened message was not handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ClassReject {
    /// Longer than its kind allows.
    Oversize = 0,
    /// The peer's tokens of this class are spent.
    Rate = 1,
}

impl ClassReject {
    /// All reasons.
    pub const ALL: [ClassReject; 2] = [ClassReject::Oversize, ClassReject::Rate];

    /// Metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            ClassReject::Oversize => "oversize",
            ClassReject::Rate => "rate",
        }
    }
}

/// The token buckets of all peers.
pub struct Admission {
    rates: ClassRates,
    buckets: Vec<[TokenBucket; 4]>,
    /// Admitted messages by class.
    pub admitted: [u64; 4],
    /// Refused messages by class, then reason.
    pub refused: [[u64; 2]; 4],
}

impl Admission {
    /// Full buckets for `peers` peers; 64 B each.
    pub fn new(peers: usize, rates: ClassRates, now: Nanos) -> Admission {
        let buckets = vec![rates.0.map(|rate| TokenBucket::full(rate, now)); peers];
        Admission { rates, buckets, admitted: [0; 4], refused: [[0; 2]; 4] }
    }

    /// Whether `peer` may hand in a message of `kind` with `bytes` bytes now. `peer` comes from its session and lies in the set.
    pub fn admit(&mut self, now: Nanos, peer: ValidatorIndex, kind: MessageKind, bytes: usize) -> Result<Class, ClassReject> {
        let class = kind.class();
        let verdict = if bytes > kind.bytes_max() {
            Err(ClassReject::Oversize)
        } else if !self.buckets[peer.at()][class as usize].take(self.rates.of(class), now) {
            Err(ClassReject::Rate)
        } else {
            Ok(class)
        };
        match verdict {
            Ok(_) => self.admitted[class as usize] += 1,
            Err(reason) => self.refused[class as usize][reason as usize] += 1,
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Restates the bucket with exact fractions: tokens times 10^9 in 128 bits, nothing saturates.
    struct Oracle(u128, u64);

    impl Oracle {
        fn take(&mut self, rate: Rate, now: u64) -> bool {
            self.0 = (self.0 + u128::from(now - self.1) * u128::from(rate.per_second)).min(u128::from(rate.burst) * 1_000_000_000);
            self.1 = now;
            let enough = self.0 >= 1_000_000_000;
            self.0 -= if enough { 1_000_000_000 } else { 0 };
            enough
        }
    }

    proptest! {
        #[test]
        fn token_bucket_agrees_with_exact_fractions(per_second in 1u64..1_000_000_000, burst in 1u64..100_000,
                                                    steps in proptest::collection::vec(prop_oneof![0u64..2_000, 0u64..5_000_000_000, 0u64..1 << 62], 1..200)) {
            let rate = Rate::new(per_second, burst);
            let mut bucket = TokenBucket::full(rate, Nanos(0));
            let mut oracle = Oracle(u128::from(burst) * 1_000_000_000, 0);
            let mut now = 0u64;
            for step in steps {
                now = now.saturating_add(step);
                prop_assert_eq!(bucket.take(rate, Nanos(now)), oracle.take(rate, now));
            }
        }
    }

    #[test]
    fn a_burst_passes_whole_and_the_next_message_waits_for_its_token() {
        let rate = Rate::new(1_000, 3);
        let mut bucket = TokenBucket::full(rate, Nanos(0));
        assert!((0..3).all(|_| bucket.take(rate, Nanos(0))));
        assert!(!bucket.take(rate, Nanos(999_999)));
        assert!(bucket.take(rate, Nanos(1_000_000)));
    }

    #[test]
    fn a_clock_that_steps_back_earns_nothing_twice() {
        let rate = Rate::new(1_000, 1);
        let mut bucket = TokenBucket::full(rate, Nanos(5_000_000));
        assert!(bucket.take(rate, Nanos(5_000_000)));
        assert!(!bucket.take(rate, Nanos(1)));
        assert!(!bucket.take(rate, Nanos(5_999_999)));
        assert!(bucket.take(rate, Nanos(6_000_000)));
    }

    #[test]
    fn peers_and_classes_spend_their_own_tokens() {
        let rates = ClassRates([Rate::new(1, 2); 4]);
        let mut admission = Admission::new(2, rates, Nanos(0));
        let (a, b) = (ValidatorIndex(0), ValidatorIndex(1));
        assert!((0..2).all(|_| admission.admit(Nanos(0), a, MessageKind::Vote, 96).is_ok()));
        assert_eq!(admission.admit(Nanos(0), a, MessageKind::Vote, 96), Err(ClassReject::Rate));
        assert_eq!(admission.admit(Nanos(0), a, MessageKind::Shred, 1000), Ok(Class::Normal));
        assert_eq!(admission.admit(Nanos(0), b, MessageKind::Vote, 96), Ok(Class::Critical));
        assert_eq!((admission.admitted, admission.refused[0]), ([3, 0, 1, 0], [0, 1]));
    }

    #[test]
    fn size_limits_hold_exactly_and_an_oversized_message_costs_no_token() {
        let mut admission = Admission::new(1, ClassRates([Rate::new(1, 1); 4]), Nanos(0));
        for kind in MessageKind::ALL {
            let reject = admission.admit(Nanos(0), ValidatorIndex(0), *kind, kind.bytes_max() + 1);
            assert_eq!(reject, Err(ClassReject::Oversize), "{}", kind.as_str());
        }
        let kind = MessageKind::Vote;
        assert_eq!(admission.admit(Nanos(0), ValidatorIndex(0), kind, kind.bytes_max()), Ok(Class::Critical));
    }

    #[test]
    fn a_block_of_two_thousand_datagrams_passes_the_default_rates_at_once() {
        let mut admission = Admission::new(1, ClassRates::default(), Nanos(0));
        assert!((0..2_000).all(|_| admission.admit(Nanos(0), ValidatorIndex(0), MessageKind::Shred, 1_200).is_ok()));
    }
}
