//! How a block is cut and coded, as a function of its size alone, so that a receiver derives what the leader must have done.
//!
//! | header and payload | class | coding |
//! |---|---|---|
//! | <= 1,024 B | Direct | one chunk, no parity; the leader sends it to everybody itself |
//! | 1,025 to 65,536 B | Hybrid | slice announcements direct to everybody, shreds through relays at the hybrid redundancy |
//! | above | Relay | shreds through relays at the relay redundancy |
//!
//! Slices take 32 data chunks, the last one what is left. The total is `ceil(data * redundancy)`, rounded up to a multiple of the relays
//! where that costs little: then equal relays hold equal shares, and "likely recoverable" becomes "recoverable with any
//! floor((1 - 1/redundancy) * relays) relays gone" (reference, section 2.3).

use samara_types::block::BLOCK_HEADER_BYTES;
use samara_types::shred::{SLICE_BYTES_MAX, TOTAL_SHREDS_MAX};
use samara_types::{CHUNK_BYTES, Params, SliceIndex, SliceShape, ValidatorSet};

/// Largest block of class Direct, inclusive.
pub const DIRECT_BYTES_MAX: usize = 1024;
/// Largest block of class Hybrid, inclusive.
pub const HYBRID_BYTES_MAX: usize = 65_536;
/// A total up to this may be the result of rounding, whatever the redundancy asks for: each of a few relays gets a seat of a small slice.
const SMALL_TOTAL: usize = 16;

/// How a block travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dissemination {
    /// The leader sends all shreds to all.
    Direct,
    /// Announcements direct, shreds relayed.
    Hybrid,
    /// Shreds relayed.
    Relay,
}

impl Dissemination {
    /// The class of a block of this many bytes, header included.
    pub fn of(block_bytes: usize) -> Dissemination {
        if block_bytes <= DIRECT_BYTES_MAX {
            Dissemination::Direct
        } else if block_bytes <= HYBRID_BYTES_MAX {
            Dissemination::Hybrid
        } else {
            Dissemination::Relay
        }
    }

    /// Metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Dissemination::Direct => "direct",
            Dissemination::Hybrid => "hybrid",
            Dissemination::Relay => "relay",
        }
    }
}

/// What plans depend on: the same on every node of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planner {
    relays: usize,
    hybrid_redundancy: usize,
    relay_redundancy: usize,
    block_bytes_max: usize,
}

impl Planner {
    /// For a set with these parameters.
    pub fn new(params: &Params, set: &ValidatorSet) -> Planner {
        Planner {
            relays: set.len() - 1,
            hybrid_redundancy: params.hybrid_redundancy.into(),
            relay_redundancy: params.relay_redundancy.into(),
            block_bytes_max: BLOCK_HEADER_BYTES + params.payload_bytes_max as usize,
        }
    }

    /// The plan of a block of `block_bytes` (header and payload). None if no block has that size.
    pub fn plan(&self, block_bytes: usize) -> Option<Plan> {
        let possible = (BLOCK_HEADER_BYTES..=self.block_bytes_max).contains(&block_bytes);
        possible.then(|| Plan { planner: *self, class: Dissemination::of(block_bytes), block_bytes })
    }

    /// Most slices of a block.
    pub fn slices_max(&self) -> usize {
        self.block_bytes_max.div_ceil(SLICE_BYTES_MAX)
    }

    /// Whether some block has a slice like this, and if so whether it travels direct (`Some(true)`). The last slice tells the size of the
    /// block, so only slice 0 of a longer block leaves its class open.
    pub fn admits(&self, slice: SliceIndex, last: bool, shape: &SliceShape) -> Option<bool> {
        if last {
            let plan = self.plan(slice.at() * SLICE_BYTES_MAX + shape.payload_length as usize)?;
            return (plan.shape(slice) == *shape).then_some(plan.class == Dissemination::Direct);
        }
        let longer = self.block_bytes_max > (slice.at() + 1) * SLICE_BYTES_MAX;
        let full = shape.payload_length as usize == SLICE_BYTES_MAX && longer;
        let hybrid = slice.0 == 0 && shape.total == self.total(Dissemination::Hybrid, shape.data.into());
        let relay = self.block_bytes_max > HYBRID_BYTES_MAX && shape.total == self.total(Dissemination::Relay, shape.data.into());
        (full && shape.is_canonical() && (hybrid || relay)).then_some(false)
    }

    fn total(&self, class: Dissemination, data: usize) -> u8 {
        let redundancy = match class {
            Dissemination::Direct => return data as u8,
            Dissemination::Hybrid => self.hybrid_redundancy,
            Dissemination::Relay => self.relay_redundancy,
        };
        let asked = (data * redundancy).div_ceil(100).min(TOTAL_SHREDS_MAX);
        let even = asked.next_multiple_of(self.relays);
        let cheap = even <= TOTAL_SHREDS_MAX && (even <= SMALL_TOTAL || even <= asked + asked / 2);
        (if cheap { even } else { asked }) as u8
    }
}

/// How one block is cut and coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    planner: Planner,
    class: Dissemination,
    block_bytes: usize,
}

