//! Messages behind the session: kinds, classes and the rkyv types, accessed in place after `bytecheck`.
//!
//! A shred is the one message that is not rkyv: see [`crate::shred`]. Everything is read with [`access`], which validates without copying.

use crate::datagram::MESSAGE_BYTES_MAX;
use rkyv::api::high::{HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{Error, Failure};
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

/// Priority of a message. The receiver derives it from the kind, never from the sender's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Votes, nullifies, certificates: first always.
    Critical = 0,
    /// Slice announcements, status, requests for what is missing.
    High = 1,
    /// Shreds.
    Normal = 2,
    /// Transactions: shed first.
    Low = 3,
}

impl Class {
    /// All classes, most urgent first.
    pub const ALL: [Class; 4] = [Class::Critical, Class::High, Class::Normal, Class::Low];

    /// Metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Critical => "critical",
            Class::High => "high",
            Class::Normal => "normal",
            Class::Low => "low",
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $byte:literal, $label:literal, $class:ident, $max:expr;)*) => {
        /// What a message is: first byte behind the session.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum MessageKind { $($(#[$doc])* $name = $byte,)* }

        impl MessageKind {
            /// All kinds.
            pub const ALL: &[MessageKind] = &[$(MessageKind::$name,)*];

            /// From the first byte; None for an unknown kind.
            pub fn from_byte(byte: u8) -> Option<MessageKind> {
                match byte { $($byte => Some(MessageKind::$name),)* _ => None }
            }

            /// Its class.
            pub fn class(self) -> Class {
                match self { $(MessageKind::$name => Class::$class,)* }
            }

            /// Largest accepted size of its message in bytes.
            pub fn bytes_max(self) -> usize {
                match self { $(MessageKind::$name => $max,)* }
            }

            /// Metric label.
            pub fn as_str(self) -> &'static str {
                match self { $(MessageKind::$name => $label,)* }
            }
        }
    };
}

kinds! {
    /// A [`Vote`].
    Vote = 1, "vote", Critical, 144;
    /// A [`Nullify`].
    Nullify = 2, "nullify", Critical, 112;
    /// A [`Certificate`].
    Certificate = 3, "certificate", Critical, 128 + 128;
    /// A slice announcement: [`crate::shred::ShredHeader`], then the 32 B root.
    Announce = 16, "announce", High, 84 + 32;
    /// A [`Status`].
    Status = 17, "status", High, 96;
    /// A [`ManifestRequest`].
    ManifestRequest = 18, "manifest_request", High, 64;
    /// A [`Manifest`].
    Manifest = 19, "manifest", High, MESSAGE_BYTES_MAX;
    /// A [`ShredRequest`].
    ShredRequest = 20, "shred_request", High, 96;
    /// A [`CertificateRequest`].
    CertificateRequest = 21, "certificate_request", High, 32;
    /// A disseminated shred: from the leader to its relay, or from the relay to all.
    Shred = 32, "shred", Normal, MESSAGE_BYTES_MAX;
    /// A shred in answer to a [`ShredRequest`].
    RepairShred = 33, "repair_shred", Normal, MESSAGE_BYTES_MAX;
    /// A [`TransactionBatch`].
    Transactions = 48, "transactions", Low, MESSAGE_BYTES_MAX;
}

/// Bytes of the signature of a vote or nullify: a G1 point with both coordinates. Twice those of a compressed point, so that the receiver
/// computes no square root, which costs more than all else that a vote of a large set costs.
pub const VOTE_SIGNATURE_BYTES: usize = 96;
/// Bytes of the aggregate signature of a certificate: a compressed G1 point.
pub const AGGREGATE_BYTES: usize = 48;

/// A vote for a block.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// View of the block.
    pub view: u64,
    /// Digest of the block.
    pub digest: [u8; 32],
    /// BLS signature over the subject.
    pub signature: [u8; VOTE_SIGNATURE_BYTES],
}

/// A vote to leave a view without a block.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Nullify {
    /// The view.
    pub view: u64,
    /// BLS signature over the subject.
    pub signature: [u8; VOTE_SIGNATURE_BYTES],
}

/// Kinds of certificate on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum CertificateKind {
    /// 2f+1 nullifies.
    Nullification = 0,
    /// 2f+1 votes.
    M = 1,
    /// S-f votes.
    L = 2,
}

impl CertificateKind {
    /// From its byte.
    pub fn from_byte(byte: u8) -> Option<CertificateKind> {
        [Self::Nullification, Self::M, Self::L].into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Label in JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            CertificateKind::Nullification => "nullification",
            CertificateKind::M => "m",
            CertificateKind::L => "l",
        }
    }
}

/// Many signatures over one subject, aggregated.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// View of the subject.
    pub view: u64,
    /// Digest of the block; zero for a nullification.
    pub digest: [u8; 32],
    /// [`CertificateKind`] as a byte.
    pub kind: u8,
    /// Aggregate BLS signature.
    pub signature: [u8; AGGREGATE_BYTES],
    /// Who signed: [`crate::SignerBitmap::to_bytes`].
    pub signers: Vec<u8>,
}

/// Where a validator stands; sent while it is stuck and now and then.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Current view.
    pub view: u64,
    /// View of the last finalized block.
    pub finalized_view: u64,
    /// Height of the last finalized block.
    pub finalized_height: u64,
    /// Digest of the last finalized block.
    pub finalized_digest: [u8; 32],
}

/// "Which header and slice roots make up this block?"
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ManifestRequest {
    /// View of the block.
    pub view: u64,
    /// Digest of the block.
    pub digest: [u8; 32],
}

/// Header and slice roots of a block; the receiver recomputes the digest it asked for.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// [`crate::BlockHeader::to_bytes`].
    pub header: Vec<u8>,
    /// Slice roots in order.
    pub roots: Vec<[u8; 32]>,
}

/// "Send me these shreds of this slice."
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ShredRequest {
    /// View of the block.
    pub view: u64,
    /// The slice.
    pub slice: u16,
    /// Root of the slice.
    pub root: [u8; 32],
    /// Bit i asks for shred i, little-endian.
    pub wanted: [u8; 16],
}

/// "Send me the proofs of these views."
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct CertificateRequest {
    /// First view.
    pub from: u64,
    /// Last view.
    pub to: u64,
}

/// Transactions on their way to the next leaders.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct TransactionBatch {
    /// [`crate::transaction::append`]ed transactions.
    pub payload: Vec<u8>,
}

/// Validates `bytes` as the archive of a message and returns it in place. None for anything malformed; never panics, never allocates.
pub fn access<T>(bytes: &[u8]) -> Option<&T>
where
    T: rkyv::Portable + for<'a> CheckBytes<HighValidator<'a, Failure>>,
{
    rkyv::access::<T, Failure>(bytes).ok()
}

/// Serializes a message.
pub fn encode<T>(message: &T) -> AlignedVec
where
    T: for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, Error>>,
{
    rkyv::to_bytes::<Error>(message).expect("messages hold no pointers that could fail to serialize")
}

#[cfg(test)]
mod tests;
