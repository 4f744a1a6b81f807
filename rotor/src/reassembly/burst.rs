//! A received burst: the leaves of its shreds are hashed together, then each is admitted as if it had come alone.
//!
//! ```text
//! frames ─ prepare: which of them will have to be hashed? ─> all those leaves in passes of sixteen ─> Incoming ─ admit, in order
//! ```
//! A leaf is a function of the shred's bytes alone, so preparing decides nothing: a shred that was not prepared is hashed when it is
//! admitted, and one that turns out not to be needed was hashed for a tenth of that price. Committees drawn ahead are bounded as those drawn
//! by admission are. Results, events and counters are those of the
//! same shreds one by one; the owner may do anything between two of them.

use super::{Reassembly, STRIKES_MAX, ShredAccepted, ShredReject};
use crate::wire::ReceivedShred;
use samara_crypto::Roster;
use samara_erasure::{Leaf, Unhashed, hash_burst};
use samara_types::{Nanos, SliceIndex, ValidatorIndex, View};

/// Shreds prepared together. More are prepared in parts.
const BURST_MAX: usize = 64;

/// A received shred, with its leaf once that is known.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    pub(super) from: ValidatorIndex,
    pub(super) repaired: bool,
    pub(super) bytes: &'a [u8],
    pub(super) leaf: Option<Leaf>,
}

impl<'a> Incoming<'a> {
    /// A [`samara_types::MessageKind::Shred`], or, if `repaired`, a [`samara_types::MessageKind::RepairShred`], of the authenticated peer
    /// `from`.
    pub fn new(from: ValidatorIndex, repaired: bool, bytes: &'a [u8]) -> Incoming<'a> {
        Incoming { from, repaired, bytes, leaf: None }
    }
}

/// Committees drawn for a burst before any of it was admitted, by sender: as many as it has strikes left, for each may come to one.
#[derive(Default)]
struct Draws(Vec<(ValidatorIndex, u8)>);

impl Draws {
    fn of(&mut self, from: ValidatorIndex) -> &mut u8 {
        let at = self.0.iter().position(|(sender, _)| *sender == from).unwrap_or_else(|| {
            self.0.push((from, 0));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }
}

/// What a burst still wants of one slice.
#[derive(Clone, Copy)]
struct Wanting {
    view: View,
    slice: SliceIndex,
    left: usize,
}

/// A shred's place, by which repeats within a burst are found.
type Place = (View, SliceIndex, u8);

impl Reassembly {
    /// Admits shreds that came together, in their order; `each` hears the position and result of every one.
    pub fn on_shreds(
        &mut self,
        now: Nanos,
        roster: &Roster,
        burst: &mut [Incoming<'_>],
        mut each: impl FnMut(usize, Result<ShredAccepted, ShredReject>),
    ) {
        self.prepare(burst);
        for (at, incoming) in burst.iter().enumerate() {
            each(at, self.admit(now, roster, incoming));
        }
    }

    /// Hashes the leaves of those shreds that [`Reassembly::admit`] would have to hash, many at a time. Changes nothing else.
    pub fn prepare(&mut self, burst: &mut [Incoming<'_>]) {
        let mut draws = Draws::default();
        burst.chunks_mut(BURST_MAX).for_each(|part| self.prepare_part(part, &mut draws));
    }

    fn prepare_part(&mut self, burst: &mut [Incoming<'_>], draws: &mut Draws) {
        let mut wanted: Vec<Unhashed<'_>> = Vec::with_capacity(burst.len());
        let mut positions = [0; BURST_MAX];
        let mut places: Vec<Place> = Vec::with_capacity(burst.len());
        let mut slices: Vec<Wanting> = Vec::new();
        for (at, incoming) in burst.iter().enumerate() {
            if let Some((place, unhashed)) = self.worth_hashing(incoming, &mut slices, &places, draws) {
                positions[wanted.len()] = at;
                wanted.push(unhashed);
                places.push(place);
            }
        }
        if wanted.len() > 1 {
            hash_burst(&wanted, |at, leaf| burst[positions[at]].leaf = Some(leaf));
        }
    }

    /// The chunk of a shred that will be hashed unless something before it in the burst makes it superfluous.
    fn worth_hashing<'a>(
        &mut self,
        incoming: &Incoming<'a>,
        slices: &mut Vec<Wanting>,
        places: &[Place],
        draws: &mut Draws,
    ) -> Option<(Place, Unhashed<'a>)> {
        let (shred, direct) = self.screen(incoming).ok()?;
        let known = if incoming.repaired {
            self.asked(incoming.from, &shred).ok()?;
            None
        } else {
            let known = self.find_open(&shred).ok()?;
            let relay = self.check_seat_ahead(&shred, direct, incoming.from, draws.of(incoming.from))?;
            self.check_duplicate(&shred, known, relay).ok()?;
            known
        };
        let place = (shred.view, shred.slice, shred.index.0);
        if places.contains(&place) {
            return None;
        }
        let deficit = || {
            let variant = known.and_then(|at| self.views.get(&shred.view)?.variant(shred.slice, at));
            variant.map_or(shred.shape.data.into(), |variant| variant.deficit())
        };
        let at = slices.iter().position(|slice| (slice.view, slice.slice) == (shred.view, shred.slice)).unwrap_or_else(|| {
            slices.push(Wanting { view: shred.view, slice: shred.slice, left: deficit() });
            slices.len() - 1
        });
        slices[at].left = slices[at].left.checked_sub(1)?;
        Some((place, shred.unhashed()))
    }

    /// As [`Reassembly::admit`] will check it, if that draws no more committees than strikes can follow.
    fn check_seat_ahead(&mut self, shred: &ReceivedShred<'_>, direct: bool, from: ValidatorIndex, drawn: &mut u8) -> Option<bool> {
        if self.strikes[from.at()].saturating_add(*drawn) >= STRIKES_MAX {
            return None;
        }
        let before = self.table.draws();
        let relay = self.check_seat(shred, direct, from);
        *drawn += u8::from(self.table.draws() > before);
        relay.ok()?
    }
}
