//! A liar in repair, catch-up and status: everything it is asked for, it answers, and wrongly.
//!
//! In its votes and proposals it is honest, so that it is asked: it holds every body, and is among the signers of every certificate.

use super::led::Manner;
use super::puppet::Words;
use crate::actor::Stage;
use crate::catch_up::Answer;
use samara_storage::encode_block;
use samara_types::block::payload_digest;
use samara_types::message::{ArchivedManifest, ArchivedStatus, Manifest, Status, access, encode};
use samara_types::{Block, BlockHeader, Digest, Height, MessageKind, ValidatorIndex, View};

/// See the module.
#[derive(Default)]
pub struct Liar {
    served: u64,
}

impl Manner for Liar {
    fn name(&self) -> &'static str {
        "liar"
    }

    fn speak(&mut self, words: Words, stage: &mut Stage<'_>) {
        for (target, kind, bytes) in words.sends {
            let lie = match kind {
                MessageKind::Manifest => manifest(&bytes, stage),
                MessageKind::RepairShred => Some(shred(&bytes, stage)),
                MessageKind::Status => status(&bytes, stage),
                _ => None,
            };
            match lie {
                Some(lie) => stage.sends.push((target, kind, lie.as_slice().into())),
                None => stage.sends.push((target, kind, bytes)),
            }
        }
    }

    fn serve(&mut self, from: Height) -> Option<Answer> {
        self.served += 1;
        let end = self.served.is_multiple_of(2);
        match self.served % 5 {
            // Refuses, has nothing, sends what is no block, a block nobody proposed, a block with a certificate that is none.
            0 => None,
            1 => Some(Answer { records: Vec::new(), end }),
            2 => Some(Answer { records: vec![(vec![0xa5; 500], None); 32], end }),
            3 => Some(Answer { records: vec![(invented(from), None)], end }),
            _ => Some(Answer { records: vec![(invented(from), Some(vec![0x5a; 200]))], end }),
        }
    }
}

fn manifest(bytes: &[u8], stage: &mut Stage<'_>) -> Option<Vec<u8>> {
    let archived = access::<ArchivedManifest>(bytes)?;
    let mut manifest = Manifest { header: archived.header.to_vec(), roots: archived.roots.to_vec() };
    match stage.dice.below(5) {
        0 => manifest.header.truncate(20),
        1 => manifest.header[20] ^= 1,
        2 => manifest.roots[0][3] ^= 1,
        3 => manifest.roots.truncate(0),
        _ => manifest.roots.extend([[1; 32]; 4]),
    }
    Some(encode(&manifest).to_vec())
}

/// A shred with a flipped bit anywhere, of another index, cut off, or empty.
fn shred(bytes: &[u8], stage: &mut Stage<'_>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = stage.dice.below(bytes.len() as u64) as usize;
    match stage.dice.below(4) {
        0 => bytes[at] ^= 1 << (at % 8),
        1 => bytes[10] ^= 1,
        2 => bytes.truncate(at),
        _ => bytes.clear(),
    }
    bytes
}

/// Far ahead of everybody: whoever believes it asks for blocks that nobody has.
fn status(bytes: &[u8], stage: &mut Stage<'_>) -> Option<Vec<u8>> {
    let archived = access::<ArchivedStatus>(bytes)?;
    let ahead = stage.dice.range(1, 10_000);
    let status = Status {
        view: archived.view.to_native() + ahead,
        finalized_view: archived.finalized_view.to_native() + ahead,
        finalized_height: archived.finalized_height.to_native() + ahead,
        finalized_digest: [4; 32],
    };
    Some(encode(&status).to_vec())
}

fn invented(height: Height) -> Vec<u8> {
    let header = BlockHeader {
        view: View(height.0 + 5),
        parent_view: View(height.0 + 4),
        parent_digest: Digest([8; 32]),
        height,
        timestamp_ns: 1,
        payload_length: 3,
        leader: ValidatorIndex(0),
        payload_digest: payload_digest(&[1, 2, 3]),
    };
    encode_block(&Block::new(header, vec![Digest([6; 32])], vec![1, 2, 3]).expect("the header names the payload"))
}
