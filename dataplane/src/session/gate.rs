//! What a handshake must pass before any Diffie-Hellman is computed for it.
//!
//! ```text
//! mac right -> calm:  bucket of the source, then the global one | under load, or a bucket empty: a cookie must be echoed
//!           -> with a valid cookie: a validator's own bucket (kept for proven senders) | any other source: its bucket and the global one
//! ```
//! A cookie is keyed BLAKE3 over (time bucket, source address): it proves that the initiator receives at its address and costs no state.
//! Invariants: all state is allocated at the start; Diffie-Hellman computations per second are at most the global rate plus the proven rate
//! of each validator; a flood from forged addresses cannot use up what a validator with a cookie is entitled to.

use std::net::{IpAddr, SocketAddr};

use samara_types::Nanos;

use super::wire::{self, Mac};
use crate::class::{Rate, TokenBucket};

const SOURCES: usize = 1024;
const COOKIE_LIFE: Nanos = Nanos::from_millis(30_000);

/// Rates of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateLimits {
    /// Handshakes of all sources without a proven address.
    pub global: Rate,
    /// Handshakes of one source address (sources share 1,024 buckets).
    pub source: Rate,
    /// Handshakes of one validator's address, proven and unproven each.
    pub validator: Rate,
    /// Cookies sent to addresses of no validator.
    pub cookies: Rate,
    /// Cookies sent to one validator's address.
    pub validator_cookies: Rate,
}

impl Default for GateLimits {
    /// A handshake costs about 0.2 ms: 300 a second are 6 % of a core.
    fn default() -> Self {
        GateLimits {
            global: Rate::new(300, 600),
            source: Rate::new(20, 40),
            validator: Rate::new(5, 10),
            cookies: Rate::new(1_000, 1_000),
            validator_cookies: Rate::new(100, 100),
        }
    }
}

/// What to do with a handshake whose mac is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Compute it.
    Admit,
    /// Answer with this cookie.
    AskCookie(Mac),
    /// Drop it.
    Refuse,
}

#[derive(Clone, Copy)]
struct Validator {
    unproven: TokenBucket,
    proven: TokenBucket,
    cookies: TokenBucket,
}

/// The gate's buckets.
pub struct Gate {
    limits: GateLimits,
    secret: [u8; 32],
    global: TokenBucket,
    cookies: TokenBucket,
    sources: Vec<TokenBucket>,
    validators: Vec<Validator>,
}

impl Gate {
    pub fn new(limits: GateLimits, secret: [u8; 32], validators: usize) -> Gate {
        let start = Nanos(0);
        let own = TokenBucket::full(limits.validator, start);
        let validator = Validator { unproven: own, proven: own, cookies: TokenBucket::full(limits.validator_cookies, start) };
        Gate {
            limits,
            secret,
            global: TokenBucket::full(limits.global, start),
            cookies: TokenBucket::full(limits.cookies, start),
            sources: vec![TokenBucket::full(limits.source, start); SOURCES],
            validators: vec![validator; validators],
        }
    }

    /// `known`: the validator that has this address. `cookie`: what the handshake carries.
    pub fn decide(&mut self, now: Nanos, from: SocketAddr, known: Option<usize>, cookie: &[u8]) -> Verdict {
        if self.is_cookie_valid(now, from, cookie) {
            return if self.admit_proven(now, from, known) { Verdict::Admit } else { Verdict::Refuse };
        }
        if !self.is_under_load(now) && self.admit_unproven(now, from, known) {
            return Verdict::Admit;
        }
        if self.may_send_cookie(now, known) { Verdict::AskCookie(self.cookie(bucket_of(now), from)) } else { Verdict::Refuse }
    }

    fn may_send_cookie(&mut self, now: Nanos, known: Option<usize>) -> bool {
        match known {
            Some(validator) => self.validators[validator].cookies.take(self.limits.validator_cookies, now),
            None => self.cookies.take(self.limits.cookies, now),
        }
    }

    /// Half of the global bucket is spent.
    fn is_under_load(&mut self, now: Nanos) -> bool {
        self.global.tokens(self.limits.global, now) < self.limits.global.burst.div_ceil(2)
    }

    fn admit_proven(&mut self, now: Nanos, from: SocketAddr, known: Option<usize>) -> bool {
        match known {
            Some(validator) => self.validators[validator].proven.take(self.limits.validator, now),
            None => self.admit_source(now, from),
        }
    }

    fn admit_unproven(&mut self, now: Nanos, from: SocketAddr, known: Option<usize>) -> bool {
        match known {
            Some(validator) => {
                self.validators[validator].unproven.take(self.limits.validator, now) && self.global.take(self.limits.global, now)
            }
            None => self.admit_source(now, from),
        }
    }

    fn admit_source(&mut self, now: Nanos, from: SocketAddr) -> bool {
        let slot = self.slot_of(from.ip());
        self.sources[slot].take(self.limits.source, now) && self.global.take(self.limits.global, now)
    }

