//! A reassembly against hostile relays and hostile leaders: any order of shreds, bursts, announcements, certified digests, repairs and passing time.
//!
//! After every step: only whole blocks of the leader come out, memory and requests stay inside their bounds, every shred is counted once, and nobody
//! is accused who did nothing. At the end, where only honest peers spoke, the honest shreds of a view make its block.

use crate::cluster::{Cluster, Signed, VIEWS, cluster};
use crate::reader::Reader;
use samara_rotor::{Event, Incoming, Reassembly, ReassemblyConfig, RelayTable, RepairRequest};
use samara_types::{Digest, Nanos, Offence, Params, SignerBitmap, ValidatorIndex, View};
use std::collections::BTreeSet;

const ME: ValidatorIndex = ValidatorIndex(0);
/// Steps of one input; what follows is not read.
const STEPS_MAX: usize = 200;

/// A byte for the kind of each step, then its choices.
pub fn run(input: &[u8]) {
    let mut reader = Reader::new(input);
    let mut history = History::new();
    for _ in 0..STEPS_MAX {
        if reader.is_empty() {
            break;
        }
        match reader.byte() % 8 {
            0 | 1 => history.shreds(&mut reader, 1),
            2 => {
                let count = reader.below(16) + 1;
                history.shreds(&mut reader, count);
            }
            3 => history.announce(&mut reader),
            4 => history.want(&mut reader),
            5 => history.request(&mut reader),
            6 => history.advance(&mut reader),
            _ => history.now.0 += reader.below(60_000) as u64 * 1_000,
        }
        history.check();
    }
    history.finish();
}

struct History {
    cluster: &'static Cluster,
    node: Reassembly,
    table: RelayTable,
    bytes_max: usize,
    outstanding_max: usize,
    window_views: u64,
    now: Nanos,
    finalized: View,
    current: View,
    delivered: u64,
    announced: u64,
    wanted: bool,
    /// Peers that sent anything they should not have.
    hostile: BTreeSet<ValidatorIndex>,
    /// Blocks of which anything was delivered or asked for, by their place in the cluster.
    seen: BTreeSet<usize>,
    out: BTreeSet<Digest>,
}

impl History {
    fn new() -> History {
        let cluster = cluster();
        let config = ReassemblyConfig::new(ME, Params::default(), cluster.roster.set());
        History {
            cluster,
            node: cluster.node(ME),
            table: cluster.table(),
            bytes_max: config.bytes_max,
            outstanding_max: config.outstanding_max,
            window_views: config.window_views,
            now: Nanos(1),
            finalized: View::GENESIS,
            current: View(1),
            delivered: 0,
            announced: 0,
            wanted: false,
            hostile: BTreeSet::new(),
            seen: BTreeSet::new(),
            out: BTreeSet::new(),
        }
    }

