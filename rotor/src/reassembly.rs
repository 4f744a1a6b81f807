//! Everything a receiver holds of blocks between the last finalized view and a window ahead.
//!
//! ```text
//! burst ─ prepare: leaves hashed together ┐
//! Shred ───────> admit: shape -> window -> seat/sender -> duplicate -> path -> signature (once) -> relay once -> store ┐
//! RepairShred ─> admit: shape -> window -> asked for? -> duplicate -> path to the root asked for -> store              ├─> assemble
//! Announce ────> admit: shape -> window -> sender -> duplicate -> signature                                            ┘      │
//! certificate ─> want ─> ManifestRequest ─> Manifest (digest recomputed) ─> ShredRequest for exactly what is missing         Block
//! ```
//! Rules (reference, sections 1.4, 1.5 and the ten lessons) and what they rest on:
//! - A *variant* is one commitment for one slice. At most two come in by dissemination, both signed by the leader; repair adds those
//!   that a certified block names. The first signed variant of each slice makes up the *chain*, the block this node would vote for.
//! - A second commitment for a slice, or a slice beyond a last one, is equivocation: evidence is kept once, the chain goes on as it
//!   is and ends whole or dead, and a certified block is fetched by its digest whatever the chain did. So every conflict ends.
//! - A root is decoded once. Failure taints it; nobody's other shreds can change that verdict.
//! - A relay's shreds can be refused or charged to it, but they never change the state of a slice: only paths to a root that the leader
//!   signed, or that a certified block names, are stored.
//!
//! Memory: at most `bytes_max` of shreds, slices and blocks (with a flat charge per variant and view), except what certified blocks
//! in repair need, of which there are at most [`WANTS_MAX`]. When full, the farthest future view goes first, then the oldest
//! view nobody asked for.

mod admit;
mod assemble;
mod burst;
mod repair;
mod requests;
mod serve;
mod spare;
mod view;

pub use burst::Incoming;
pub use repair::{RepairReject, RepairRequest};

use crate::plan::Planner;
use crate::seats::RelayTable;
use requests::Outstanding;
use samara_crypto::Mutant;
use samara_erasure::{CodeWord, Coder, Gathering};
use samara_types::shred::{DATA_SHREDS_MAX, SLICE_BYTES_MAX, TOTAL_SHREDS_MAX};
use samara_types::{
    Block, Digest, Evidence, LeaderSchedule, Nanos, Offence, Params, SliceIndex, SliceShape, ValidatorIndex, ValidatorSet, View,
};
use spare::Spares;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use view::ViewState;

/// Most certified blocks in repair at one time. More are refused until some are done; who lags further than that syncs.
pub const WANTS_MAX: usize = 32;
/// Most recovered shreds waiting for [`Reassembly::poll_relay`]; the oldest is dropped.
const RELAYS_MAX: usize = 1024;
/// Wrong seats, failed proofs and failed signatures of one peer between two finalizations before its disseminated shreds are refused unread.
/// An honest relay verifies before it sends and knows its seats, so it has none.
const STRIKES_MAX: u8 = 32;

/// Limits and delays of a [`Reassembly`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReassemblyConfig {
    /// This validator.
    pub me: ValidatorIndex,
    /// The chain's parameters.
    pub params: Params,
    /// Views ahead of the current one whose shreds are kept. 64 covers seconds of lag.
    pub window_views: u64,
    /// Finalized views whose blocks are kept to serve repairs.
    pub retain_views: u64,
    /// Most bytes of shreds, slices and blocks. The default is sixteen views that are each as large as a view can get.
    pub bytes_max: usize,
    /// Most requests that wait for their answer. 16 slices are 700 KiB in flight, what a receive buffer should bear.
    pub outstanding_max: usize,
    /// First deadline of a request; doubles with each attempt.
    pub request_timeout: Nanos,
    /// Last deadline of a request.
    pub request_timeout_max: Nanos,
    /// How long a slice of the current view may lack shreds, with none coming, before they are asked for.
    pub gap_delay: Nanos,
}

