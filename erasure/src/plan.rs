//! What a transform of a code does, worked out without touching a chunk: where each chunk lies in the field, which received chunks are
//! used, and the factor of each.
//!
//! # The code
//! Positions are field elements 0, 1, 2, ..; with the field written in Cantor's basis, any `coset` (a power of two) consecutive aligned
//! positions are a coset of an additive subgroup, on which the transforms work. `reed-solomon-simd` has two layouts:
//!
//! ```text
//! high rate: parity in coset 0, data from coset 1 on     coset = parity rounded up to a power of two
//! low rate:  data in coset 0, parity from coset 1 on     coset = data rounded up to a power of two
//! ```
//! Padding of the data is zero and known; padding of the parity is erased. A code word is a function `f` on the first `span` positions, a
//! power of two, that is a polynomial of a degree below `span - coset`, so any `span - coset` known positions determine it.
//!
//! # Restoring
//! Let `L` be the polynomial that vanishes exactly on the unknown positions. `f L` is known everywhere and has a degree below `span`, so it
//! equals its interpolation over all positions; differentiate that and put in an unknown `e`, where `(f L)' = f L'`:
//!
//! ```text
//! f(e) L'(e) = sum over known r of  f(r) L(r) / (e - r)
//! ```
//! This Cauchy sum is computed in one of two ways, whichever needs fewer multiplications. *Directly*: one multiplication for each unknown
//! data chunk and each known chunk. Or by *cosets*: let `A` be the polynomial below degree `coset` through `f L` on one coset (an inverse
//! transform). On another coset, at distance `d`, that coset's part of the sum is `A` times a constant ([`scale`]), because the subgroup's
//! vanishing polynomial is constant there; on its own coset it is the derivative `A'`. Add these up per coset with lost data and
//! transform once. Against the library, which transforms all `span` positions forth and back, only cosets with something in them are
//! touched: with all data of 32:32 lost, two transforms of 32 remain of two of 64, and no derivative.
//!
//! Exactly `data` received chunks are used. They determine the data, so every engine and both ways give the same bytes, be the code word
//! genuine or not.

use crate::locator::Locator;
use reed_solomon_simd::engine::{GF_MODULUS, GfElement, tables};
use std::ops::Range;
use std::sync::OnceLock;

/// Most data chunks, and most parity chunks, of a code.
pub const CODE_CHUNKS_MAX: usize = 256;
/// Positions of the largest code.
pub(crate) const POSITIONS_MAX: usize = 2 * CODE_CHUNKS_MAX;
const _: () = assert!(CODE_CHUNKS_MAX.is_power_of_two());

/// Where the chunks of a code lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub data: usize,
    pub parity: usize,
    /// Positions of a coset, a power of two.
    pub coset: usize,
    /// Whether parity comes first.
    pub high_rate: bool,
}

impl Layout {
    /// Panics unless both counts are 1 to [`CODE_CHUNKS_MAX`].
    pub fn new(data: usize, parity: usize) -> Layout {
        assert!((1..=CODE_CHUNKS_MAX).contains(&data) && (1..=CODE_CHUNKS_MAX).contains(&parity), "a code of {data} and {parity} chunks");
        let (data_padded, parity_padded) = (data.next_power_of_two(), parity.next_power_of_two());
        // The library's choice, part of the code. Where both pad to the same power of two either layout gives the same parity.
        let high_rate = data_padded > parity_padded || (data_padded == parity_padded && data <= parity);
        Layout { data, parity, coset: if high_rate { parity_padded } else { data_padded }, high_rate }
    }

    /// Position of chunk `index` of the code word.
    fn position(&self, index: usize) -> usize {
        let is_data = index < self.data;
        let within = if is_data { index } else { index - self.data };
        if is_data == self.high_rate { self.coset + within } else { within }
    }

    /// Chunk `index` of the code word, without a factor.
    fn place(&self, index: usize) -> Place {
        let position = self.position(index);
        Place { position, row: position & (self.coset - 1), index, log: 0 }
    }

    /// Positions in play: a power of two.
    fn span(&self) -> usize {
        (self.coset + if self.high_rate { self.data } else { self.parity }).next_power_of_two()
    }

    /// Positions that are zero by definition.
    fn zeros(&self) -> Range<usize> {
        if self.high_rate { self.coset + self.data..self.span() } else { self.data..self.coset }
    }
}

/// One chunk of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Position in the field.
    pub position: usize,
    /// Position in its coset.
    pub row: usize,
    /// Index in the code word.
    pub index: usize,
    /// Logarithm of its factor: `L(position)` of a known chunk, `1 / L'(position)` of a lost one. Up to a common constant, which the
    /// product of the two does not contain.
    pub log: GfElement,
}

/// Places next to each other in one coset.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    coset: usize,
    places: Range<usize>,
}

/// How the lost data chunks of a code word are computed. Kept from restore to restore for its memory.
#[derive(Default)]
pub(crate) struct Plan {
    /// The chunks used, exactly as many as the code has data, by position.
    pub known: Vec<Place>,
    /// The lost data chunks, by position.
    pub lost: Vec<Place>,
    known_runs: Vec<Run>,
    lost_runs: Vec<Run>,
    /// Whether the direct sum is cheaper.
    pub direct: bool,
    locator: Locator,
}

