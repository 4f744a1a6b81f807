//! Cluster-wide parameters: the same on every validator, fixed in genesis, compared through their fingerprint.

use crate::block::PAYLOAD_BYTES_MAX;
use crate::digest::Digest;
use crate::numbers::Nanos;
use crate::shred::TOTAL_SHREDS_MAX;
use crate::transaction::TRANSACTION_BYTES_MAX;

/// What all validators of a chain must agree on besides the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// 2Δ: from entering a view to nullifying it, if nothing was voted for (Minimmit l.13).
    pub view_timeout: Nanos,
    /// A leader proposes no earlier than this after it entered the previous view; 0 is as fast as certificates come.
    pub block_interval: Nanos,
    /// A leader with an empty mempool waits this long after entering its view before it proposes an empty block.
    pub idle_interval: Nanos,
    /// Most payload bytes of a block.
    pub payload_bytes_max: u32,
    /// Code-word chunks per data chunk for blocks above 64 KiB, in hundredths (200 = 2.0).
    pub relay_redundancy: u16,
    /// The same for blocks from 1 to 64 KiB.
    pub hybrid_redundancy: u16,
    /// How many heights back a transaction is known as a duplicate; an older one may be included again.
    pub dedup_heights: u32,
}

impl Default for Params {
    fn default() -> Self {
        Params {
            view_timeout: Nanos::from_millis(500),
            block_interval: Nanos::from_millis(10),
            idle_interval: Nanos::from_millis(200),
            payload_bytes_max: 1 << 20,
            relay_redundancy: 200,
            hybrid_redundancy: 200,
            dedup_heights: 10_000,
        }
    }
}

/// Which parameter is out of range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value}: allowed is {allowed}")]
pub struct ParamError {
    /// The parameter.
    pub key: &'static str,
    /// What it was.
    pub value: u64,
    /// What it may be.
    pub allowed: String,
}

impl Params {
    /// Checks every range and relation in one place.
    pub fn check(&self) -> Result<(), ParamError> {
        let ms = |nanos: Nanos| nanos.0 / 1_000_000;
        let range = |key, value: u64, low: u64, high: u64| {
            let allowed = format!("{low} to {high}");
            if (low..=high).contains(&value) { Ok(()) } else { Err(ParamError { key, value, allowed }) }
        };
        let total_max = (TOTAL_SHREDS_MAX * 100 / 32) as u64;
        range("view_timeout_ms", ms(self.view_timeout), 20, 60_000)?;
        range("block_interval_ms", ms(self.block_interval), 0, ms(self.view_timeout) / 2)?;
        range("idle_interval_ms", ms(self.idle_interval), ms(self.block_interval), ms(self.view_timeout) / 2)?;
        range("payload_bytes_max", self.payload_bytes_max.into(), TRANSACTION_BYTES_MAX as u64 + 2, PAYLOAD_BYTES_MAX as u64)?;
        range("relay_redundancy_percent", self.relay_redundancy.into(), 125, total_max)?;
        range("hybrid_redundancy_percent", self.hybrid_redundancy.into(), 125, total_max)?;
        range("dedup_heights", self.dedup_heights.into(), 1_000, 10_000_000)
    }

    /// Digest of all values.
    pub fn fingerprint(&self) -> Digest {
        let words = [
            self.view_timeout.0,
            self.block_interval.0,
            self.idle_interval.0,
            self.payload_bytes_max.into(),
            self.relay_redundancy.into(),
            self.hybrid_redundancy.into(),
            self.dedup_heights.into(),
        ];
        let bytes: Vec<u8> = words.iter().flat_map(|word: &u64| word.to_le_bytes()).collect();
        Digest::of("samara 2026 parameters", &[&bytes])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_allowed_and_relations_are_checked() {
        assert_eq!(Params::default().check(), Ok(()));
        let slow = Params { block_interval: Nanos::from_millis(400), ..Params::default() };
        assert_eq!(slow.check().unwrap_err().key, "block_interval_ms");
        let huge = Params { payload_bytes_max: u32::MAX, ..Params::default() };
        assert_eq!(huge.check().unwrap_err().key, "payload_bytes_max");
    }
}