impl ReassemblyConfig {
    /// Defaults for a chain with `params`.
    pub fn new(me: ValidatorIndex, params: Params, set: &ValidatorSet) -> ReassemblyConfig {
        ReassemblyConfig {
            me,
            params,
            window_views: 64,
            retain_views: 32,
            bytes_max: 16 * view_bytes_max(&Planner::new(&params, set)),
            outstanding_max: 16,
            request_timeout: Nanos::from_millis(30),
            request_timeout_max: Nanos::from_millis(200),
            gap_delay: Nanos::from_millis(30),
        }
    }
}

/// Most bytes one view can hold by dissemination alone: two variants of every slice, each gathering.
fn view_bytes_max(planner: &Planner) -> usize {
    let largest = SliceShape { data: DATA_SHREDS_MAX as u8, total: TOTAL_SHREDS_MAX as u8, payload_length: SLICE_BYTES_MAX as u32 };
    planner.slices_max() * 2 * (Gathering::bytes_of(&largest) + view::VARIANT_BYTES) + view::VIEW_BYTES
}

/// What was taken in since the start. Plain counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReassemblyCounts {
    /// Shreds stored, repaired ones among them.
    pub shreds_stored: u64,
    /// Of them, shreds that came as answers to requests.
    pub shreds_repaired: u64,
    /// Code words decoded and found to be what their root says.
    pub slices_decoded: u64,
    /// Code words that were not.
    pub slices_tainted: u64,
    /// Shreds a relay sent from a seat of its own, by validator: what it serves the others.
    pub served: Vec<u64>,
}

/// A shred that was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShredAccepted {
    /// Send the same bytes to everybody but the leader and this node, now. True once per shred.
    pub relay: bool,
}

macro_rules! rejects {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// Why a shred or announcement was not stored.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum ShredReject { $($(#[$doc])* $name,)* }

        impl ShredReject {
            /// All reasons, in the order of the counters.
            pub const ALL: &[ShredReject] = &[$(ShredReject::$name,)*];

            /// Metric label.
            pub fn as_str(self) -> &'static str {
                match self { $(ShredReject::$name => $label,)* }
            }
        }
    };
}

rejects! {
    /// A field out of range, or a length that is not the one of (index, total).
    Malformed = "malformed",
    /// No block of this chain has such a slice.
    Shape = "shape",
    /// At or below the last finalized view, or dropped.
    Old = "old",
    /// Beyond the window.
    Future = "future",
    /// A slice of this validator's own view.
    Own = "own",
    /// Neither the leader's to this seat nor from the seat's holder.
    WrongSeat = "wrong_seat",
    /// The sender failed too many proofs since the last finalization.
    Barred = "barred",
    /// This shred is stored.
    Duplicate = "duplicate",
    /// This slice is decoded or tainted.
    Done = "done",
    /// The leader's block of this view is malformed.
    Dead = "dead",
    /// Two commitments of the leader for this slice are known; no third is looked at.
    Variants = "variants",
    /// Another signature over a commitment that is known with its signature.
    OtherSignature = "other_signature",
    /// Nobody asked this peer for it.
    Unrequested = "unrequested",
    /// The path does not lead to the root it must.
    BadProof = "bad_proof",
    /// The leader did not sign this commitment.
    BadSignature = "bad_signature",
    /// No room, and nothing that may be dropped for it.
    Full = "full",
}

/// How a block came together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the first commitments the leader disseminated.
    Disseminated,
    /// By the digest a certificate names.
    Repaired,
}

/// What the machine tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A whole block, its digest, shapes and payload verified; whether the application accepts it is not asked here.
    Block(Arc<Block>, Origin),
    /// The leader signed two commitments that exclude each other. Once per view.
    Equivocation(Evidence),
    /// The leader signed a code word or a block that breaks the format. Once per view.
    Malformed(Evidence),
    /// A peer sent from a seat it does not hold, or failed a proof. Once per peer, offence and view.
    Misbehaved(Evidence),
}

/// A recovered shred of one of this node's seats: send it to everybody but the leader and this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Leader of its view, who needs no copy.
    pub leader: ValidatorIndex,
    /// The message, a [`samara_types::MessageKind::Shred`].
    pub message: Vec<u8>,
}

