//! Opaque transactions, signed with Ed25519, and how a payload holds them.
//!
//! `version 1 | public key 32 | signature 64 | nonce 8 | data`. The id covers chain, key, nonce and data but not the signature, so a
//! malleable signature cannot make a second transaction; the signature is over the id.

use crate::digest::Digest;
use crate::subject::ChainId;

/// Bytes before the data.
pub const TRANSACTION_HEADER_BYTES: usize = 1 + 32 + 64 + 8;
/// Most bytes of a transaction: one fits a datagram with room for its batch.
pub const TRANSACTION_BYTES_MAX: usize = 1232;
/// The version this code speaks.
pub const TRANSACTION_VERSION: u8 = 1;

/// Name of a transaction, unique per chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub [u8; 32]);

/// A well-formed transaction in borrowed bytes. Its signature is not checked here; `samara-crypto` does that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction<'a> {
    bytes: &'a [u8],
}

impl<'a> Transaction<'a> {
    /// None if too short, too long or of another version.
    pub fn parse(bytes: &'a [u8]) -> Option<Transaction<'a>> {
        let well_formed = (TRANSACTION_HEADER_BYTES..=TRANSACTION_BYTES_MAX).contains(&bytes.len()) && bytes[0] == TRANSACTION_VERSION;
        well_formed.then_some(Transaction { bytes })
    }

    /// All bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Ed25519 public key of the sender.
    pub fn public_key(&self) -> &'a [u8; 32] {
        self.bytes[1..33].try_into().expect("32 bytes")
    }

    /// Ed25519 signature over [`TransactionId`].
    pub fn signature(&self) -> &'a [u8; 64] {
        self.bytes[33..97].try_into().expect("64 bytes")
    }

    /// Its name on `chain`.
    pub fn id(&self, chain: &ChainId) -> TransactionId {
        transaction_id(chain, self.public_key(), &self.bytes[97..])
    }
}

/// Id of a transaction not yet signed: `nonce_and_data` is the nonce (8 B little-endian), then the data.
pub fn transaction_id(chain: &ChainId, public_key: &[u8; 32], nonce_and_data: &[u8]) -> TransactionId {
    TransactionId(Digest::of("samara 2026 transaction", &[&chain.0, public_key, nonce_and_data]).0)
}

/// Puts the parts of a signed transaction together.
pub fn assemble(public_key: &[u8; 32], signature: &[u8; 64], nonce_and_data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(97 + nonce_and_data.len());
    bytes.push(TRANSACTION_VERSION);
    bytes.extend_from_slice(public_key);
    bytes.extend_from_slice(signature);
    bytes.extend_from_slice(nonce_and_data);
    bytes
}

/// Appends a transaction to a payload: length as u16 little-endian, then the bytes.
pub fn append(payload: &mut Vec<u8>, transaction: &[u8]) {
    let length = u16::try_from(transaction.len()).expect("a transaction is at most TRANSACTION_BYTES_MAX");
    payload.extend_from_slice(&length.to_le_bytes());
    payload.extend_from_slice(transaction);
}

/// The transactions of a payload, in order. Stops with `Err` at the first malformed one.
pub fn iterate(payload: &[u8]) -> impl Iterator<Item = Result<Transaction<'_>, MalformedPayload>> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let parsed = rest.split_first_chunk::<2>().and_then(|(length, tail)| {
            let length = usize::from(u16::from_le_bytes(*length));
            let bytes = tail.get(..length)?;
            rest = &tail[length..];
            Transaction::parse(bytes)
        });
        if parsed.is_none() {
            rest = &[];
        }
        Some(parsed.ok_or(MalformedPayload))
    })
}

/// A payload that is not a sequence of well-formed transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedPayload;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_round_trip_and_malformed_ones_end_in_an_error() {
        let one = assemble(&[1; 32], &[2; 64], b"nonce...data");
        let two = assemble(&[3; 32], &[4; 64], b"nonce...");
        let mut payload = Vec::new();
        append(&mut payload, &one);
        append(&mut payload, &two);
        let back: Vec<_> = iterate(&payload).map(|t| t.unwrap().bytes().to_vec()).collect();
        assert_eq!(back, [one, two]);
        for cut in 1..payload.len() {
            let whole: Result<Vec<_>, _> = iterate(&payload[..cut]).collect();
            assert_eq!(whole.is_ok(), cut == payload.len() - 107, "cut at {cut}");
        }
    }

    #[test]
    fn the_id_ignores_the_signature_and_nothing_else() {
        let chain = ChainId([9; 32]);
        let base = assemble(&[1; 32], &[2; 64], b"nonce...data");
        let id = |bytes: &[u8]| Transaction::parse(bytes).unwrap().id(&chain);
        for at in 1..base.len() {
            let mut other = base.clone();
            other[at] ^= 1;
            assert_eq!(id(&other) == id(&base), (33..97).contains(&at), "byte {at}");
        }
        assert_ne!(Transaction::parse(&base).unwrap().id(&ChainId([8; 32])), id(&base));
    }
}
