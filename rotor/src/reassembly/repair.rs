//! Fetching what a certificate names, and what a slice of the current view lacks (white paper section 2.8; reference, section 1.5).
//!
//! A certified block is wanted by its digest. Its manifest (header and slice roots) is checked by recomputing that digest; header and plan
//! then give every slice's shape, so a shred needs no signature: it must lead to the root asked for. Requests ask for exactly what is missing, go to
//! one peer at a time per slice, signers of the certificate first, and stay until a valid answer came: a wrong answer moves on at once, silence moves
//! on at the deadline (and an answer after it is still taken). Kept against a peer is only what no honest one sends whatever it was asked: answers
//! carry no number, and a datagram of a process that is gone can still be answered to the one that came after it.

use super::requests::{Goal, Outstanding};
use super::view::{Variant, ViewState, Want};
use super::{Incoming, Reassembly, ShredAccepted, ShredReject, WANTS_MAX};
use crate::wire::{ReceivedShred, UNSIGNED};
use samara_crypto::Roster;
use samara_erasure::Leaf;
use samara_types::block::SLICES_MAX;
use samara_types::message::{self, ArchivedManifest};
use samara_types::shred::CODE_GF16;
use samara_types::{
    BLOCK_HEADER_BYTES, BlockHeader, Digest, MessageKind, Nanos, Offence, SignerBitmap, SliceCommitment, SliceIndex, ValidatorIndex, View,
};

/// What to send to get something that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepairRequest {
    /// A [`message::ManifestRequest`].
    Manifest(Vec<u8>),
    /// A [`message::ShredRequest`].
    Shreds(Vec<u8>),
}

impl RepairRequest {
    /// Kind of the message.
    pub fn kind(&self) -> MessageKind {
        match self {
            RepairRequest::Manifest(_) => MessageKind::ManifestRequest,
            RepairRequest::Shreds(_) => MessageKind::ShredRequest,
        }
    }

    /// The message.
    pub fn bytes(&self) -> &[u8] {
        match self {
            RepairRequest::Manifest(bytes) | RepairRequest::Shreds(bytes) => bytes,
        }
    }
}

/// Why a manifest was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RepairReject {
    /// This peer was not asked, or the block came otherwise.
    Unrequested,
    /// No manifest at all. The request went to the next peer.
    BadProof,
    /// The block that was asked for, but no leader may propose it. It is given up.
    Impossible,
}

impl RepairReject {
    /// Metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            RepairReject::Unrequested => "unrequested",
            RepairReject::BadProof => "bad_proof",
            RepairReject::Impossible => "impossible",
        }
    }
}

impl Reassembly {
    /// A certificate names this block: fetch it unless it is here. `holders` signed for it and so have it. False if it is outside the window or too
    /// many blocks are wanted; ask again later.
    pub fn want(&mut self, now: Nanos, view: View, digest: Digest, holders: SignerBitmap) -> bool {
        let ahead = self.current.0.saturating_add(self.config.window_views);
        if self.block(view, &digest).is_some() {
            return true;
        }
        if view <= self.finalized || view.0 > ahead {
            return false;
        }
        let in_repair: usize = self.wanting.iter().filter_map(|view| self.views.get(view)).map(|state| state.wants.len()).sum();
        let per_view = self.wants_per_view;
        self.revive(view);
        let state = self.state(view);
        if let Some(want) = state.wants.iter_mut().find(|want| want.digest == digest) {
            want.holders = want.holders.union(&holders);
            return true;
        }
        if state.wants.len() >= per_view || in_repair >= WANTS_MAX {
            return false;
        }
        state.wants.push(Want { digest, holders, manifest: None, attempts: 0 });
        self.wanting.insert(view);
        self.complete_wants(now, view);
        true
    }

    /// A [`MessageKind::Manifest`] of the authenticated peer `from`.
    pub fn on_manifest(&mut self, now: Nanos, from: ValidatorIndex, bytes: &[u8]) -> Result<(), RepairReject> {
        let of_peer = |request: &&Outstanding| request.peer == from && matches!(request.goal, Goal::Manifest(_));
        let Some(any) = self.outstanding.iter().find(of_peer).copied() else { return Err(RepairReject::Unrequested) };
        let Some((header, roots)) = parse_manifest(bytes) else {
            self.bad_answer(from, any.view, any.goal);
            return Err(RepairReject::BadProof);
        };
        let goal = Goal::Manifest(header.digest(&roots));
        let mut of_view = self.outstanding.iter().filter(|request| of_peer(request) && request.view == header.view);
        let Some(at) =
            self.outstanding.iter().position(|request| request.peer == from && request.view == header.view && request.goal == goal)
        else {
            // It may answer what was asked before, even by a process that was here before this one: no lie. Of the view that is asked for it may
            // be one, so somebody else is asked.
            let instead = of_view.next().map(|request| request.goal).filter(|_| !self.is_settled(&header, &roots));
            instead.into_iter().for_each(|goal| self.end(from, header.view, goal));
            return Err(RepairReject::Unrequested);
        };
        let request = self.outstanding.swap_remove(at);
        let Goal::Manifest(digest) = request.goal else { return Err(RepairReject::Unrequested) };
        let Some(manifest) = self.manifest(&header, &roots) else {
            self.malformed(header.view, Vec::new());
            self.forget_want(header.view, &digest);
            return Err(RepairReject::Impossible);
        };
        self.set_manifest(now, header.view, digest, header, manifest);
        self.complete_wants(now, header.view);
        Ok(())
    }