    fn slot_of(&self, address: IpAddr) -> usize {
        let hash = wire::mac(&self.secret, &octets(address));
        usize::from(u16::from_le_bytes([hash[0], hash[1]])) % SOURCES
    }

    fn is_cookie_valid(&self, now: Nanos, from: SocketAddr, cookie: &[u8]) -> bool {
        let bucket = bucket_of(now);
        cookie != [0; wire::MAC_BYTES]
            && (wire::same(&self.cookie(bucket, from), cookie) || wire::same(&self.cookie(bucket.wrapping_sub(1), from), cookie))
    }

    fn cookie(&self, bucket: u64, from: SocketAddr) -> Mac {
        let mut input = [0; 26];
        input[..8].copy_from_slice(&bucket.to_le_bytes());
        input[8..24].copy_from_slice(&octets(from.ip()));
        input[24..].copy_from_slice(&from.port().to_le_bytes());
        wire::mac(&self.secret, &input)
    }
}

fn bucket_of(now: Nanos) -> u64 {
    now.0 / COOKIE_LIFE.0
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u8; 16] = [0; 16];

    fn at(a: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, a], port))
    }

    fn limits() -> GateLimits {
        GateLimits {
            global: Rate::new(1, 8),
            source: Rate::new(1, 3),
            validator: Rate::new(1, 2),
            cookies: Rate::new(1, 4),
            validator_cookies: Rate::new(1, 4),
        }
    }

    fn gate() -> Gate {
        Gate::new(limits(), [7; 32], 2)
    }

    fn asked(verdict: Verdict) -> Mac {
        match verdict {
            Verdict::AskCookie(cookie) => cookie,
            other => panic!("a cookie was due, got {other:?}"),
        }
    }

    #[test]
    fn one_source_cannot_use_more_than_its_bucket() {
        let mut gate = gate();
        assert!((0..3).all(|port| gate.decide(Nanos(0), at(1, port), None, &NONE) == Verdict::Admit));
        asked(gate.decide(Nanos(0), at(1, 9), None, &NONE));
        assert_eq!(gate.decide(Nanos(0), at(2, 9), None, &NONE), Verdict::Admit);
    }

    #[test]
    fn under_load_everybody_must_echo_a_cookie() {
        let mut gate = gate();
        (0..5).for_each(|host| assert_eq!(gate.decide(Nanos(0), at(10 + host, 1), None, &NONE), Verdict::Admit, "{host}"));
        let cookie = asked(gate.decide(Nanos(0), at(50, 1), None, &NONE));
        assert_eq!(gate.decide(Nanos(0), at(50, 1), None, &cookie), Verdict::Admit);
    }

    #[test]
    fn a_cookie_is_bound_to_address_port_and_time() {
        let mut gate = gate();
        (0..5).for_each(|host| assert_eq!(gate.decide(Nanos(0), at(10 + host, 1), None, &NONE), Verdict::Admit));
        let cookie = asked(gate.decide(Nanos(0), at(50, 1), None, &NONE));
        asked(gate.decide(Nanos(0), at(50, 2), None, &cookie));
        asked(gate.decide(Nanos(0), at(51, 1), None, &cookie));
        assert!(gate.is_cookie_valid(Nanos(COOKIE_LIFE.0 * 2 - 1), at(50, 1), &cookie));
        assert!(!gate.is_cookie_valid(Nanos(COOKIE_LIFE.0 * 2), at(50, 1), &cookie));
    }

    #[test]
    fn a_forged_flood_leaves_a_validators_proven_bucket_alone() {
        let mut gate = gate();
        let (own, other) = (at(1, 7000), at(2, 7000));
        let cookie = gate.cookie(0, own);
        for forged in 0..10_000u32 {
            let source = if forged % 2 == 0 { own } else { SocketAddr::from((forged.to_be_bytes(), 1)) };
            gate.decide(Nanos(0), source, (source == own).then_some(0), &NONE);
        }
        assert_eq!(gate.decide(Nanos(0), own, Some(0), &NONE), Verdict::Refuse, "cookies are rationed too");
        assert_eq!(gate.decide(Nanos(0), own, Some(0), &cookie), Verdict::Admit);
        asked(gate.decide(Nanos(0), other, Some(1), &NONE));
    }

    #[test]
    fn admissions_never_exceed_the_sum_of_the_buckets() {
        let mut gate = gate();
        let admitted = (0..100_000u32)
            .filter(|i| {
                let known = (i % 3 == 0).then_some(0);
                let source = if known.is_some() { at(1, 1) } else { SocketAddr::from(((i * 7919).to_be_bytes(), 1)) };
                gate.decide(Nanos(u64::from(*i) * 10_000), source, known, &NONE) == Verdict::Admit
            })
            .count();
        assert!(admitted <= 8 + 1, "burst 8 plus one second at 1/s, got {admitted}");
        assert!(admitted >= 5);
    }
}
