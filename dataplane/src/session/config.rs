//! What a [`super::Sessions`] is made from.

use std::net::SocketAddr;

use samara_types::{ChainId, Digest, Nanos, ValidatorIndex};
use zeroize::Zeroize;

use super::gate::GateLimits;
use super::transport::CipherSet;

/// Who this validator is and whom it talks to.
pub struct SessionConfig {
    /// The chain: Noise prologue.
    pub chain: ChainId,
    /// This validator.
    pub me: ValidatorIndex,
    /// Its X25519 secret.
    pub secret: [u8; 32],
    /// X25519 public key of every validator of the set in order, this one included, and where its port listens.
    pub peers: Vec<([u8; 32], SocketAddr)>,
    /// Fingerprint of the genesis; peers with another one are refused.
    pub cluster_fingerprint: Digest,
    /// Wall clock in nanoseconds at `Nanos(0)` of the reactor's clock. Handshake stamps are this plus the reactor's time, so that a
    /// restarted validator's stamps are above its earlier ones. If its clock was set back, its peers dial it instead.
    pub boot_ns: u64,
    /// Times, rates, ciphers.
    pub limits: SessionLimits,
}

impl Drop for SessionConfig {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// Times and rates of the sessions of one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// From an init without answer to the next one; doubles up to `retry_max`.
    pub retry_first: Nanos,
    /// Longest time between two inits to one peer.
    pub retry_max: Nanos,
    /// The side with the higher key waits this long before it dials: the other side's dial makes its own needless.
    pub stagger: Nanos,
    /// How long the lower key's handshake wins over the other side's.
    pub tie: Nanos,
    /// A session that sent nothing for this long sends a keepalive: 36 B.
    pub keepalive: Nanos,
    /// A peer unheard for this long is down; it is dialled, and the old session is still tried.
    pub dead_after: Nanos,
    /// A session is replaced at this age.
    pub rekey_after: Nanos,
    /// A session is replaced after this many datagrams in one direction.
    pub rekey_messages: u64,
    /// A session seals no more than this many datagrams.
    pub reject_messages: u64,
    /// A replaced session that is unheard for this long is dropped.
    pub grace: Nanos,
    /// A session is dropped at this age whatever happens.
    pub lifetime: Nanos,
    /// Rates of the handshake gate.
    pub gate: GateLimits,
    /// AEADs this host would use.
    pub ciphers: CipherSet,
}

impl Default for SessionLimits {
    fn default() -> Self {
        SessionLimits {
            retry_first: Nanos::from_millis(50),
            retry_max: Nanos::from_millis(1_000),
            stagger: Nanos::from_millis(100),
            tie: Nanos::from_millis(250),
            keepalive: Nanos::from_millis(1_000),
            dead_after: Nanos::from_millis(4_000),
            rekey_after: Nanos::from_millis(600_000),
            rekey_messages: 1 << 32,
            reject_messages: 1 << 40,
            grace: Nanos::from_millis(15_000),
            lifetime: Nanos::from_millis(1_800_000),
            gate: GateLimits::default(),
            ciphers: CipherSet::of_this_cpu(),
        }
    }
}

impl SessionLimits {
    /// Rekeys within a second or two and after few messages, so that a short test passes through many sessions.
    pub fn tiny() -> Self {
        SessionLimits {
            rekey_after: Nanos::from_millis(1_500),
            rekey_messages: 64,
            reject_messages: 100_000,
            grace: Nanos::from_millis(3_000),
            lifetime: Nanos::from_millis(6_000),
            ..SessionLimits::default()
        }
    }

    /// Panics if the relations between the limits do not hold.
    pub(super) fn check(&self) {
        assert!(self.retry_first.0 > 0 && self.retry_first <= self.retry_max, "0 < retry_first <= retry_max");
        assert!(self.keepalive.0 > 0 && self.keepalive.0 * 2 <= self.dead_after.0, "two keepalives fit into dead_after");
        assert!(self.keepalive < self.grace, "a replaced session in use is heard within its grace");
        assert!(self.rekey_after < self.lifetime && self.rekey_messages < self.reject_messages, "a session is replaced before it ends");
        assert!(self.reject_messages <= super::window::COUNTER_LIMIT, "counters end at 2^60");
    }
}
