//! Blocks a hostile leader makes, and how they reach some of the cluster.

use super::puppet::Words;
use crate::actor::Stage;
use crate::trace::Target;
use samara_rotor::{Dissemination, Planner, RelayTable, ShreddedBlock, Shredder, SignedSlice};
use samara_types::message::{Vote, encode};
use samara_types::{Block, BlockHeader, MessageKind, SigningDomain, Subject, ValidatorIndex, View, block::payload_digest};

/// Some seats.
pub type Seats = Vec<bool>;

/// Everybody but the module itself.
pub fn everybody(stage: &Stage<'_>) -> Seats {
    (0..stage.cluster.len()).map(|seat| seat != stage.me).collect()
}

/// So many of the others, at random.
pub fn some(count: usize, stage: &mut Stage<'_>) -> Seats {
    let seats = stage.cluster.len();
    let mut chosen = vec![false; seats];
    for seat in stage.dice.shuffled(seats).into_iter().filter(|seat| *seat != stage.me).take(count) {
        chosen[seat] = true;
    }
    chosen
}

/// Those of a mask.
pub fn members(seats: &Seats) -> impl Iterator<Item = usize> + '_ {
    (0..seats.len()).filter(|seat| seats[*seat])
}

/// The block with this payload; length and digest of the header are made to fit. None if it is too large for any plan.
pub fn shred(header: BlockHeader, payload: Vec<u8>, stage: &Stage<'_>) -> Option<ShreddedBlock> {
    shred_in(*stage.cluster.roster.domain(), header, payload, stage)
}

/// The same, signed for another chain or epoch.
pub fn shred_in(domain: SigningDomain, header: BlockHeader, payload: Vec<u8>, stage: &Stage<'_>) -> Option<ShreddedBlock> {
    let header = BlockHeader { payload_length: payload.len() as u32, payload_digest: payload_digest(&payload), ..header };
    let planner = Planner::new(stage.params, stage.cluster.roster.set());
    Shredder::new(planner, domain).shred(header, payload, &stage.cluster.keys[stage.me].identity)
}

/// Sends a block as its leader would, to these seats only.
pub fn send_block(block: &ShreddedBlock, seats: &Seats, stage: &mut Stage<'_>) {
    let set = stage.cluster.roster.set();
    let mut table = RelayTable::new(set, stage.cluster.beacon);
    let next: ValidatorIndex = stage.cluster.schedule.leader(View(block.block.header().view.0 + 1));
    if block.class == Dissemination::Hybrid {
        for slice in &block.slices {
            announce(slice, seats, stage);
        }
    }
    let mut bytes = Vec::new();
    for addressed in block.send_order(&mut table, &set.by_stake(), next) {
        if seats[addressed.to.at()] {
            bytes.clear();
            block.slices[addressed.slice.at()].write_shred(addressed.index, &mut bytes);
            stage.send(addressed.to.at(), MessageKind::Shred, &bytes);
        }
    }
}

/// Announces a slice to these seats.
pub fn announce(slice: &SignedSlice, seats: &Seats, stage: &mut Stage<'_>) {
    let message = slice.announcement();
    for to in members(seats) {
        stage.send(to, MessageKind::Announce, &message);
    }
}

/// The module's vote for a block, to these seats.
pub fn send_vote(block: &Block, seats: &Seats, stage: &mut Stage<'_>) {
    let subject = Subject::Vote(block.header().view, block.digest());
    let signature = stage.cluster.keys[stage.me].vote.sign(stage.cluster.roster.domain(), &subject);
    let vote = encode(&Vote { view: block.header().view.0, digest: block.digest().0, signature });
    for to in members(seats) {
        stage.send(to, MessageKind::Vote, &vote);
    }
}

/// What a puppet said when it proposed: dissemination and vote reach these seats only, everything else goes as it would.
pub fn say_to(words: Words, seats: &Seats, stage: &mut Stage<'_>) {
    for (target, kind, bytes) in words.sends {
        match (kind, target) {
            (MessageKind::Shred | MessageKind::Announce | MessageKind::Vote, Target::All) => {
                for to in members(seats) {
                    stage.send(to, kind, &bytes);
                }
            }
            (MessageKind::Shred, Target::One(to)) if !seats[to.at()] => {}
            _ => stage.sends.push((target, kind, bytes)),
        }
    }
}
