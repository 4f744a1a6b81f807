//! The sync stream as an exchange of events: linking and proving are the code of production (`samara_validator::catch_up`), the TCP
//! connection, its handshake, framing and pacing are not simulated.
//!
//! One connection at a time; a peer that does not answer within [`PATIENCE`], or at all, gives way to the next, which continues where the proven
//! chain ends. Production streams; here every 32 blocks cost a round trip more.

use samara_consensus::Tip;
use samara_crypto::Roster;
use samara_storage::{BlockStore, MemoryStore, StoreError, decode_block};
use samara_types::block::genesis_digest;
use samara_types::message::{CertificateKind, encode};
use samara_types::{Height, Nanos, View};
use samara_validator::catch_up::{ProvenBlocks, Run, RunFault};
use std::collections::VecDeque;

/// Longest wait for an answer.
pub const PATIENCE: Nanos = Nanos::from_millis(5_000);
/// How often the fetch looks whether the store has caught up with the machine.
const STORE_WAIT: Nanos = Nanos::from_millis(5);
/// Blocks read from a store at once.
const READ_BLOCKS: usize = 32;
/// A run of about this many blocks is proven by one certificate.
const RUN_BLOCKS: usize = 64;

/// What a server sends: blocks as stored with their L-notarizations, and whether that was its tip.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Blocks in order.
    pub records: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// The server has no more.
    pub end: bool,
}

impl Answer {
    /// What an honest server reads from its store.
    pub fn read(store: &MemoryStore, from: Height) -> Result<Answer, StoreError> {
        let blocks = store.blocks_from(from, READ_BLOCKS)?;
        let end = blocks.len() < READ_BLOCKS;
        let record = |block: samara_storage::StoredBlock| {
            let certificate = store.certificate(block.header().view, CertificateKind::L)?;
            Ok((block.into_bytes(), certificate.map(|certificate| encode(&certificate).to_vec())))
        };
        Ok(Answer { records: blocks.into_iter().map(record).collect::<Result<_, StoreError>>()?, end })
    }

    /// Bytes of all records.
    pub fn bytes(&self) -> usize {
        self.records.iter().map(|(block, certificate)| block.len() + certificate.as_ref().map_or(0, Vec::len)).sum()
    }
}

/// What a fetch does next.
pub enum Step {
    /// Look again after this.
    Wait(Nanos),
    /// Ask this peer for blocks from this height on, and look again after that long.
    Ask(usize, Height, Nanos),
    /// Hand these to the machine and look again at once.
    Deliver(ProvenBlocks),
    /// It is over.
    Done,
}

/// One fetch.
pub struct Fetch {
    above: Height,
    peers: VecDeque<usize>,
    tip: Option<Tip>,
    run: Run,
    /// Records that were received and not looked at, and whether the stream has ended behind them.
    received: VecDeque<(Vec<u8>, Option<Vec<u8>>)>,
    end: bool,
    /// The height wanted next from the peer in front.
    next: Height,
    asked: Option<Nanos>,
    progress: bool,
}

impl Fetch {
    /// Everything above a height, from one of these.
    pub fn new(above: Height, peers: Vec<usize>, me: usize) -> Fetch {
        Fetch {
            above,
            peers: peers.into_iter().filter(|peer| *peer != me).collect(),
            tip: None,
            run: Run::default(),
            received: VecDeque::new(),
            end: false,
            next: above.next(),
            asked: None,
            progress: false,
        }
    }

    /// An answer, or word that there is no connection.
    pub fn answered(&mut self, from: usize, answer: Option<&Answer>) {
        if self.asked.is_none() || self.peers.front() != Some(&from) {
            return;
        }
        self.asked = None;
        match answer {
            Some(answer) => {
                self.received.extend(answer.records.iter().cloned());
                self.next = Height(self.next.0 + answer.records.len() as u64);
                self.end = answer.end || answer.records.is_empty();
            }
            None => self.give_up(),
        }
    }

    /// The next peer continues where the proven chain ends.
    fn give_up(&mut self) {
        self.peers.pop_front();
        self.run = Run::default();
        self.received.clear();
        (self.end, self.asked, self.progress) = (false, None, false);
        self.next = self.tip.map_or(self.above, |tip| tip.height).next();
    }

    /// Goes on as far as it can.
    pub fn step(&mut self, now: Nanos, stored: Height, store: &MemoryStore, roster: &Roster) -> Step {
        if self.tip.is_none() {
            if stored < self.above {
                return Step::Wait(STORE_WAIT);
            }
            self.tip = tip_at(store, self.above, roster);
        }
        if self.asked.is_some_and(|asked| now >= asked.after(PATIENCE)) {
            self.give_up();
        } else if let Some(asked) = self.asked {
            return Step::Wait(PATIENCE.since(Nanos(now.0 - asked.0)).max(Nanos(1)));
        }
        let Some(mut tip) = self.tip else { return Step::Done };
        loop {
            let Some(peer) = self.peers.front().copied() else { return Step::Done };
            match self.take(&mut tip, stored, roster) {
                Ok(Some(step)) => {
                    self.tip = Some(tip);
                    return step;
                }
                Ok(None) if self.end && self.progress => return Step::Done,
                Ok(None) if !self.end => {
                    self.asked = Some(now);
                    return Step::Ask(peer, self.next, PATIENCE);
                }
                Ok(None) | Err(_) => self.give_up(),
            }
        }
    }

    /// Works off what was received. None: nothing is left.
    fn take(&mut self, tip: &mut Tip, stored: Height, roster: &Roster) -> Result<Option<Step>, RunFault> {
        while self.run.certified() < RUN_BLOCKS
            && let Some((block, certificate)) = self.received.pop_front()
        {
            let bytes = block.len();
            self.run.add_block(tip, decode_block(&block).ok_or(RunFault::Malformed)?, bytes)?;
            if let Some(certificate) = certificate {
                self.run.add_certificate(certificate)?;
            }
        }
        let enough = self.run.certified() >= RUN_BLOCKS || (self.end && self.run.certified() > 0);
        if !enough {
            return Ok(None);
        }
        if stored < tip.height {
            return Ok(Some(Step::Wait(STORE_WAIT)));
        }
        let (proven, _) = self.run.prove(roster, tip)?;
        self.progress = true;
        Ok(Some(Step::Deliver(proven)))
    }
}

fn tip_at(store: &MemoryStore, height: Height, roster: &Roster) -> Option<Tip> {
    if height == Height(0) {
        return Some(Tip { view: View::GENESIS, height, digest: genesis_digest(&roster.domain().chain) });
    }
    let block = store.block_at(height).ok().flatten()?;
    Some(Tip { view: block.header().view, height, digest: block.digest() })
}