    /// Whether a manifest is of a block that is wanted, held or final. The request it answers ended with another peer's answer, with finality
    /// or for want of room: its sender is late and no liar, whatever else it was asked since.
    fn is_settled(&self, header: &BlockHeader, roots: &[Digest]) -> bool {
        let digest = header.digest(roots);
        let is_wanted = |state: &ViewState| state.wants.iter().any(|want| want.digest == digest);
        header.view <= self.finalized || self.block(header.view, &digest).is_some() || self.views.get(&header.view).is_some_and(is_wanted)
    }

    /// A shred that was asked for. Only the root counts: header and plan gave the shape, so neither signature nor seat matter.
    pub(super) fn admit_repaired(&mut self, now: Nanos, roster: &Roster, incoming: &Incoming<'_>) -> Result<ShredAccepted, ShredReject> {
        let (from, shred) = (incoming.from, ReceivedShred::parse(incoming.bytes).ok_or(ShredReject::Malformed)?);
        let (view, slice) = (shred.view, shred.slice);
        let asked = self.asked(from, &shred)?;
        let leaf = incoming.leaf.unwrap_or_else(|| shred.leaf());
        let root = shred.root(&leaf).ok_or(ShredReject::Malformed)?;
        let variants = self.views.get(&view).and_then(|state| state.slice(slice)).map_or(&[][..], |slice| &slice.variants);
        if !asked.iter().any(|(asked, _)| *asked == root) {
            // A good path to another root of this slice answers an earlier request, which another peer's answer ended: late, no lie.
            if variants.iter().any(|variant| variant.commitment.root == root) {
                return Err(ShredReject::Unrequested);
            }
            return Err(self.another_root(roster, from, &shred, root, asked[0].1));
        }
        let needed = variants.iter().filter(|variant| is_of(variant, root, &shred)).map(Variant::needs).sum();
        if needed > 0 && !self.make_room(view, needed) {
            return Err(ShredReject::Full);
        }
        self.store_repaired(&shred, &leaf, root, from);
        for at in 0..self.views.get(&view).and_then(|state| state.slice(slice)).map_or(0, |slice| slice.variants.len()) {
            self.decode_if_enough(now, view, slice, at);
        }
        self.recharge(view);
        Ok(ShredAccepted { relay: false })
    }

    /// A path to a root that was not asked for. Under a leader's signature it is the leader's other slice, without one nothing can be said; either may
    /// answer a process that was here before this one. A signature that does not verify is a lie. Somebody else is asked in any case, so a
    /// signature is looked at once a request.
    fn another_root(&mut self, roster: &Roster, from: ValidatorIndex, shred: &ReceivedShred<'_>, root: Digest, goal: Goal) -> ShredReject {
        let leader = self.schedule.leader(shred.view);
        let is_signed = |commitment| roster.verify_slice(leader, &commitment, shred.signature());
        if *shred.signature() == UNSIGNED || shred.commitment(root).is_some_and(is_signed) {
            self.end(from, shred.view, goal);
            return ShredReject::Unrequested;
        }
        self.bad_answer(from, shred.view, goal);
        ShredReject::BadProof
    }

    /// The roots for which this peer was asked for this shred, with their requests, if one of them still lacks it.
    pub(super) fn asked(&self, from: ValidatorIndex, shred: &ReceivedShred<'_>) -> Result<Vec<(Digest, Goal)>, ShredReject> {
        let bit = 1u128 << shred.index.0;
        if shred.view <= self.finalized {
            return Err(ShredReject::Old);
        }
        let answers = |request: &Outstanding| {
            matches!(request.goal, Goal::Shreds { slice, wanted, .. } if slice == shred.slice && wanted & bit != 0)
                && request.peer == from
                && request.view == shred.view
        };
        let roots: Vec<_> = self.outstanding.iter().filter(|request| answers(request)).filter_map(root_of).collect();
        let variants = self.views.get(&shred.view).and_then(|state| state.slice(shred.slice)).map_or(&[][..], |slice| &slice.variants);
        let is_asked = |variant: &&Variant| roots.iter().any(|(root, _)| *root == variant.commitment.root);
        let mut lacking = variants.iter().filter(is_asked).peekable();
        if lacking.peek().is_none() {
            return Err(ShredReject::Unrequested);
        }
        let mut collecting = lacking.filter(|variant| variant.is_collecting()).peekable();
        if collecting.peek().is_none() {
            return Err(ShredReject::Done);
        }
        if collecting.any(|variant| variant.seen & bit == 0) { Ok(roots) } else { Err(ShredReject::Duplicate) }
    }