    fn block(&mut self, reader: &mut Reader<'_>) -> &'static Signed {
        let at = reader.below(self.cluster.blocks.len());
        self.seen.insert(at);
        &self.cluster.blocks[at]
    }

    fn shreds(&mut self, reader: &mut Reader<'_>, count: usize) {
        let messages: Vec<(ValidatorIndex, bool, Vec<u8>)> = (0..count).map(|_| self.one_shred(reader)).collect();
        let mut burst: Vec<Incoming<'_>> = messages.iter().map(|(from, repaired, bytes)| Incoming::new(*from, *repaired, bytes)).collect();
        let mut answers = 0;
        self.node.on_shreds(self.now, &self.cluster.roster, &mut burst, |at, _| {
            assert_eq!(at, answers, "answers come in the order of the burst");
            answers += 1;
        });
        assert_eq!(answers, count);
        self.delivered += count as u64;
    }

    fn one_shred(&mut self, reader: &mut Reader<'_>) -> (ValidatorIndex, bool, Vec<u8>) {
        let block = self.block(reader);
        let slice = reader.below(block.shredded.slices.len());
        let index = reader.below(block.total(slice).into()) as u8;
        let honest = self.cluster.sender(&mut self.table, block, slice, index, ME);
        let mode = reader.byte();
        let from = if mode & 3 == 3 { ValidatorIndex(u16::from(mode >> 4) % 6) } else { honest };
        let mut bytes = block.shred(slice, index);
        let patched = mode & 12 == 12 && reader.patch(&mut bytes);
        if from != honest || patched {
            self.hostile.insert(from);
        }
        (from, false, bytes)
    }

    fn announce(&mut self, reader: &mut Reader<'_>) {
        let block = self.block(reader);
        let slice = reader.below(block.shredded.slices.len());
        let mut bytes = block.shredded.slices[slice].announcement();
        let mode = reader.byte();
        let leader = block.shredded.block.header().leader;
        let from = if mode & 3 == 3 { ValidatorIndex(u16::from(mode >> 4) % 6) } else { leader };
        if from != leader || (mode & 12 == 12 && reader.patch(&mut bytes)) {
            self.hostile.insert(from);
        }
        let _ = self.node.on_announce(self.now, &self.cluster.roster, from, &bytes);
        self.announced += 1;
    }

    /// A certificate names a block: one of the leader's, or one that nobody has.
    fn want(&mut self, reader: &mut Reader<'_>) {
        let block = self.block(reader);
        let mode = reader.byte();
        let digest = if mode & 1 == 1 { Digest([mode; 32]) } else { block.shredded.block.digest() };
        let mut holders = SignerBitmap::default();
        for index in 1..6 {
            if mode >> index & 1 == 1 {
                holders.insert(ValidatorIndex(index));
            }
        }
        self.wanted |= self.node.want(self.now, block.view(), digest, holders);
    }

    /// The next request, answered by whom it went to: truly, patched, or by somebody else.
    fn request(&mut self, reader: &mut Reader<'_>) {
        let Some((peer, request)) = self.node.poll_request(self.now) else { return };
        let mode = reader.byte();
        let from = if mode & 3 == 3 { ValidatorIndex(u16::from(mode >> 4) % 6) } else { peer };
        for mut answer in self.answers(&request) {
            let patched = mode & 12 == 12 && reader.patch(&mut answer);
            if patched || from != peer {
                self.hostile.insert(from);
            }
            match request {
                RepairRequest::Manifest(_) => {
                    let _ = self.node.on_manifest(self.now, from, &answer);
                }
                RepairRequest::Shreds(_) => {
                    let _ = self.node.on_shred(self.now, &self.cluster.roster, from, true, &answer);
                    self.delivered += 1;
                }
            }
        }
    }

    /// What somebody answers who has every whole block.
    fn answers(&self, request: &RepairRequest) -> Vec<Vec<u8>> {
        let mut answers = Vec::new();
        for block in self.cluster.blocks.iter().filter(|block| block.whole) {
            let mut holder = self.cluster.node(self.cluster.schedule.leader(View(block.view().0 + 1)));
            if !holder.insert_block(Nanos(1), &block.shredded.block) {
                continue;
            }
            match request {
                RepairRequest::Manifest(bytes) => answers.extend(holder.serve_manifest(bytes)),
                RepairRequest::Shreds(bytes) => holder.serve_shreds(bytes, |shred| answers.push(shred.to_vec())),
            }
        }
        answers
    }

    fn advance(&mut self, reader: &mut Reader<'_>) {
        let mode = reader.byte();
        self.finalized = self.finalized.max(View(u64::from(mode & 3).min(VIEWS)));
        self.current = self.current.max(View(u64::from(mode >> 2 & 7))).max(self.finalized.next());
        self.node.advance(self.finalized, self.current);
    }

    fn check(&mut self) {
        while let Some(event) = self.node.poll_event() {
            self.check_event(event);
        }
        while self.node.poll_relay().is_some() {}
        assert!(self.wanted || self.node.bytes_held() <= self.bytes_max, "{} B held", self.node.bytes_held());
        assert!(self.node.requests_outstanding() <= self.outstanding_max);
        // Evidence against a peer stands with its view, whether anybody made a block of that or not.
        assert!(self.node.views_held() as u64 <= self.current.0 + self.window_views);
        let counted = self.node.counts().shreds_stored + self.node.rejects().iter().sum::<u64>();
        assert!((self.delivered..=self.delivered + self.announced).contains(&counted), "{} delivered, {counted} counted", self.delivered);
    }

    fn check_event(&mut self, event: Event) {
        match event {
            Event::Block(block, _) => {
                let whole = |signed: &&Signed| signed.whole && signed.shredded.block.digest() == block.digest();
                assert!(self.cluster.blocks.iter().any(|signed| whole(&signed)), "a block nobody made");
                self.out.insert(block.digest());
            }
            Event::Equivocation(evidence) | Event::Malformed(evidence) => {
                assert_eq!(evidence.accused, self.cluster.schedule.leader(evidence.view));
                let seen = self.seen_in(evidence.view);
                match evidence.offence {
                    Offence::LeaderEquivocation => assert!(seen.len() > 1, "one block is no equivocation"),
                    // Slices of two whole blocks that the leader signed for one view can make a chain that is no block.
                    _ => assert!(seen.len() > 1 || seen.iter().any(|block| !block.whole), "the one block delivered was whole"),
                }
            }
            Event::Misbehaved(evidence) => assert!(self.hostile.contains(&evidence.accused), "{:?} did nothing", evidence.accused),
        }
    }

    fn seen_in(&self, view: View) -> Vec<&'static Signed> {
        self.seen.iter().map(|at| &self.cluster.blocks[*at]).filter(|block| block.view() == view).collect()
    }

    /// Where only honest peers spoke, every shred from its right sender makes the one block of a live view.
    fn finish(&mut self) {
        if !self.hostile.is_empty() {
            return;
        }
        for view in (self.finalized.0 + 1..=VIEWS).map(View) {
            let seen = self.seen_in(view);
            let [block] = seen.as_slice() else { continue };
            if !block.whole || self.cluster.schedule.leader(view) == ME {
                continue;
            }
            for slice in 0..block.shredded.slices.len() {
                for index in 0..block.total(slice) {
                    let from = self.cluster.sender(&mut self.table, block, slice, index, ME);
                    let _ = self.node.on_shred(self.now, &self.cluster.roster, from, false, &block.shred(slice, index));
                    self.delivered += 1;
                }
            }
            self.check();
            assert!(self.out.contains(&block.shredded.block.digest()), "the block of view {view} did not come together");
        }
    }
}
