//! Minimmit as a state machine: no I/O, no clock, no randomness of its own.
//!
//! Rules and line numbers are those of the paper's Algorithm 1 (arXiv 2508.10862 v7) with view skipping (section 6.1):
//!
//! ```text
//! M = nullification = contradiction = 2f+1, L = S-f (all by stake)
//! climb (l.16-22)     any proof of a view w >= mine (M-notarization, nullification, L-notarization) moves me to w+1
//! vote2 (l.20), D2    an M-notarization of b in view w: vote for b, if I neither voted nor nullified in w
//! propose (l.5-7)     I lead my view, hold the parent's notarization and the nullification of every view between (C2)
//! vote (l.9-11)       one valid proposal of the leader of my view, and I neither voted nor nullified
//! timeout (l.13-14)   2Δ in the view without having voted: nullify
//! contradiction       I voted for b, and 2f+1 others nullified or voted for something else: nullify   (l.24-28)
//! forward (l.2-3)     every new M-notarization (each block of a view) and every new nullification goes to all, once
//! finalize (l.31-32)  L-notarization of b: b and its ancestors are final once their bodies are here
//! ```
//! One pass evaluates climb, vote, contradiction, finalize to a fixpoint and then proposes, in the order of the reference's section
//! 1.5.2; a pass that stops halfway breaks the paper's 3δ bound. Flags (voted, nullified, proposed) live per view until it is final.
//!
//! Nothing signed by this validator leaves, or counts in its own books, before its record is durable: the machine emits
//! [`Output::Persist`] in order and waits for [`Input::Persisted`].

#![forbid(unsafe_code)]

pub mod app;
pub mod chain;
pub mod machine;
pub mod mempool;
pub mod transactions;
mod view;

pub use app::{Application, Proposal, Verdict};
pub use chain::{Chain, Lineage, Tip};
pub use machine::{CertificateVerdict, Config, Consensus, ConsensusStats, Input, Output, Recovery, To, VoteReject};
pub use mempool::{Mempool, MempoolReject};
pub use transactions::{Finality, TransactionApp};