impl Plan {
    /// Plans for the chunks that `received` names. False if they are fewer than the code has data.
    pub fn make(&mut self, layout: Layout, received: impl Fn(usize) -> bool) -> bool {
        self.lost.clear();
        self.known.clear();
        for index in 0..layout.data {
            let places = if received(index) { &mut self.known } else { &mut self.lost };
            places.push(layout.place(index));
        }
        if !self.choose_parity(layout, &received) {
            return false;
        }
        self.known.sort_unstable_by_key(|place| place.position);
        if !self.lost.is_empty() {
            let known = self.known.iter().map(|place| place.position).chain(layout.zeros());
            let logs = self.locator.locate(layout.span(), known);
            self.known.iter_mut().for_each(|place| place.log = logs[place.position]);
            self.lost.iter_mut().for_each(|place| place.log = GF_MODULUS - logs[place.position]);
            find_runs(&self.known, layout.coset, &mut self.known_runs);
            find_runs(&self.lost, layout.coset, &mut self.lost_runs);
            self.direct = self.direct_cost() <= self.coset_cost(layout);
        }
        true
    }

    /// The known chunks, coset by coset, each with the coset's number.
    pub fn known_cosets(&self) -> impl Iterator<Item = (usize, &[Place])> {
        self.known_runs.iter().map(|run| (run.coset, &self.known[run.places.clone()]))
    }

    /// The lost chunks, coset by coset, each with the coset's number.
    pub fn lost_cosets(&self) -> impl Iterator<Item = (usize, &[Place])> {
        self.lost_runs.iter().map(|run| (run.coset, &self.lost[run.places.clone()]))
    }

    /// Takes as many parity chunks as data chunks are lost, from the cosets that received most: a coset costs a transform.
    fn choose_parity(&mut self, layout: Layout, received: impl Fn(usize) -> bool) -> bool {
        let cosets = layout.parity.div_ceil(layout.coset);
        let total = layout.data + layout.parity;
        let of_coset = |coset: usize| {
            let first = layout.data + coset * layout.coset;
            (first..total.min(first + layout.coset)).filter(|&index| received(index))
        };
        if cosets == 1 {
            let missing = layout.data - self.known.len();
            self.known.extend(of_coset(0).take(missing).map(|index| layout.place(index)));
            return self.known.len() == layout.data;
        }
        let mut last_taken = usize::MAX;
        while self.known.len() < layout.data {
            let counts = (0..cosets).map(|coset| of_coset(coset).count());
            let Some(most) = counts.filter(|&count| count > 0 && count < last_taken).max() else { return false };
            last_taken = most;
            for coset in (0..cosets).filter(|&coset| of_coset(coset).count() == most) {
                let missing = layout.data - self.known.len();
                self.known.extend(of_coset(coset).take(missing).map(|index| layout.place(index)));
            }
        }
        true
    }

    /// Multiplications of chunks.
    fn direct_cost(&self) -> usize {
        self.known.len() * self.lost.len()
    }

    /// The same for transforms: per coset with lost data, a factor for each chunk and a butterfly for each two rows and layer.
    fn coset_cost(&self, layout: Layout) -> usize {
        let transform = layout.coset / 2 * layout.coset.trailing_zeros() as usize;
        let (inputs, outputs) = (self.known_runs.len(), self.lost_runs.len());
        outputs * (self.known.len() + (inputs + 1) * transform) + self.lost.len()
    }
}

/// The runs of places in one coset.
fn find_runs(places: &[Place], coset: usize, runs: &mut Vec<Run>) {
    runs.clear();
    let mut from = 0;
    for run in places.chunk_by(|a, b| a.position - a.row == b.position - b.row) {
        runs.push(Run { coset: run[0].position / coset, places: from..from + run.len() });
        from += run.len();
    }
}

/// Logarithm of the factor that takes the polynomial of one coset to its part of the sum on a coset at `distance` (their numbers, xored;
/// not zero): the derivative of the subgroup's vanishing polynomial over its value at that distance.
pub(crate) fn scale(coset: usize, distance: usize) -> GfElement {
    static SCALES: OnceLock<Vec<Vec<GfElement>>> = OnceLock::new();
    let scales = SCALES.get_or_init(|| {
        let log = &*tables::get_exp_log().log;
        let sum = |from: usize, count: usize| (from..from + count).filter(|&at| at > 0).map(|at| u64::from(log[at])).sum::<u64>();
        let of = |coset: usize, distance: usize| subtract(reduce(sum(0, coset)), reduce(sum(distance * coset, coset)));
        let sizes = (0..=CODE_CHUNKS_MAX.trailing_zeros()).map(|bits| 1 << bits);
        sizes.map(|coset| (0..POSITIONS_MAX / coset).map(|distance| of(coset, distance)).collect()).collect()
    });
    scales[coset.trailing_zeros() as usize][distance]
}

/// `log[at]`: of a difference of positions.
pub(crate) fn log_of(at: usize) -> GfElement {
    tables::get_exp_log().log[at]
}

fn reduce(sum: u64) -> GfElement {
    (sum % u64::from(GF_MODULUS)) as GfElement
}

/// `a + b` as logarithms.
pub(crate) fn add(a: GfElement, b: GfElement) -> GfElement {
    reduce(u64::from(a) + u64::from(b))
}

/// `a - b` as logarithms.
pub(crate) fn subtract(a: GfElement, b: GfElement) -> GfElement {
    reduce(u64::from(a) + u64::from(GF_MODULUS) - u64::from(b))
}