    fn store_repaired(&mut self, shred: &ReceivedShred<'_>, leaf: &Leaf, root: Digest, from: ValidatorIndex) {
        if let Some(slice) = self.views.get_mut(&shred.view).and_then(|state| state.slice_mut(shred.slice)) {
            for variant in slice.variants.iter_mut().filter(|variant| is_of(variant, root, shred)) {
                let places = if variant.needs() > 0 { self.spares.take(variant.commitment.shape.data.into()) } else { Vec::new() };
                variant.store(shred, leaf, places);
            }
        }
        self.outstanding.retain_mut(|request| match &mut request.goal {
            Goal::Shreds { slice, root: asked, wanted }
                if request.peer == from && request.view == shred.view && *slice == shred.slice && *asked == root =>
            {
                *wanted &= !(1 << shred.index.0);
                *wanted != 0
            }
            _ => true,
        });
    }

    /// Ends a request that was answered wrongly, so that the next peer is asked, and keeps the answer against the peer.
    fn bad_answer(&mut self, from: ValidatorIndex, view: View, goal: Goal) {
        self.end(from, view, goal);
        self.misbehaved(from, Offence::BadProof, view);
    }

    fn end(&mut self, from: ValidatorIndex, view: View, goal: Goal) {
        let same = |request: &Outstanding| request.peer == from && request.view == view && request.goal == goal;
        if let Some(at) = self.outstanding.iter().position(same) {
            self.outstanding.swap_remove(at);
        }
    }

    /// The commitments of a block, from its header, its roots and its plan. None if no leader may propose it in its view.
    pub(super) fn manifest(&self, header: &BlockHeader, roots: &[Digest]) -> Option<Vec<SliceCommitment>> {
        let plan = self.planner.plan(header.block_bytes())?;
        if plan.slices() != roots.len() || header.leader != self.schedule.leader(header.view) {
            return None;
        }
        let commitment = |(slice, &root): (usize, &Digest)| {
            let slice = SliceIndex(slice as u16);
            SliceCommitment { view: header.view, slice, last: slice == plan.last(), shape: plan.shape(slice), code: CODE_GF16, root }
        };
        Some(roots.iter().enumerate().map(commitment).collect())
    }

    /// Gives a want its manifest and makes room for the variants it names.
    pub(super) fn set_manifest(&mut self, now: Nanos, view: View, digest: Digest, header: BlockHeader, manifest: Vec<SliceCommitment>) {
        let state = self.state(view);
        let Some(want) = state.wants.iter_mut().find(|want| want.digest == digest && want.manifest.is_none()) else { return };
        want.manifest = Some((header, manifest.clone()));
        for &commitment in &manifest {
            state.add_wanted(commitment, now);
        }
        let lost = manifest.iter().any(|commitment| {
            state.slice(commitment.slice).is_some_and(|slice| slice.variants.iter().any(|v| v.commitment == *commitment && v.is_tainted()))
        });
        self.outstanding.retain(|request| !(request.view == view && request.goal == Goal::Manifest(digest)));
        if lost {
            self.forget_want(view, &digest);
        }
    }

    fn forget_want(&mut self, view: View, digest: &Digest) {
        let state = self.state(view);
        state.wants.retain(|want| want.digest != *digest);
        if state.wants.is_empty() {
            self.wanting.remove(&view);
        }
        self.outstanding.retain(|request| !(request.view == view && request.goal == Goal::Manifest(*digest)));
    }
}

/// Whether a shred that leads to `root` is one of this variant.
fn is_of(variant: &Variant, root: Digest, shred: &ReceivedShred<'_>) -> bool {
    variant.commitment.root == root && variant.commitment.shape.total == shred.shape.total
}

/// The root a request for shreds is for, with its goal.
fn root_of(request: &Outstanding) -> Option<(Digest, Goal)> {
    match request.goal {
        Goal::Shreds { root, .. } => Some((root, request.goal)),
        Goal::Manifest(_) => None,
    }
}

fn parse_manifest(bytes: &[u8]) -> Option<(BlockHeader, Vec<Digest>)> {
    let manifest = message::access::<ArchivedManifest>(bytes)?;
    let well_sized = manifest.header.len() == BLOCK_HEADER_BYTES && (1..=SLICES_MAX).contains(&manifest.roots.len());
    let header = BlockHeader::from_bytes(manifest.header.as_slice()).filter(|_| well_sized)?;
    Some((header, manifest.roots.iter().map(|root| Digest(*root)).collect()))
}
