//! Keys, signatures and certificates: BLS votes with one batch check per quorum, Ed25519 slices and transactions, key files.
//!
//! Whatever a peer sends is data until a type of this crate says otherwise: [`Certificate`] and [`VerifiedTransaction`] have no
//! constructor that skips the check.

#![deny(unsafe_code)] // allowed in bls::curve only

mod bisect;
pub mod bls;
pub mod book;
pub mod certificate;
pub mod identity;
pub mod keyring;
pub mod memo;
#[doc(hidden)]
pub mod mutant;
pub mod roster;
pub mod transaction;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod oracle;

pub use bls::VoteSecret;
pub use book::{Added, Settled, ViewBook};
pub use certificate::{Certificate, CertificateReject};
pub use identity::{IdentitySecret, SessionSecret};
pub use keyring::{KeyFileError, Keyring};
pub use memo::Memo;
#[doc(hidden)]
pub use mutant::Mutant;
pub use roster::{KeySum, Roster, RosterError};
pub use transaction::{TransactionVerifier, VerifiedTransaction, sign_transaction, verify_batch, verify_transactions};
