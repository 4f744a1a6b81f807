//! Admission, in an order that matters: cheap before dear, and nothing is forwarded or hashed twice.
//!
//! ```text
//! shape -> window -> barred -> slice open? -> seat -> duplicate -> leaf, path to the first proven node -> signature (once) -> relay, store
//! ```
//! What the state of a slice refuses whoever sent it is refused before a committee is drawn, a committee is kept with its variant, and a wrong
//! seat is a strike: so committees drawn are bounded by strikes and by what leaders signed, not by what peers send. So is hashing: a shred
//! whose leaf was hashed is stored, or was the one stranger that its seat may bring to a commitment (another signature over it), or is a strike.

use super::view::{VARIANT_BYTES, VARIANTS_MAX, Variant, ViewState};
use super::{Event, Incoming, Reassembly, STRIKES_MAX, ShredAccepted, ShredReject};
use crate::seats::Seats;
use crate::wire::{ReceivedShred, parse_announcement};
use samara_crypto::{Mutant, Roster};
use samara_erasure::Gathering;
use samara_types::{Evidence, Nanos, Offence, SliceCommitment, ValidatorIndex, View};

impl Reassembly {
    /// A [`samara_types::MessageKind::Shred`], or, if `repaired`, a [`samara_types::MessageKind::RepairShred`], of the authenticated peer
    /// `from`. Several that came together are cheaper as one burst: [`Reassembly::on_shreds`].
    pub fn on_shred(
        &mut self,
        now: Nanos,
        roster: &Roster,
        from: ValidatorIndex,
        repaired: bool,
        bytes: &[u8],
    ) -> Result<ShredAccepted, ShredReject> {
        self.admit(now, roster, &Incoming::new(from, repaired, bytes))
    }

    /// One shred of a burst, or a single one.
    pub fn admit(&mut self, now: Nanos, roster: &Roster, incoming: &Incoming<'_>) -> Result<ShredAccepted, ShredReject> {
        let result =
            if incoming.repaired { self.admit_repaired(now, roster, incoming) } else { self.admit_disseminated(now, roster, incoming) };
        if result.is_ok() {
            self.counts.shreds_stored += 1;
            self.counts.shreds_repaired += u64::from(incoming.repaired);
        }
        self.counted(result)
    }

    /// A [`samara_types::MessageKind::Announce`] of the authenticated peer `from`, which must be the leader. Tells the root of a slice
    /// before any of its shreds, so that they can be asked for.
    pub fn on_announce(&mut self, now: Nanos, roster: &Roster, from: ValidatorIndex, bytes: &[u8]) -> Result<(), ShredReject> {
        let result = self.admit_announcement(now, roster, from, bytes);
        self.counted(result)
    }

    fn counted<T>(&mut self, result: Result<T, ShredReject>) -> Result<T, ShredReject> {
        if let Err(reject) = result {
            self.rejects[reject as usize] += 1;
        }
        result
    }