/// See the module.
pub struct Reassembly {
    config: ReassemblyConfig,
    planner: Planner,
    table: RelayTable,
    schedule: LeaderSchedule,
    by_stake: Vec<ValidatorIndex>,
    wants_per_view: usize,
    coder: Coder,
    spares: Spares,
    finalized: View,
    current: View,
    /// Everything at or below is forgotten: `retain_views` below the last finalized view.
    floor: View,
    /// Views at or below were dropped for want of room; nothing disseminated is taken for them.
    dropped_to: View,
    views: BTreeMap<View, ViewState>,
    /// Views with a want that is not done.
    wanting: BTreeSet<View>,
    /// Sum of what the views are charged.
    bytes: usize,
    strikes: Vec<u8>,
    outstanding: Vec<Outstanding>,
    events: VecDeque<Event>,
    relays: VecDeque<Relay>,
    relays_dropped: u64,
    rejects: [u64; ShredReject::ALL.len()],
    counts: ReassemblyCounts,
    /// The last slice encoded for an answer.
    served: Option<(View, SliceIndex, CodeWord)>,
    /// None but in the simulator.
    planted: Option<Mutant>,
}

impl Reassembly {
    /// Empty, before view 1. `beacon` seeds the relay seats.
    pub fn new(config: ReassemblyConfig, set: &ValidatorSet, schedule: LeaderSchedule, beacon: Digest) -> Reassembly {
        let planner = Planner::new(&config.params, set);
        assert!(config.bytes_max >= view_bytes_max(&planner), "one view must fit");
        assert!(config.outstanding_max > 0 && config.request_timeout.0 > 0, "repair needs a request and a deadline");
        Reassembly {
            config,
            planner,
            table: RelayTable::new(set, beacon),
            schedule,
            by_stake: set.by_stake(),
            wants_per_view: set.quorums().notarizations_per_view_max(),
            coder: Coder::new(),
            spares: Spares::default(),
            finalized: View::GENESIS,
            current: View(1),
            floor: View::GENESIS,
            dropped_to: View::GENESIS,
            views: BTreeMap::new(),
            wanting: BTreeSet::new(),
            bytes: 0,
            strikes: vec![0; set.len()],
            outstanding: Vec::new(),
            events: VecDeque::new(),
            relays: VecDeque::new(),
            relays_dropped: 0,
            rejects: [0; ShredReject::ALL.len()],
            counts: ReassemblyCounts { served: vec![0; set.len()], ..ReassemblyCounts::default() },
            served: None,
            planted: None,
        }
    }

    /// Plants a known bug, see [`samara_crypto::mutant`]: for `samara-sim`.
    #[doc(hidden)]
    pub fn plant(&mut self, mutant: Option<Mutant>) {
        self.planted = mutant;
    }

