//! T11: proposes two blocks in its view, each to a part of the cluster, and votes for both. Otherwise it behaves.

use super::puppet::{Puppet, Words};
use crate::actor::{Hostile, Stage};
use crate::trace::Target;
use samara_rotor::{Dissemination, Planner, RelayTable, ShreddedBlock, Shredder};
use samara_types::message::{Vote, encode};
use samara_types::{Block, BlockHeader, MessageKind, Subject, ValidatorIndex, View};
use std::sync::Arc;

/// See the module.
#[derive(Default)]
pub struct Equivocator {
    puppet: Option<Puppet>,
}

impl Hostile for Equivocator {
    fn name(&self) -> &'static str {
        "equivocator"
    }

    fn start(&mut self, stage: &mut Stage<'_>) {
        self.puppet = Some(Puppet::new(stage));
        self.wake(stage);
    }

    fn deliver(&mut self, from: usize, kind: MessageKind, bytes: &[u8], stage: &mut Stage<'_>) {
        let Some(puppet) = &mut self.puppet else { return };
        let words = puppet.deliver(stage.now, from, kind, bytes);
        self.speak(words, stage);
    }

    fn wake(&mut self, stage: &mut Stage<'_>) {
        let Some(puppet) = &mut self.puppet else { return };
        let words = puppet.tick(stage.now);
        self.speak(words, stage);
    }
}

impl Equivocator {
    fn speak(&mut self, words: Words, stage: &mut Stage<'_>) {
        stage.wake = self.puppet.as_ref().and_then(Puppet::next_deadline).map(|at| at.max(stage.now.after(samara_types::Nanos(100_000))));
        let Some(block) = words.proposals.first().cloned() else {
            stage.sends.extend(words.sends);
            return;
        };
        let twin = twin_of(&block, stage);
        let parts = parts(stage);
        // Its own dissemination and vote go to the first part only.
        for (target, kind, bytes) in words.sends {
            match (kind, target) {
                (MessageKind::Shred | MessageKind::Announce | MessageKind::Vote, Target::All) => {
                    for to in members(&parts, false) {
                        stage.send(to, kind, &bytes);
                    }
                }
                (MessageKind::Shred, Target::One(to)) if parts[to.at()] => {}
                _ => stage.sends.push((target, kind, bytes)),
            }
        }
        send_block(&twin, &parts, stage);
        let signature = stage.cluster.keys[stage.me].vote.sign(stage.cluster.roster.domain(), &subject(&twin.block));
        let vote = encode(&Vote { view: twin.block.header().view.0, digest: twin.block.digest().0, signature });
        for to in members(&parts, true) {
            stage.send(to, MessageKind::Vote, &vote);
        }
    }
}

fn subject(block: &Block) -> Subject {
    Subject::Vote(block.header().view, block.digest())
}

/// Which seats get the twin: a random cut, at least one on each side.
fn parts(stage: &mut Stage<'_>) -> Vec<bool> {
    let seats = stage.cluster.len();
    let twins = stage.dice.range(1, seats as u64 - 2) as usize;
    let mut parts = vec![false; seats];
    for seat in stage.dice.shuffled(seats).into_iter().filter(|seat| *seat != stage.me).take(twins) {
        parts[seat] = true;
    }
    parts
}

fn members(parts: &[bool], second: bool) -> Vec<usize> {
    (0..parts.len()).filter(|seat| parts[*seat] == second).collect()
}

/// The same block a nanosecond later.
fn twin_of(block: &Arc<Block>, stage: &Stage<'_>) -> ShreddedBlock {
    let header = BlockHeader { timestamp_ns: block.header().timestamp_ns + 1, ..*block.header() };
    let planner = Planner::new(stage.params, stage.cluster.roster.set());
    let mut shredder = Shredder::new(planner, *stage.cluster.roster.domain());
    let identity = &stage.cluster.keys[stage.me].identity;
    shredder.shred(header, block.payload().to_vec(), identity).expect("only the time differs from a block that could be shredded")
}

fn send_block(twin: &ShreddedBlock, parts: &[bool], stage: &mut Stage<'_>) {
    let set = stage.cluster.roster.set();
    let mut table = RelayTable::new(set, stage.cluster.beacon);
    let next: ValidatorIndex = stage.cluster.schedule.leader(View(twin.block.header().view.0 + 1));
    if twin.class == Dissemination::Hybrid {
        for slice in &twin.slices {
            for to in members(parts, true) {
                stage.send(to, MessageKind::Announce, &slice.announcement());
            }
        }
    }
    let mut bytes = Vec::new();
    for addressed in twin.send_order(&mut table, &set.by_stake(), next) {
        if parts[addressed.to.at()] {
            bytes.clear();
            twin.slices[addressed.slice.at()].write_shred(addressed.index, &mut bytes);
            stage.send(addressed.to.at(), MessageKind::Shred, &bytes);
        }
    }
}