    fn admit_disseminated(&mut self, now: Nanos, roster: &Roster, incoming: &Incoming<'_>) -> Result<ShredAccepted, ShredReject> {
        let from = incoming.from;
        let (shred, direct) = self.screen(incoming)?;
        let known = self.find_open(&shred)?;
        let Some(relay) = self.check_seat(&shred, direct, from)? else {
            return Err(self.strike(from, shred.view, Offence::WrongSeat, ShredReject::WrongSeat));
        };
        match self.check_duplicate(&shred, known, relay) {
            Err(_) if relay && self.planted == Some(Mutant::RelaysDuplicates) => return Ok(ShredAccepted { relay }),
            checked => checked?,
        }
        let leaf = incoming.leaf.unwrap_or_else(|| shred.leaf());
        let (at, needed) = match known {
            Some(at) => {
                let variant = self.variant_mut(&shred, at).ok_or(ShredReject::Full)?;
                if !variant.is_proven_by(&shred, &leaf) {
                    // The leader signed another root with this very signature: the path is forged, no signature needs to be looked at.
                    return Err(self.strike(from, shred.view, Offence::BadProof, ShredReject::BadProof));
                }
                (at, variant.needs())
            }
            None => {
                let commitment = shred.root(&leaf).and_then(|root| shred.commitment(root)).ok_or(ShredReject::Malformed)?;
                let admitted = self.admit_commitment(now, roster, from, commitment, shred.signature());
                if admitted == Err(ShredReject::OtherSignature) {
                    self.charge_resigned(&shred, &commitment, from);
                }
                let at = admitted?;
                (at, self.variant_mut(&shred, at).map_or(0, |variant| variant.needs()))
            }
        };
        if needed > 0 && !self.make_room(shred.view, needed) {
            return Err(ShredReject::Full);
        }
        if !self.variant_mut(&shred, at).ok_or(ShredReject::Full)?.is_collecting() {
            return Err(ShredReject::Done);
        }
        let places = if needed > 0 { self.spares.take(shred.shape.data.into()) } else { Vec::new() };
        let variant = self.variant_mut(&shred, at).ok_or(ShredReject::Full)?;
        // What was sent on before ended in check_duplicate.
        if relay {
            variant.relayed |= 1 << shred.index.0;
        }
        if !variant.store(&shred, &leaf, places) {
            // Stored by repair before its commitment was known to be signed; it may still have to travel on.
            return if relay { Ok(ShredAccepted { relay }) } else { Err(ShredReject::Duplicate) };
        }
        variant.since = now;
        let is_enough = variant.deficit() == 0;
        self.counts.served[from.at()] += u64::from(from != self.schedule.leader(shred.view));
        if needed > 0 {
            self.recharge(shred.view);
            self.keep_seats(&shred, direct, at);
        }
        if is_enough {
            self.decode_if_enough(now, shred.view, shred.slice, at);
        }
        Ok(ShredAccepted { relay })
    }

    fn variant_mut(&mut self, shred: &ReceivedShred<'_>, at: usize) -> Option<&mut Variant> {
        self.views.get_mut(&shred.view)?.variant_mut(shred.slice, at)
    }

