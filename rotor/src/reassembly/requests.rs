//! Whom to ask for what next, one request at a time.
//!
//! A slice of a certified block goes to one peer at a time, signers of the certificate first; different nodes and slices start at different
//! signers. A slice of the current view goes to the holders of the missing seats together, then round to anybody.

use super::Reassembly;
use super::repair::RepairRequest;
use super::view::{Variant, Want};
use samara_types::message::{self, ManifestRequest, ShredRequest};
use samara_types::{Digest, Nanos, ShredIndex, SignerBitmap, SliceCommitment, SliceIndex, ValidatorIndex, View};

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    Manifest(Digest),
    Shreds { slice: SliceIndex, root: Digest, wanted: u128 },
}

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outstanding {
    pub(super) peer: ValidatorIndex,
    pub(super) view: View,
    pub(super) goal: Goal,
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

fn count_attempt<'a>(variants: impl Iterator<Item = &'a mut Variant>, root: Digest, attempts: u32) {
    variants.filter(|variant| variant.commitment.root == root).for_each(|variant| variant.attempts = attempts);
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