impl Plan {
    /// How the block travels.
    pub fn class(&self) -> Dissemination {
        self.class
    }

    /// Number of slices, at least 1.
    pub fn slices(&self) -> usize {
        self.block_bytes.div_ceil(SLICE_BYTES_MAX)
    }

    /// The last slice.
    pub fn last(&self) -> SliceIndex {
        SliceIndex((self.slices() - 1) as u16)
    }

    /// The bytes of the block (header, then payload) that `slice` carries. Panics beyond the last slice.
    pub fn range(&self, slice: SliceIndex) -> std::ops::Range<usize> {
        assert!(slice <= self.last(), "slice {slice} of {}", self.slices());
        let start = slice.at() * SLICE_BYTES_MAX;
        start..self.block_bytes.min(start + SLICE_BYTES_MAX)
    }

    /// Counts and length of `slice`. Panics beyond the last slice.
    pub fn shape(&self, slice: SliceIndex) -> SliceShape {
        let payload_length = self.range(slice).len();
        let data = payload_length.div_ceil(CHUNK_BYTES);
        SliceShape { data: data as u8, total: self.planner.total(self.class, data), payload_length: payload_length as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::set_of;
    use proptest::prelude::*;

    fn planner(validators: usize) -> Planner {
        Planner::new(&Params::default(), &set_of(&vec![1; validators]))
    }

    #[test]
    fn classes_change_exactly_at_their_boundaries() {
        let class = |bytes| planner(6).plan(bytes).unwrap().class();
        assert_eq!([1023, 1024, 1025].map(class), [Dissemination::Direct, Dissemination::Direct, Dissemination::Hybrid]);
        assert_eq!([65_535, 65_536, 65_537].map(class), [Dissemination::Hybrid, Dissemination::Hybrid, Dissemination::Relay]);
        let slices = |bytes| planner(6).plan(bytes).unwrap().slices();
        assert_eq!([104, 32_768, 32_769, 65_536, 65_537].map(slices), [1, 1, 2, 2, 3]);
    }

    #[test]
    fn no_plan_for_a_block_without_header_or_above_the_limit() {
        let most = BLOCK_HEADER_BYTES + Params::default().payload_bytes_max as usize;
        assert!(planner(6).plan(103).is_none());
        assert!(planner(6).plan(104).is_some());
        assert!(planner(6).plan(most).is_some());
        assert!(planner(6).plan(most + 1).is_none());
        assert_eq!(planner(6).slices_max(), 33);
    }

    #[test]
    fn totals_are_a_multiple_of_few_relays_and_plain_redundancy_for_many() {
        let total = |validators, data: usize| planner(validators).total(Dissemination::Relay, data);
        assert_eq!([1, 2, 3, 32].map(|data| total(6, data)), [5, 5, 10, 65]);
        assert_eq!([1, 2, 32].map(|data| total(11, data)), [10, 10, 70]);
        assert_eq!([1, 32].map(|data| total(15, data)), [14, 70]);
        // 40 relays: 2 seats each for a whole slice, but no 40 seats for a single chunk.
        assert_eq!([1, 32].map(|data| total(41, data)), [2, 80]);
        assert_eq!([1, 32].map(|data| total(64, data)), [2, 64]);
        assert_eq!(total(1024, 32), 64);
        let triple = Planner { relay_redundancy: 400, ..planner(6) };
        assert_eq!(triple.total(Dissemination::Relay, 32), 128, "130 does not fit a code word");
    }

    #[test]
    fn a_direct_block_has_no_parity() {
        let shape = planner(6).plan(1024).unwrap().shape(SliceIndex(0));
        assert_eq!(shape, SliceShape { data: 1, total: 1, payload_length: 1024 });
    }

    proptest! {
        #[test]
        fn slices_cover_the_block_and_every_planned_slice_is_admitted(validators in 6usize..200, bytes in 104usize..=(1 << 20) + 104) {
            let planner = planner(validators);
            let plan = planner.plan(bytes).unwrap();
            let mut covered = 0;
            for slice in (0..plan.slices() as u16).map(SliceIndex) {
                let shape = plan.shape(slice);
                prop_assert!(shape.is_canonical());
                prop_assert_eq!(plan.range(slice).start, covered);
                covered = plan.range(slice).end;
                let direct = plan.class() == Dissemination::Direct;
                prop_assert_eq!(planner.admits(slice, slice == plan.last(), &shape), Some(direct));
            }
            prop_assert_eq!(covered, bytes);
        }

        #[test]
        fn what_is_admitted_as_last_is_the_plan_of_its_size(data: u8, total: u8, payload_length in 0u32..40_000, slice in 0u16..40) {
            let planner = planner(6);
            let shape = SliceShape { data, total, payload_length };
            if planner.admits(SliceIndex(slice), true, &shape).is_some() {
                let plan = planner.plan(usize::from(slice) * SLICE_BYTES_MAX + payload_length as usize).unwrap();
                prop_assert_eq!(plan.shape(SliceIndex(slice)), shape);
            }
            if planner.admits(SliceIndex(slice), false, &shape).is_some() {
                prop_assert!(shape.data == 32 && usize::from(slice) + 1 < planner.slices_max());
            }
        }
    }
}
