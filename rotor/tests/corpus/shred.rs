//! One datagram's worth of bytes as a shred and as an announcement: whatever is taken is, byte for byte, what a leader signed and sent.

use crate::cluster::cluster;
use crate::reader::Reader;
use samara_types::{Nanos, ValidatorIndex};

const ME: ValidatorIndex = ValidatorIndex(0);

/// First byte odd: the rest is the message. Even: a leader's message, patched.
pub fn run(input: &[u8]) {
    let cluster = cluster();
    let mut reader = Reader::new(input);
    let raw = reader.byte() & 1 == 1;
    let block = reader.one_of(&cluster.blocks);
    let slice = reader.below(block.shredded.slices.len());
    let index = reader.below(block.total(slice).into()) as u8;
    let honest = cluster.sender(&mut cluster.table(), block, slice, index, ME);
    let choice = reader.byte();
    let from = if choice & 1 == 0 { honest } else { ValidatorIndex(u16::from(choice >> 1) % 6) };
    let announce = choice & 0x80 != 0;
    let original = if announce { block.shredded.slices[slice].announcement() } else { block.shred(slice, index) };
    let mut message = original.clone();
    if raw {
        message = reader.rest().to_vec();
    } else {
        reader.patch(&mut message);
    }
    let mut node = cluster.node(ME);
    let untouched = message == original;
    if announce {
        let taken = node.on_announce(Nanos(1), &cluster.roster, from, &message).is_ok();
        assert!(!taken || made_by_a_leader(&message, true), "a forged announcement was taken");
        assert!(taken || !untouched || from != block.shredded.block.header().leader || from == ME, "an honest announcement was refused");
    } else {
        let taken = node.on_shred(Nanos(1), &cluster.roster, from, false, &message).is_ok();
        assert!(!taken || made_by_a_leader(&message, false), "a forged shred was taken");
        let own = cluster.schedule.leader(block.view()) == ME;
        assert!(taken || !untouched || from != honest || own, "an honest shred was refused");
    }
}

fn made_by_a_leader(message: &[u8], announcement: bool) -> bool {
    cluster().blocks.iter().any(|block| {
        block.shredded.slices.iter().enumerate().any(|(slice, signed)| {
            if announcement {
                signed.announcement() == message
            } else {
                (0..block.total(slice)).any(|index| block.shred(slice, index) == message)
            }
        })
    })
}
