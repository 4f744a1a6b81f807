//! Fetching what a certificate names, and what a slice of the current view lacks (white paper section 2.8; reference, section 1.5).
//!
//! A certified block is wanted by its digest. Its manifest (header and slice roots) is checked by recomputing that digest; header and plan
//! then give every slice's shape, so a shred needs no signature: it must lead to the root asked for. Requests ask for exactly what is missing, go to
//! one peer at a time per slice, signers of the certificate first, and stay until a valid answer came: a wrong answer moves on at once and is kept
//! against the peer, silence moves on at the deadline (and an answer after it is still taken).

use super::view::{Variant, Want};
use super::{Reassembly, ShredAccepted, ShredReject, WANTS_MAX};
use crate::wire::ReceivedShred;
use samara_types::block::SLICES_MAX;
use samara_types::message::{self, ArchivedManifest, ManifestRequest, ShredRequest};
use samara_types::shred::CODE_GF16;
use samara_types::{
    BLOCK_HEADER_BYTES, BlockHeader, Digest, MessageKind, Nanos, Offence, ShredIndex, SignerBitmap, SliceCommitment, SliceIndex,
    ValidatorIndex, View,
};

/// What to send to get something that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepairRequest {
    /// A [`ManifestRequest`].
    Manifest(Vec<u8>),
    /// A [`ShredRequest`].
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
    /// Not the block that was asked for. The request went to the next peer.
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

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Manifest(Digest),
    Shreds { slice: SliceIndex, root: Digest, wanted: u128 },
}

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outstanding {
    peer: ValidatorIndex,
    pub(super) view: View,
    goal: Goal,
    deadline: Nanos,
    /// Past its deadline: somebody else may be asked, but its answer is still good.
    expired: bool,
}

impl Outstanding {
    /// Shreds of one root that are on their way.
    fn covers(&self, view: View, of: SliceIndex, of_root: Digest) -> u128 {
        match self.goal {
            Goal::Shreds { slice, root, wanted } if !self.expired && self.view == view && slice == of && root == of_root => wanted,
            _ => 0,
        }
    }
}

/// A slice that lacks shreds, taken out of its view.
struct Gap {
    commitment: SliceCommitment,
    seen: u128,
    deficit: usize,
    attempts: u32,
}

impl Gap {
    fn of(variant: &Variant) -> Option<Gap> {
        let deficit = variant.deficit();
        (deficit > 0).then_some(Gap { commitment: variant.commitment, seen: variant.seen, deficit, attempts: variant.attempts })
    }

