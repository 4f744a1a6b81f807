//! What a vote signature covers: (chain, epoch, kind, view, block digest).
//!
//! The block digest covers the header with its view, parent view, parent digest and payload digest, and the slice roots, so two
//! proposals that differ in any of these are two subjects. No wall clock and no sequence number: signing the same subject again gives
//! the same bytes (BLS is deterministic).

use crate::digest::Digest;
use crate::numbers::{Epoch, View};

/// Identity of a chain: digest of its genesis. Part of every signature and of the session prologue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct ChainId(pub [u8; 32]);

/// What separates the signatures of one chain and epoch from those of every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct SigningDomain {
    /// The chain.
    pub chain: ChainId,
    /// The validator-set period.
    pub epoch: Epoch,
}

impl SigningDomain {
    /// 40 bytes: chain, epoch little-endian.
    pub fn bytes(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        bytes[..32].copy_from_slice(&self.chain.0);
        bytes[32..].copy_from_slice(&self.epoch.0.to_le_bytes());
        bytes
    }
}

/// What one vote says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A vote for the block with this digest in this view.
    Vote(View, Digest),
    /// Nullify this view.
    Nullify(View),
}

/// Length of [`Subject::signing_bytes`].
pub const SUBJECT_BYTES: usize = 40 + 1 + 8 + 32;

impl Subject {
    /// The view it speaks of.
    pub fn view(&self) -> View {
        match self {
            Subject::Vote(view, _) | Subject::Nullify(view) => *view,
        }
    }

    /// The block it speaks of; zero for a nullify.
    pub fn digest(&self) -> Digest {
        match self {
            Subject::Vote(_, digest) => *digest,
            Subject::Nullify(_) => Digest::ZERO,
        }
    }

    /// The exact bytes under the signature: domain, kind (1 vote, 2 nullify), view, digest; integers little-endian.
    pub fn signing_bytes(&self, domain: &SigningDomain) -> [u8; SUBJECT_BYTES] {
        let mut bytes = [0; SUBJECT_BYTES];
        bytes[..40].copy_from_slice(&domain.bytes());
        bytes[40] = match self {
            Subject::Vote(..) => 1,
            Subject::Nullify(..) => 2,
        };
        bytes[41..49].copy_from_slice(&self.view().0.to_le_bytes());
        bytes[49..].copy_from_slice(&self.digest().0);
        bytes
    }
}