    /// Moves the window. Views at or below `finalized` keep whole blocks only, views `retain_views` below it keep nothing. Whatever is
    /// still wanted at or below `finalized` is given up: call this once the finalized block is in hand.
    pub fn advance(&mut self, finalized: View, current: View) {
        let (finalized_before, current_before) = (self.finalized, self.current);
        self.finalized = self.finalized.max(finalized);
        self.current = self.current.max(current).max(self.finalized.next());
        if self.finalized > finalized_before {
            self.strikes.fill(0);
            self.outstanding.retain(|request| request.view > self.finalized);
            self.wanting = self.wanting.split_off(&self.finalized.next());
            let passed: Vec<View> = self.views.range(finalized_before.next()..=self.finalized).map(|(view, _)| *view).collect();
            for view in passed {
                self.state(view).keep_blocks_only();
                self.recharge(view);
            }
            self.floor = self.floor.max(View(self.finalized.0.saturating_sub(self.config.retain_views)));
            let kept = self.views.split_off(&self.floor.next());
            let gone = std::mem::replace(&mut self.views, kept);
            self.bytes -= gone.values().map(ViewState::charged).sum::<usize>();
        }
        // A future view that was dropped for want of room gets its chance when its time has come.
        for view in current_before.0 + 1..=self.current.0.min(current_before.0.saturating_add(self.config.window_views)) {
            if self.views.get(&View(view)).is_some_and(ViewState::is_dropped) {
                self.views.remove(&View(view));
            }
        }
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next recovered shred of an own seat that nobody got from this node yet.
    pub fn poll_relay(&mut self) -> Option<Relay> {
        self.relays.pop_front()
    }

    /// Whether the leader of `view` signed commitments that exclude each other.
    pub fn is_equivocated(&self, view: View) -> bool {
        self.views.get(&view).is_some_and(|state| state.equivocated)
    }

    /// A whole block that is still held.
    pub fn block(&self, view: View, digest: &Digest) -> Option<&Arc<Block>> {
        self.views.get(&view)?.block(digest)
    }

    /// Rejects by reason, indexed like [`ShredReject::ALL`].
    pub fn rejects(&self) -> &[u64; ShredReject::ALL.len()] {
        &self.rejects
    }

    /// What was taken in.
    pub fn counts(&self) -> &ReassemblyCounts {
        &self.counts
    }

    /// Recovered shreds that were dropped because nobody took them.
    pub fn relays_dropped(&self) -> u64 {
        self.relays_dropped
    }

    /// Bytes charged for everything held.
    pub fn bytes_held(&self) -> usize {
        self.bytes
    }

    /// Views with any state.
    pub fn views_held(&self) -> usize {
        self.views.len()
    }

    /// The relay table, for the leader's send order.
    pub fn relay_table(&mut self) -> &mut RelayTable {
        &mut self.table
    }

    /// Recomputes what a view is charged.
    fn recharge(&mut self, view: View) {
        if let Some(state) = self.views.get_mut(&view) {
            let change = state.recharge();
            self.bytes = self.bytes.checked_add_signed(change).expect("a view gives back at most what it was charged");
        }
    }

    /// The state of a view inside the window, created when first needed.
    fn state(&mut self, view: View) -> &mut ViewState {
        let leader = self.schedule.leader(view);
        let slices = self.planner.slices_max();
        self.views.entry(view).or_insert_with(|| ViewState::new(leader, slices))
    }

    /// Takes back the decision to drop a view, for a certified or an own block.
    fn revive(&mut self, view: View) {
        if self.views.get(&view).is_some_and(ViewState::is_dropped) {
            self.views.remove(&view);
        }
    }

    /// Keeps evidence against a peer, once per (peer, offence, view).
    fn misbehaved(&mut self, accused: ValidatorIndex, offence: Offence, view: View) {
        if self.state(view).is_first_offence(accused, offence) {
            self.events.push_back(Event::Misbehaved(Evidence { accused, offence, view, proof: Vec::new() }));
        }
        self.recharge(view);
    }

    /// Makes room for `needed` bytes in `view`; false if nothing may go for it.
    fn make_room(&mut self, view: View, needed: usize) -> bool {
        while self.bytes + needed > self.config.bytes_max {
            let Some(victim) = self.victim(view) else { return false };
            let live = victim > self.finalized;
            let state = self.views.get_mut(&victim).expect("a victim is held");
            state.drop_all();
            self.recharge(victim);
            if !live {
                self.bytes -= self.views.remove(&victim).map_or(0, |state| state.charged());
            }
            self.forget_dropped();
        }
        true
    }

    /// The farthest view ahead of both `view` and the current one, else the oldest view that is behind the current one; never a wanted one.
    fn victim(&self, view: View) -> Option<View> {
        let ahead = self.current.max(view).next();
        let droppable = |(at, state): &(&View, &ViewState)| !state.is_dropped() && !self.wanting.contains(at);
        let farthest = self.views.range(ahead..).rev().find(droppable);
        let oldest = || self.views.range(..self.current.min(view)).find(droppable);
        farthest.or_else(oldest).map(|(victim, _)| *victim)
    }

    /// Forgets dropped views at the old end, so that their number stays bounded.
    fn forget_dropped(&mut self) {
        while let Some((&view, state)) = self.views.first_key_value() {
            if !state.is_dropped() || view >= self.current {
                return;
            }
            self.dropped_to = self.dropped_to.max(view);
            self.bytes -= self.views.remove(&view).map_or(0, |state| state.charged());
        }
    }
}

#[cfg(test)]
mod tests;
