//! The blocks the captured validator proposed, put together from the shreds it sent.
//!
//! A peer's reassembly does it, with every check a peer makes: each shred is taken as that peer would have got it, from the leader for a seat
//! of its own and from the seat's holder otherwise. All of them are in the capture, so all blocks come out, whatever the peers lost.

use super::tape::{Tape, Taped};
use crate::exit::Exit;
use crate::genesis::Genesis;
use samara_crypto::Roster;
use samara_rotor::{Event, Incoming, Planner, Reassembly, ReassemblyConfig};
use samara_types::{Block, Epoch, LeaderSchedule, MessageKind, Nanos, ShredHeader, ValidatorIndex, View};
use std::sync::Arc;
use zerocopy::FromBytes;

/// Payload bytes of own blocks held at most: a longer capture is cut with `--duration` or by `editcap`.
const BYTES_MAX: usize = 2 << 30;

struct Observer<'a> {
    me: ValidatorIndex,
    planner: Planner,
    roster: &'a Roster,
    reassembly: Reassembly,
    /// Whose reassembly it is.
    eye: ValidatorIndex,
    view: View,
    blocks: Vec<Block>,
    bytes: usize,
}

/// All blocks that `me` sent in the capture.
pub fn proposed(tape: &mut Tape, genesis: &Genesis, roster: &Roster, me: ValidatorIndex) -> Result<Vec<Block>, Exit> {
    let set = &genesis.set;
    let eye = set.indexes().find(|index| *index != me).expect("a set has six members at least");
    let schedule = LeaderSchedule::new(set, &genesis.seed, Epoch(0));
    let config = ReassemblyConfig::new(eye, genesis.params, set);
    let mut observer = Observer {
        me,
        planner: Planner::new(&genesis.params, set),
        roster,
        reassembly: Reassembly::new(config, set, schedule, genesis.seed),
        eye,
        view: View::GENESIS,
        blocks: Vec::new(),
        bytes: 0,
    };
    while let Some(taped) = tape.message()? {
        if taped.sent && taped.kind == MessageKind::Shred && usize::from(taped.peer) < set.len() {
            observer.shred(&taped);
        }
        if observer.bytes > BYTES_MAX {
            return Err(Exit::failed(format!("the captured validator proposed more than {} GiB: replay a part of it", BYTES_MAX >> 30)));
        }
    }
    Ok(observer.blocks)
}

impl Observer<'_> {
    fn shred(&mut self, taped: &Taped) {
        let Ok((header, _)) = ShredHeader::read_from_prefix(&taped.bytes) else { return };
        let (slice, view) = (samara_types::SliceIndex(header.slice.get()), View(header.view.get()));
        let direct = header.shape().and_then(|shape| self.planner.admits(slice, header.last == 1, &shape));
        let Some(direct) = direct else { return };
        if view > self.view && view.0 < u64::MAX {
            self.view = view;
            self.reassembly.advance(view.previous(), view);
        }
        let to = ValidatorIndex(taped.peer);
        let from = if direct || to == self.eye { self.me } else { to };
        // Shreds relayed for other leaders are refused here, since their sender does not hold the seat; so are those of earlier views.
        let _ = self.reassembly.admit(Nanos(taped.unix_ns), self.roster, &Incoming::new(from, false, &taped.bytes));
        while self.reassembly.poll_relay().is_some() {}
        while let Some(event) = self.reassembly.poll_event() {
            if let Event::Block(block, _) = event
                && block.header().leader == self.me
            {
                self.bytes += block.payload().len();
                self.blocks.push(Arc::unwrap_or_clone(block));
            }
        }
    }
}
