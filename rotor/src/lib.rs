//! Rotor: one relay hop for every shred of a block, chosen by stake (Alpenglow white paper, section 2.2; repair: section 2.8).
//!
//! ```text
//! leader:  header ‖ payload ─ plan ─> slices ─ shredder ─> shreds, shred i to the holder of seat i
//! relay:   shred ─ admit (shape, window, seat, duplicate, path, signature) ─> once to everybody but the leader
//! all:     shreds of one root ─ decode ─> slice ─ all slices ─> block        what is missing ─ repair ─> exactly that
//! ```
//! Pure: time, bytes and the sender's authenticated index come in as arguments; messages and events come out of bounded queues.
//! Nothing a peer sends panics, and what it can make us keep is bounded by [`ReassemblyConfig`].

#![forbid(unsafe_code)]

pub mod plan;
pub mod reassembly;
pub mod seats;
pub mod shredder;
#[cfg(test)]
mod testing;
mod wire;

pub use plan::{Dissemination, Plan, Planner};
pub use reassembly::{
    Event, Incoming, Origin, Reassembly, ReassemblyConfig, ReassemblyCounts, Relay, RepairReject, RepairRequest, ShredAccepted, ShredReject,
};
pub use seats::{RelayTable, Seats};
pub use shredder::{Addressed, ShreddedBlock, Shredder, SignedSlice};