    /// What can be said without looking at a slice: the shred, and whether its block travels direct.
    pub(super) fn screen<'a>(&self, incoming: &Incoming<'a>) -> Result<(ReceivedShred<'a>, bool), ShredReject> {
        let shred = ReceivedShred::parse(incoming.bytes).ok_or(ShredReject::Malformed)?;
        let direct = self.planner.admits(shred.slice, shred.last, &shred.shape).ok_or(ShredReject::Shape)?;
        self.check_window(shred.view)?;
        if self.schedule.leader(shred.view) == self.config.me {
            return Err(ShredReject::Own);
        }
        if self.strikes[incoming.from.at()] >= STRIKES_MAX {
            return Err(ShredReject::Barred);
        }
        Ok((shred, direct))
    }

    fn admit_announcement(&mut self, now: Nanos, roster: &Roster, from: ValidatorIndex, bytes: &[u8]) -> Result<(), ShredReject> {
        let (commitment, signature) = parse_announcement(bytes).ok_or(ShredReject::Malformed)?;
        self.planner.admits(commitment.slice, commitment.last, &commitment.shape).ok_or(ShredReject::Shape)?;
        self.check_window(commitment.view)?;
        let leader = self.schedule.leader(commitment.view);
        if leader == self.config.me {
            return Err(ShredReject::Own);
        }
        if from != leader {
            return Err(ShredReject::WrongSeat);
        }
        if self.strikes[from.at()] >= STRIKES_MAX {
            return Err(ShredReject::Barred);
        }
        if let Some(state) = self.views.get(&commitment.view) {
            if state.is_dropped() {
                return Err(ShredReject::Full);
            }
            let slice = state.slice(commitment.slice).ok_or(ShredReject::Shape)?;
            if slice.variants.iter().any(|variant| variant.commitment == commitment && variant.signature.is_some()) {
                return Err(ShredReject::Duplicate);
            }
            if state.dead {
                return Err(ShredReject::Dead);
            }
            if slice.signed() >= VARIANTS_MAX {
                return Err(ShredReject::Variants);
            }
        }
        self.admit_commitment(now, roster, from, commitment, &signature).map(|_| ())
    }

    /// Above the last finalized view and no further ahead than the window.
    fn check_window(&self, view: View) -> Result<(), ShredReject> {
        if view <= self.finalized.max(self.dropped_to) {
            return Err(ShredReject::Old);
        }
        let ahead = self.current.0.saturating_add(self.config.window_views);
        if view.0 <= ahead { Ok(()) } else { Err(ShredReject::Future) }
    }

    /// The variant whose signature the shred carries, if it is known; None if it may become one. The signature is the key: the root is not
    /// carried, and an honest leader has one signature per commitment.
    pub(super) fn find_open(&self, shred: &ReceivedShred<'_>) -> Result<Option<usize>, ShredReject> {
        let Some(state) = self.views.get(&shred.view) else { return self.check_room(shred) };
        if state.is_dropped() {
            return Err(ShredReject::Full);
        }
        let slice = state.slice(shred.slice).ok_or(ShredReject::Shape)?;
        let known = slice
            .variants
            .iter()
            .position(|variant| variant.signature.as_ref() == Some(shred.signature()) && shred.claims(&variant.commitment));
        match known {
            Some(at) => Ok(Some(at)),
            None if state.dead => Err(ShredReject::Dead),
            None if slice.signed() >= VARIANTS_MAX => Err(ShredReject::Variants),
            None => self.check_room(shred),
        }
    }

    /// Nothing is computed for a commitment that could not be kept. Nothing is dropped for it either before it is verified.
    fn check_room(&self, shred: &ReceivedShred<'_>) -> Result<Option<usize>, ShredReject> {
        let needed = VARIANT_BYTES + Gathering::bytes_of(&shred.shape);
        let fits = self.bytes + needed <= self.config.bytes_max || self.victim(shred.view).is_some();
        if fits { Ok(None) } else { Err(ShredReject::Full) }
    }

    /// Whether the shred comes from whom it must, and then whether this node sends it on: it does with what the leader sends to its seat.
    pub(super) fn check_seat(
        &mut self,
        shred: &ReceivedShred<'_>,
        direct: bool,
        from: ValidatorIndex,
    ) -> Result<Option<bool>, ShredReject> {
        let leader = self.schedule.leader(shred.view);
        let me = self.config.me;
        if direct {
            return Ok((from == leader).then_some(false));
        }
        let total = shred.shape.total;
        let kept = self.views.get(&shred.view).and_then(|state| state.slice(shred.slice)?.seats(total));
        let holder = match kept {
            Some(seats) => seats.holder(shred.index),
            None => self.draw_seats(shred, leader).holder(shred.index),
        };
        let holder = holder.ok_or(ShredReject::Malformed)?;
        Ok(match from == leader {
            true if holder == me => Some(true),
            false if holder == from => Some(false),
            _ => None,
        })
    }

    /// The committee of a slice, kept with the variants it has.
    fn draw_seats(&mut self, shred: &ReceivedShred<'_>, leader: ValidatorIndex) -> Seats {
        let seats = self.table.seats(shred.view, shred.slice, leader, shred.shape.total);
        if let Some(slice) = self.views.get_mut(&shred.view).and_then(|state| state.slice_mut(shred.slice)) {
            for variant in slice.variants.iter_mut().filter(|variant| variant.commitment.shape.total == shred.shape.total) {
                variant.seats = Some(seats.clone());
            }
        }
        seats
    }

    /// Keeps the committee that admitted the first shred of a variant.
    fn keep_seats(&mut self, shred: &ReceivedShred<'_>, direct: bool, at: usize) {
        let is_kept = |state: &ViewState| state.variant(shred.slice, at).is_none_or(|variant| variant.seats.is_some());
        if !direct && !self.views.get(&shred.view).is_none_or(is_kept) {
            self.draw_seats(shred, self.schedule.leader(shred.view));
        }
    }

    /// Refuses what needs no hashing because it was stored and sent on, or because its slice needs nothing more.
    pub(super) fn check_duplicate(&self, shred: &ReceivedShred<'_>, known: Option<usize>, relay: bool) -> Result<(), ShredReject> {
        let state = self.views.get(&shred.view);
        let Some(variant) = known.and_then(|at| state?.variant(shred.slice, at)) else { return Ok(()) };
        let bit = 1 << shred.index.0;
        // A shred that repair brought first may still have to be sent on.
        let to_send = relay && variant.relayed & bit == 0;
        match () {
            () if !variant.is_collecting() => Err(ShredReject::Done),
            () if variant.seen & bit != 0 && !to_send => Err(ShredReject::Duplicate),
            () if state.is_some_and(|state| state.dead) => Err(ShredReject::Dead),
            () => Ok(()),
        }
    }

    /// A commitment not known with this signature: the one place where a leader's signature is verified.
    fn admit_commitment(
        &mut self,
        now: Nanos,
        roster: &Roster,
        from: ValidatorIndex,
        commitment: SliceCommitment,
        signature: &[u8; 64],
    ) -> Result<usize, ShredReject> {
        let view = commitment.view;
        let leader = self.schedule.leader(view);
        let known = self.views.get(&view).and_then(|state| {
            let slice = state.slice(commitment.slice)?;
            slice.variants.get(slice.position(&commitment)?)
        });
        if known.is_some_and(|variant| variant.signature.is_some()) {
            // A relay that altered the signature, or a leader that signed twice: either way others could not verify it if it went on.
            return Err(ShredReject::OtherSignature);
        }
        if !roster.verify_slice(leader, &commitment, signature) {
            return Err(self.strike(from, view, Offence::BadProof, ShredReject::BadSignature));
        }
        if !self.make_room(view, VARIANT_BYTES) {
            return Err(ShredReject::Full);
        }
        let (at, conflict) = self.state(view).add_signed(commitment, *signature, now);
        self.recharge(view);
        if let Some(proof) = conflict {
            self.equivocated(leader, view, proof);
        }
        self.check_chain(view);
        self.complete_wants(now, view);
        Ok(at)
    }

    fn equivocated(&mut self, leader: ValidatorIndex, view: View, proof: Vec<u8>) {
        let state = self.state(view);
        if !std::mem::replace(&mut state.equivocated, true) {
            self.events.push_back(Event::Equivocation(Evidence { accused: leader, offence: Offence::LeaderEquivocation, view, proof }));
        }
    }

    /// A leader may sign a commitment twice, so whoever holds a seat may come with another signature than ours, once: an honest relay keeps
    /// the first it verified. Hashing what comes after that costs its sender a strike. No evidence: a relay that was started again forgot.
    fn charge_resigned(&mut self, shred: &ReceivedShred<'_>, commitment: &SliceCommitment, from: ValidatorIndex) {
        let slice = self.views.get_mut(&shred.view).and_then(|state| state.slice_mut(shred.slice));
        let Some(variant) = slice.and_then(|slice| slice.variants.iter_mut().find(|variant| variant.commitment == *commitment)) else {
            return;
        };
        let bit = 1 << shred.index.0;
        if variant.resigned & bit != 0 {
            self.count_strike(from);
        } else {
            variant.resigned |= bit;
        }
    }

    /// Counts a wrong seat, a failed proof or a failed signature against a peer.
    fn strike(&mut self, from: ValidatorIndex, view: View, offence: Offence, reject: ShredReject) -> ShredReject {
        self.count_strike(from);
        self.misbehaved(from, offence, view);
        reject
    }

    fn count_strike(&mut self, from: ValidatorIndex) {
        let strikes = &mut self.strikes[from.at()];
        *strikes = strikes.saturating_add(1);
    }
}
