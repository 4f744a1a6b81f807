//! T12, T16: a leader whose blocks nobody may vote for, otherwise honest. One fault is drawn for every block.
//!
//! `miscoder` breaks the code: parity that is none, padding that is not zero, a header that is no header, a payload that is not the header's, the
//! last slice not marked, one version that ends and one that goes on. `bad_proposer` codes well what is invalid: payloads that are no
//! transactions, are unsigned, come twice; a height, parent or leader that is not so; a parent that skips a notarized view.

use super::led::Manner;
use super::proposals::{Seats, announce, everybody, send_block, send_vote, shred};
use super::puppet::Words;
use crate::actor::Stage;
use samara_crypto::{IdentitySecret, sign_transaction};
use samara_erasure::CodeWord;
use samara_rotor::{ShreddedBlock, SignedSlice};
use samara_types::transaction::append;
use samara_types::{Block, CHUNK_BYTES, Digest, Height, MessageKind, ShredIndex, SliceIndex, ValidatorIndex, View};
use std::sync::Arc;

/// What it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaks {
    /// The code.
    Code,
    /// The content.
    Content,
}

/// See the module.
pub struct BadLeader {
    breaks: Breaks,
    /// Its last block, to replay and to build on.
    last: Option<Arc<Block>>,
}

impl BadLeader {
    /// No block yet.
    pub fn new(breaks: Breaks) -> BadLeader {
        BadLeader { breaks, last: None }
    }

    fn miscode(&self, block: &Block, stage: &mut Stage<'_>) -> Option<ShreddedBlock> {
        let mut shredded = shred(*block.header(), block.payload().to_vec(), stage)?;
        let fault = stage.dice.below(6);
        let domain = *stage.cluster.roster.domain();
        let secret = &stage.cluster.keys[stage.me].identity;
        let count = shredded.slices.len();
        for (at, slice) in shredded.slices.iter_mut().enumerate() {
            let shape = slice.commitment.shape;
            let mut bytes: Vec<u8> = (0..shape.total).flat_map(|index| *slice.word.chunk(ShredIndex(index))).collect();
            let (data, last) = (usize::from(shape.data) * CHUNK_BYTES, at + 1 == count);
            match fault {
                0 if bytes.len() > data => bytes[data + 5] ^= 1,
                1 => bytes[data - 1] ^= 1,
                2 if at == 0 => bytes[..40].fill(0xff),
                3 if last => bytes[shape.payload_length as usize - 1] ^= 1,
                _ => {}
            }
            let word = CodeWord::uncoded(shape, bytes);
            let is_last = last && fault != 4;
            *slice = SignedSlice::sign(block.header(), SliceIndex(at as u16), is_last, word, secret, &domain);
        }
        if fault == 5 {
            self.go_on(block, stage);
        }
        Some(shredded)
    }

    /// Another version of the block that does not end with its first slice: half of the cluster gets its beginning.
    fn go_on(&self, block: &Block, stage: &mut Stage<'_>) {
        let long = shred(*block.header(), vec![2; 40_000], stage);
        let seats: Seats = (0..stage.cluster.len()).map(|seat| seat != stage.me && seat % 2 == 0).collect();
        if let Some(long) = long {
            announce(&long.slices[0], &seats, stage);
            send_block(&long, &seats, stage);
        }
    }

    fn misstate(&self, block: &Block, stage: &mut Stage<'_>) -> Option<ShreddedBlock> {
        let chain = stage.cluster.chain();
        let mut header = *block.header();
        let mut payload = block.payload().to_vec();
        let signed = |nonce| sign_transaction(&chain, &IdentitySecret::from_bytes(&[9; 32]), nonce, b"hostile");
        match stage.dice.below(8) {
            0 => payload.extend([200, 0, 1, 2, 3]),
            1 => {
                let mut unsigned = signed(header.view.0);
                unsigned[40] ^= 1;
                append(&mut payload, &unsigned);
            }
            2 => (0..2).for_each(|_| append(&mut payload, &signed(header.view.0))),
            3 => header.height = Height(header.height.0 + 1),
            4 => header.parent_digest = Digest([5; 32]),
            5 => header.leader = ValidatorIndex((header.leader.0 + 1) % stage.cluster.len() as u16),
            6 => header.parent_view = View(header.parent_view.0.saturating_sub(1)),
            _ => {
                // A parent of its own that others may have finalized long ago, skipping what was notarized since.
                let last = self.last.as_ref()?;
                (header.parent_view, header.parent_digest, header.height) =
                    (last.header().view, last.digest(), last.header().height.next());
            }
        }
        shred(header, payload, stage)
    }
}

impl Manner for BadLeader {
    fn name(&self) -> &'static str {
        match self.breaks {
            Breaks::Code => "miscoder",
            Breaks::Content => "bad_proposer",
        }
    }

    fn speak(&mut self, words: Words, stage: &mut Stage<'_>) {
        let Some(block) = words.proposals.first().cloned() else {
            stage.sends.extend(words.sends);
            return;
        };
        let bad = match self.breaks {
            Breaks::Code => self.miscode(&block, stage),
            Breaks::Content => self.misstate(&block, stage),
        };
        for (target, kind, bytes) in words.sends {
            if !matches!(kind, MessageKind::Shred | MessageKind::Announce | MessageKind::Vote) {
                stage.sends.push((target, kind, bytes));
            }
        }
        if let Some(bad) = bad {
            let seats = everybody(stage);
            send_block(&bad, &seats, stage);
            send_vote(&bad.block, &seats, stage);
        }
        self.last = Some(block);
    }
}
