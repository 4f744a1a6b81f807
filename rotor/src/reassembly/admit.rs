//! Admission, in an order that matters: cheap before dear, and nothing is forwarded or hashed twice.

use super::view::{VARIANT_BYTES, VARIANTS_MAX};
use super::{Event, Reassembly, STRIKES_MAX, ShredAccepted, ShredReject};
use crate::wire::{ReceivedShred, parse_announcement};
use samara_crypto::Roster;
use samara_types::{Evidence, Nanos, Offence, SliceCommitment, ValidatorIndex, View};

impl Reassembly {
    /// A [`samara_types::MessageKind::Shred`], or, if `repaired`, a [`samara_types::MessageKind::RepairShred`], of the authenticated peer
    /// `from`. Order: shape, window, seat or request, duplicate, path, signature, relay, store.
    pub fn on_shred(
        &mut self,
        now: Nanos,
        roster: &Roster,
        from: ValidatorIndex,
        repaired: bool,
        bytes: &[u8],
    ) -> Result<ShredAccepted, ShredReject> {
        let result = if repaired { self.admit_repaired(now, from, bytes) } else { self.admit_disseminated(now, roster, from, bytes) };
        if result.is_ok() {
            self.counts.shreds_stored += 1;
            self.counts.shreds_repaired += u64::from(repaired);
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

    fn admit_disseminated(
        &mut self,
        now: Nanos,
        roster: &Roster,
        from: ValidatorIndex,
        bytes: &[u8],
    ) -> Result<ShredAccepted, ShredReject> {
        let shred = ReceivedShred::parse(bytes).ok_or(ShredReject::Malformed)?;
        let direct = self.planner.admits(shred.slice, shred.last, &shred.shape).ok_or(ShredReject::Shape)?;
        self.check_window(shred.view)?;
        let to_relay = self.check_seat(&shred, direct, from)?;
        let known = self.check_duplicate(&shred, to_relay, from)?;
        let root = shred.root().ok_or(ShredReject::Malformed)?;
        let commitment = shred.commitment(root).ok_or(ShredReject::Malformed)?;
        let at = match known {
            Some(at) if self.views[&shred.view].variant(shred.slice, at).is_some_and(|variant| variant.commitment.root == root) => at,
            // The leader signed another root with this very signature: the path is forged, no signature needs to be looked at.
            Some(_) => return Err(self.strike(from, shred.view, ShredReject::BadProof)),
            None => self.admit_commitment(now, roster, from, commitment, shred.signature())?,
        };
        if !self.make_room(shred.view, shred.body.len()) {
            return Err(ShredReject::Full);
        }
        let variant = self.state(shred.view).variant_mut(shred.slice, at).ok_or(ShredReject::Full)?;
        if !variant.is_collecting() {
            return Err(ShredReject::Done);
        }
        // What was sent on before ended in check_duplicate.
        let relay = to_relay;
        if relay {
            variant.relayed |= 1 << shred.index.0;
        }
        if !variant.store(shred.index, shred.body) {
            // Stored by repair before its commitment was known to be signed; it may still have to travel on.
            return if relay { Ok(ShredAccepted { relay }) } else { Err(ShredReject::Duplicate) };
        }
        variant.since = now;
        self.counts.served[from.at()] += u64::from(from != self.schedule.leader(shred.view));
        self.recharge(shred.view);
        self.decode_if_enough(now, shred.view, shred.slice, at);
        Ok(ShredAccepted { relay })
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

    /// Whether the shred comes from whom it must. Ok(true): from the leader to this node's seat, so this node sends it on.
    fn check_seat(&mut self, shred: &ReceivedShred<'_>, direct: bool, from: ValidatorIndex) -> Result<bool, ShredReject> {
        let leader = self.schedule.leader(shred.view);
        let me = self.config.me;
        if leader == me {
            return Err(ShredReject::Own);
        }
        if direct {
            return if from == leader { Ok(false) } else { Err(self.wrong_seat(from, shred.view)) };
        }
        let seats = self.table.seats(shred.view, shred.slice, leader, shred.shape.total);
        let holder = seats.holder(shred.index).ok_or(ShredReject::Malformed)?;
        match from == leader {
            true if holder == me => Ok(true),
            false if holder == from => Ok(false),
            _ => Err(self.wrong_seat(from, shred.view)),
        }
    }

    fn wrong_seat(&mut self, from: ValidatorIndex, view: View) -> ShredReject {
        self.misbehaved(from, Offence::WrongSeat, view);
        ShredReject::WrongSeat
    }

    /// Refuses what needs no hashing; otherwise the variant whose signature the shred carries, if it is known. The signature is the key:
    /// the root is not carried, and an honest leader has one signature per commitment.
    fn check_duplicate(&self, shred: &ReceivedShred<'_>, to_relay: bool, from: ValidatorIndex) -> Result<Option<usize>, ShredReject> {
        if self.strikes[from.at()] >= STRIKES_MAX {
            return Err(ShredReject::Barred);
        }
        let Some(state) = self.views.get(&shred.view) else { return Ok(None) };
        if state.is_dropped() {
            return Err(ShredReject::Full);
        }
        let slice = state.slice(shred.slice).ok_or(ShredReject::Shape)?;
        let known = slice
            .variants
            .iter()
            .position(|variant| variant.signature.as_ref() == Some(shred.signature()) && shred.claims(&variant.commitment));
        if let Some(at) = known {
            let variant = &slice.variants[at];
            let bit = 1 << shred.index.0;
            // A shred that repair brought first may still have to be sent on.
            let to_send = to_relay && variant.relayed & bit == 0;
            return match () {
                () if !variant.is_collecting() => Err(ShredReject::Done),
                () if variant.seen & bit != 0 && !to_send => Err(ShredReject::Duplicate),
                () if state.dead => Err(ShredReject::Dead),
                () => Ok(Some(at)),
            };
        }
        match () {
            () if state.dead => Err(ShredReject::Dead),
            () if slice.signed() >= VARIANTS_MAX => Err(ShredReject::Variants),
            () => Ok(None),
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
            return Err(self.strike(from, view, ShredReject::BadSignature));
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

    /// Counts a failed proof or signature against a peer.
    fn strike(&mut self, from: ValidatorIndex, view: View, reject: ShredReject) -> ShredReject {
        let strikes = &mut self.strikes[from.at()];
        *strikes = strikes.saturating_add(1);
        self.misbehaved(from, Offence::BadProof, view);
        reject
    }
}