    /// The lowest `count` shreds out of `from` that are not there and not in `covered`.
    fn lowest(&self, from: u128, covered: u128, count: usize) -> u128 {
        let all = u128::MAX >> (128 - u32::from(self.commitment.shape.total));
        let mut rest = from & all & !self.seen & !covered;
        let mut wanted = 0;
        for _ in 0..count {
            wanted |= rest & rest.wrapping_neg();
            rest &= rest.wrapping_sub(1);
        }
        wanted
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
        let parsed = parse_manifest(bytes);
        let asked = parsed.as_ref().and_then(|(header, roots)| {
            let digest = header.digest(roots);
            self.outstanding
                .iter()
                .position(|request| request.peer == from && request.view == header.view && request.goal == Goal::Manifest(digest))
        });
        let (Some((header, roots)), Some(at)) = (parsed, asked) else {
            self.bad_answer(from, any.view, any.goal);
            return Err(RepairReject::BadProof);
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

    /// The next request to send, if anything is missing that is not on its way. Call until None.
    pub fn poll_request(&mut self, now: Nanos) -> Option<(ValidatorIndex, RepairRequest)> {
        for request in &mut self.outstanding {
            request.expired |= request.deadline <= now;
        }
        if self.outstanding.iter().filter(|request| !request.expired).count() >= self.config.outstanding_max {
            return None;
        }
        let (view, peer, goal, attempts) = self.next_want().or_else(|| self.next_gap(now))?;
        let doubled = self.config.request_timeout.0.saturating_mul(1 << attempts.min(16));
        let deadline = now.after(Nanos(doubled.min(self.config.request_timeout_max.0)));
        self.forget_oldest_expired();
        self.outstanding.push(Outstanding { peer, view, goal, deadline, expired: false });
        Some((peer, encode(view, goal)))
    }

    /// When [`Reassembly::poll_request`] may have something without a new message.
    pub fn next_deadline(&self) -> Option<Nanos> {
        let requests = self.outstanding.iter().filter(|request| !request.expired).map(|request| request.deadline);
        let room = self.requests_outstanding() < self.config.outstanding_max;
        let gaps = self.current_gaps().filter(|(variant, _)| room && self.covered(&variant.commitment) == 0).map(|(_, due)| due);
        requests.chain(gaps).min()
    }

    /// Requests that wait for their answer.
    pub fn requests_outstanding(&self) -> usize {
        self.outstanding.iter().filter(|request| !request.expired).count()
    }

    /// A shred that was asked for. Only the root counts: header and plan gave the shape, so neither signature nor seat matter.
    pub(super) fn admit_repaired(&mut self, now: Nanos, from: ValidatorIndex, bytes: &[u8]) -> Result<ShredAccepted, ShredReject> {
        let shred = ReceivedShred::parse(bytes).ok_or(ShredReject::Malformed)?;
        let (view, slice, bit) = (shred.view, shred.slice, 1u128 << shred.index.0);
        if view <= self.finalized {
            return Err(ShredReject::Old);
        }
        let answers = |request: &Outstanding| {
            matches!(request.goal, Goal::Shreds { slice: of, wanted, .. } if of == slice && wanted & bit != 0)
                && request.peer == from
                && request.view == view
        };
        let roots: Vec<(Digest, Goal)> = self.outstanding.iter().filter(|request| answers(request)).filter_map(root_of).collect();
        let state = self.views.get(&view).ok_or(ShredReject::Unrequested)?;
        let variants = &state.slice(slice).ok_or(ShredReject::Unrequested)?.variants;
        let lacking: Vec<_> = variants.iter().filter(|variant| roots.iter().any(|(root, _)| *root == variant.commitment.root)).collect();
        if lacking.is_empty() {
            return Err(ShredReject::Unrequested);
        }
        if !lacking.iter().any(|variant| variant.is_collecting()) {
            return Err(ShredReject::Done);
        }
        if !lacking.iter().any(|variant| variant.is_collecting() && variant.seen & bit == 0) {
            return Err(ShredReject::Duplicate);
        }
        let root = shred.root().ok_or(ShredReject::Malformed)?;
        if !roots.iter().any(|(asked, _)| *asked == root) {
            self.bad_answer(from, view, roots[0].1);
            return Err(ShredReject::BadProof);
        }
        if !self.make_room(view, shred.body.len()) {
            return Err(ShredReject::Full);
        }
        self.store_repaired(&shred, root, from);
        for at in 0..self.views.get(&view).and_then(|state| state.slice(slice)).map_or(0, |slice| slice.variants.len()) {
            self.decode_if_enough(now, view, slice, at);
        }
        self.recharge(view);
        Ok(ShredAccepted { relay: false })
    }

    fn store_repaired(&mut self, shred: &ReceivedShred<'_>, root: Digest, from: ValidatorIndex) {
        let of_root = |variant: &&mut Variant| variant.commitment.root == root && variant.commitment.shape.total == shred.shape.total;
        if let Some(slice) = self.views.get_mut(&shred.view).and_then(|state| state.slice_mut(shred.slice)) {
            for variant in slice.variants.iter_mut().filter(of_root) {
                variant.store(shred.index, shred.body);
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
        let same = |request: &Outstanding| request.peer == from && request.view == view && request.goal == goal;
        if let Some(at) = self.outstanding.iter().position(same) {
            self.outstanding.swap_remove(at);
        }
        self.misbehaved(from, Offence::BadProof, view);
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

    /// Ends the requests for a block that is whole.
    pub(super) fn end_requests(&mut self, view: View, digest: &Digest, manifest: &[SliceCommitment]) {
        self.outstanding.retain(|request| match request.goal {
            _ if request.view != view => true,
            Goal::Manifest(asked) => asked != *digest,
            Goal::Shreds { slice, root, .. } => manifest.get(slice.at()).is_none_or(|commitment| commitment.root != root),
        });
    }

    /// The first manifest or slice of a certified block that is missing and not on its way, oldest view first.
    fn next_want(&mut self) -> Option<(View, ValidatorIndex, Goal, u32)> {
        let mut found = None;
        'views: for &view in &self.wanting {
            for want in &self.views.get(&view)?.wants {
                if let Some((goal, attempts, salt)) = self.next_of_want(view, want) {
                    found = Some((view, self.candidate(&want.holders, salt, attempts), goal, attempts, want.digest));
                    break 'views;
                }
            }
        }
        let (view, peer, goal, attempts, digest) = found?;
        let state = self.views.get_mut(&view)?;
        match goal {
            Goal::Manifest(_) => state.wants.iter_mut().filter(|want| want.digest == digest).for_each(|want| want.attempts += 1),
            Goal::Shreds { slice, root, .. } => count_attempt(state.slice_mut(slice)?.variants.iter_mut(), root, attempts + 1),
        }
        Some((view, peer, goal, attempts))
    }

    fn next_of_want(&self, view: View, want: &Want) -> Option<(Goal, u32, usize)> {
        let Some((_, manifest)) = &want.manifest else {
            let goal = Goal::Manifest(want.digest);
            let asked = self.outstanding.iter().any(|request| !request.expired && request.view == view && request.goal == goal);
            return (!asked).then_some((goal, want.attempts, 0));
        };
        manifest.iter().find_map(|commitment| {
            let slice = self.views.get(&view)?.slice(commitment.slice)?;
            let gap = Gap::of(slice.variants.get(slice.position(commitment)?)?)?;
            if self.covered(commitment) != 0 {
                return None;
            }
            let wanted = gap.lowest(u128::MAX, 0, gap.deficit);
            let goal = Goal::Shreds { slice: commitment.slice, root: commitment.root, wanted };
            Some((goal, gap.attempts, commitment.slice.at()))
        })
    }

    /// Shreds of a root that are on their way.
    fn covered(&self, commitment: &SliceCommitment) -> u128 {
        let covers = |request: &Outstanding| request.covers(commitment.view, commitment.slice, commitment.root);
        self.outstanding.iter().map(covers).fold(0, |all, some| all | some)
    }

    /// Slices of the current view's chain that lack shreds, with the time from which they may be asked for.
    fn current_gaps(&self) -> impl Iterator<Item = (&Variant, Nanos)> {
        let state = self.views.get(&self.current).filter(|state| !state.dead && !state.done && state.leader != self.config.me);
        let slices = state.map_or(&[][..], |state| state.slices());
        slices
            .iter()
            .filter_map(|slice| slice.first())
            .filter(|variant| variant.deficit() > 0)
            .map(|variant| (variant, variant.since.after(self.config.gap_delay)))
    }

    /// The next request for a slice of the current view: from the holders of the missing seats first, by stake, then from anybody.
    fn next_gap(&mut self, now: Nanos) -> Option<(View, ValidatorIndex, Goal, u32)> {
        let gaps: Vec<Gap> = self.current_gaps().filter(|(_, due)| *due <= now).filter_map(|(variant, _)| Gap::of(variant)).collect();
        gaps.into_iter().find_map(|gap| self.ask_for_gap(&gap))
    }

    fn ask_for_gap(&mut self, gap: &Gap) -> Option<(View, ValidatorIndex, Goal, u32)> {
        let SliceCommitment { view, slice, shape, root, .. } = gap.commitment;
        let covered = self.covered(&gap.commitment) & !gap.seen;
        let need = gap.deficit.saturating_sub(covered.count_ones() as usize);
        if need == 0 {
            return None;
        }
        let leader = self.schedule.leader(view);
        let seats = self.table.seats(view, slice, leader, shape.total);
        let mut peers: Vec<_> = self.by_stake.iter().copied().filter(|&peer| peer != self.config.me && peer != leader).collect();
        peers.push(leader);
        for attempt in gap.attempts as usize..gap.attempts as usize + peers.len() {
            let peer = peers[attempt % peers.len()];
            let own_seats = seats.of(peer).fold(0u128, |seats, index| seats | 1 << index.0);
            let first_round = attempt < peers.len() && peer != leader;
            let wanted = gap.lowest(if first_round { own_seats } else { u128::MAX }, covered, need);
            if wanted != 0 {
                let variants = self.views.get_mut(&view)?.slice_mut(slice)?.variants.iter_mut();
                count_attempt(variants, root, attempt as u32 + 1);
                let round = (attempt / peers.len()) as u32;
                return Some((view, peer, Goal::Shreds { slice, root, wanted }, round));
            }
        }
        None
    }

    /// Whom to ask at an attempt: the holders by stake, starting elsewhere for each node and slice, then everybody else likewise.
    fn candidate(&self, holders: &SignerBitmap, salt: usize, attempts: u32) -> ValidatorIndex {
        let others = self.by_stake.iter().copied().filter(|&peer| peer != self.config.me);
        let (mut first, mut rest): (Vec<_>, Vec<_>) = others.partition(|&peer| holders.contains(peer));
        for group in [&mut first, &mut rest] {
            let turn = (salt + self.config.me.at()) % group.len().max(1);
            group.rotate_left(turn);
        }
        first.append(&mut rest);
        first[attempts as usize % first.len()]
    }

    /// Answers after the deadline are good, but what waits for them is bounded.
    fn forget_oldest_expired(&mut self) {
        if self.outstanding.len() >= 2 * self.config.outstanding_max
            && let Some(at) = self.outstanding.iter().position(|request| request.expired)
        {
            self.outstanding.remove(at);
        }
    }
}

/// The root a request for shreds is for, with its goal.
fn root_of(request: &Outstanding) -> Option<(Digest, Goal)> {
    match request.goal {
        Goal::Shreds { root, .. } => Some((root, request.goal)),
        Goal::Manifest(_) => None,
    }
}

fn count_attempt<'a>(variants: impl Iterator<Item = &'a mut Variant>, root: Digest, attempts: u32) {
    variants.filter(|variant| variant.commitment.root == root).for_each(|variant| variant.attempts = attempts);
}

fn parse_manifest(bytes: &[u8]) -> Option<(BlockHeader, Vec<Digest>)> {
    let manifest = message::access::<ArchivedManifest>(bytes)?;
    let well_sized = manifest.header.len() == BLOCK_HEADER_BYTES && (1..=SLICES_MAX).contains(&manifest.roots.len());
    let header = BlockHeader::from_bytes(manifest.header.as_slice()).filter(|_| well_sized)?;
    Some((header, manifest.roots.iter().map(|root| Digest(*root)).collect()))
}

fn encode(view: View, goal: Goal) -> RepairRequest {
    match goal {
        Goal::Manifest(digest) => RepairRequest::Manifest(message::encode(&ManifestRequest { view: view.0, digest: digest.0 }).to_vec()),
        Goal::Shreds { slice, root, wanted } => {
            let request = ShredRequest { view: view.0, slice: slice.0, root: root.0, wanted: wanted.to_le_bytes() };
            RepairRequest::Shreds(message::encode(&request).to_vec())
        }
    }
}

/// The shreds a mask names.
pub(super) fn indexes(mask: u128) -> impl Iterator<Item = ShredIndex> {
    (0..128u8).filter(move |bit| mask & (1 << bit) != 0).map(ShredIndex)
}
