//! T11: proposes several blocks in its view, each to a part of the cluster, and votes for all of them. Otherwise it behaves.

use super::led::Manner;
use super::proposals::{Seats, say_to, send_block, send_vote, shred};
use super::puppet::Words;
use crate::actor::Stage;
use samara_types::BlockHeader;

/// See the module.
pub struct Equivocator {
    blocks: usize,
    /// How many seats get each block; none is a random cut.
    sizes: Option<[u8; 3]>,
}

impl Equivocator {
    /// So many blocks a view, to random parts.
    pub fn random(blocks: usize) -> Equivocator {
        Equivocator { blocks, sizes: None }
    }

    /// Parts of these sizes, by seat number.
    pub fn exact(sizes: [u8; 3]) -> Equivocator {
        Equivocator { blocks: sizes.iter().filter(|size| **size > 0).count(), sizes: Some(sizes) }
    }

    /// Which seats get which block. A random cut leaves nobody out and gives every block somebody.
    fn parts(&self, stage: &mut Stage<'_>) -> Vec<Seats> {
        let seats = stage.cluster.len();
        let mut parts = vec![vec![false; seats]; self.blocks];
        let order = if self.sizes.is_some() { (0..seats).collect() } else { stage.dice.shuffled(seats) };
        for (at, seat) in order.into_iter().filter(|seat| *seat != stage.me).enumerate() {
            let part = match self.sizes {
                Some(sizes) => part_of(at, &sizes),
                None if at < self.blocks => at,
                None => stage.dice.below(self.blocks as u64) as usize,
            };
            if let Some(part) = parts.get_mut(part) {
                part[seat] = true;
            }
        }
        parts
    }
}

/// The part of the `at`-th seat when parts of these sizes are filled in order; past the last, none.
fn part_of(at: usize, sizes: &[u8]) -> usize {
    let mut filled = 0;
    let reaches = |size: &u8| {
        filled += usize::from(*size);
        at < filled
    };
    sizes.iter().position(reaches).unwrap_or(usize::MAX)
}

impl Manner for Equivocator {
    fn name(&self) -> &'static str {
        "equivocator"
    }

    fn speak(&mut self, words: Words, stage: &mut Stage<'_>) {
        let Some(block) = words.proposals.first().cloned() else {
            stage.sends.extend(words.sends);
            return;
        };
        let parts = self.parts(stage);
        say_to(words, &parts[0], stage);
        for (later, seats) in parts.iter().enumerate().skip(1) {
            // The same block some nanoseconds later.
            let header = BlockHeader { timestamp_ns: block.header().timestamp_ns + later as u64, ..*block.header() };
            if let Some(twin) = shred(header, block.payload().to_vec(), stage) {
                send_block(&twin, seats, stage);
                send_vote(&twin.block, seats, stage);
            }
        }
    }
}
