//! Inputs of a running machine as bytes, and back: what a recorder keeps of production, and what is fed to another machine to see the same again.
//!
//! ```text
//! file    = MAGIC, length u32, Start, frames            integers little-endian
//! frame   = length u32, input
//! input   = now u64, decisions u32, tag u8, body
//! ```
//! The machine is a function of what it starts from and of its inputs with their times, so that a log from the start on is the run. Nothing
//! secret is in it: keys are not inputs. `decisions` is a running sum over what the machine has decided before the input (records, final
//! blocks, views entered): a replay compares it and knows at which input it left the path of the original.
//!
//! [`InputLog`] leaves out a tick that the machine has not asked for and that nothing came before: a reactor ticks with every pass, also when
//! it spins. A log is a file from a disk: reading it ends in a whole value or in None, and allocates no more than the bytes it reads.

use crate::machine::{Input, Output};
use samara_types::message::encode;
use samara_types::{BLOCK_HEADER_BYTES, Block, BlockHeader, Digest, Height, MessageKind, Nanos, Record, ValidatorIndex, View};

/// First bytes of a file.
pub const MAGIC: [u8; 8] = *b"SAMINP01";

/// What a machine was made from, besides genesis, keys and the chain on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Fingerprint of the genesis.
    pub genesis: Digest,
    /// The seat.
    pub me: ValidatorIndex,
    /// Nanoseconds since 1970 at `Nanos(0)`.
    pub wall_offset_ns: u64,
    /// When the machine was made.
    pub now: Nanos,
    /// Most transactions and bytes of the mempool.
    pub mempool: (u64, u64),
    /// The tip on disk.
    pub height: Height,
    /// The log was lost.
    pub amnesia: bool,
    /// The vote log.
    pub records: Vec<Record>,
    /// The body journal.
    pub bodies: Vec<Block>,
    /// Inputs that are missing at the beginning of this log.
    pub forgotten: u64,
}

/// An input, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Messages; `true` if they came as one burst.
    Messages(Vec<(ValidatorIndex, MessageKind, Vec<u8>)>, bool),
    /// So many records are durable.
    Persisted(u64),
    /// A client's transaction, as submitted.
    Submit(Vec<u8>),
    /// Transactions of peers.
    Gossip(Vec<Vec<u8>>),
    /// Blocks of a sync stream, and whether it is over.
    Synced(Vec<(Block, Option<Vec<u8>>)>, bool),
    /// Time passed.
    Tick,
}

/// A frame, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// When.
    pub now: Nanos,
    /// Sum over the decisions before it.
    pub decisions: u32,
    /// What.
    pub input: Recorded,
}

/// Writes frames: keeps the running sum, and leaves out ticks that change nothing.
#[derive(Debug, Default)]
pub struct InputLog {
    decisions: Decisions,
    /// Something came in since the last tick.
    woken: bool,
    scratch: Vec<u8>,
}

impl InputLog {
    /// The frame of an input that is about to be handled, without its length; `deadline` is what the machine asks for. None if it changes nothing.
    pub fn frame<T>(&mut self, now: Nanos, input: &Input<'_, T>, deadline: impl FnOnce() -> Option<Nanos>) -> Option<&[u8]> {
        let is_tick = matches!(input, Input::Tick);
        if is_tick && !self.woken && deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        self.woken = !is_tick;
        self.scratch.clear();
        put_u64(&mut self.scratch, now.0);
        put_u32(&mut self.scratch, self.decisions.sum());
        put_input(&mut self.scratch, input);
        Some(&self.scratch)
    }

    /// Counts an output towards the sum.
    pub fn note<T>(&mut self, output: &Output<T>) {
        self.decisions.note(output);
    }
}

/// Running sum over what a machine decides: FNV-1a.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decisions(u64);

impl Default for Decisions {
    fn default() -> Decisions {
        Decisions(0xcbf2_9ce4_8422_2325)
    }
}

impl Decisions {
    /// Counts records, final blocks and views; everything else follows from them or is advice.
    pub fn note<T>(&mut self, output: &Output<T>) {
        match output {
            Output::Persist(record, body) => {
                self.add(1 + u64::from(body.is_some()));
                self.add(record.kind().len() as u64);
                self.add(record.view().0);
                self.add_digest(&record.digest());
            }
            Output::Finalized(block, _) => self.add_digest(&block.digest()),
            Output::Entered(view) => self.add(view.0),
            _ => {}
        }
    }

    /// The sum so far.
    pub fn sum(&self) -> u32 {
        (self.0 >> 32) as u32 ^ self.0 as u32
    }

    fn add(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x0100_0000_01b3);
        self.0 ^= self.0 >> 29;
    }

    fn add_digest(&mut self, digest: &Digest) {
        digest.0.as_chunks::<8>().0.iter().for_each(|part| self.add(u64::from_le_bytes(*part)));
    }
}

/// The beginning of a file.
pub fn file_head(start: &Start) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let mut body = Vec::new();
    body.extend_from_slice(&start.genesis.0);
    put_u16(&mut body, start.me.0);
    for value in [start.wall_offset_ns, start.now.0, start.mempool.0, start.mempool.1, start.height.0, start.forgotten] {
        put_u64(&mut body, value);
    }
    body.push(u8::from(start.amnesia));
    put_u32(&mut body, start.records.len() as u32);
    for record in &start.records {
        body.push(match record {
            Record::Vote(..) => 0,
            Record::Nullify(_) => 1,
            Record::Proposal(..) => 2,
        });
        put_u64(&mut body, record.view().0);
        body.extend_from_slice(&record.digest().0);
    }
    put_u32(&mut body, start.bodies.len() as u32);
    start.bodies.iter().for_each(|block| put_block(&mut body, block));
    put_bytes(&mut out, &body);
    out
}

/// Reads a file: what the machine started from, and where its frames begin. None for anything else.
pub fn read_head(file: &[u8]) -> Option<(Start, usize)> {
    let mut reader = Reader(file.strip_prefix(&MAGIC)?);
    let before = reader.0.len();
    let mut body = Reader(reader.bytes()?);
    let genesis = body.digest()?;
    let me = ValidatorIndex(body.u16()?);
    let [wall_offset_ns, now, transactions, bytes, height, forgotten] =
        [body.u64()?, body.u64()?, body.u64()?, body.u64()?, body.u64()?, body.u64()?];
    let amnesia = body.flag()?;
    let records = body.list(Reader::record)?;
    let bodies = body.list(Reader::block)?;
    let start = Start {
        genesis,
        me,
        wall_offset_ns,
        now: Nanos(now),
        mempool: (transactions, bytes),
        height: Height(height),
        amnesia,
        records,
        bodies,
        forgotten,
    };
    body.0.is_empty().then_some((start, MAGIC.len() + before - reader.0.len()))
}

/// Reads the next frame; None if the rest is no whole frame.
pub fn read_frame(rest: &mut &[u8]) -> Option<Frame> {
    let mut reader = Reader(rest);
    let mut frame = Reader(reader.bytes()?);
    let read = Frame { now: Nanos(frame.u64()?), decisions: frame.u32()?, input: frame.input()? };
    *rest = reader.0;
    frame.0.is_empty().then_some(read)
}

fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, bytes.len() as u32);
    out.extend_from_slice(bytes);
}

fn put_block(out: &mut Vec<u8>, block: &Block) {
    out.extend_from_slice(&block.header().to_bytes());
    put_u32(out, block.roots().len() as u32);
    block.roots().iter().for_each(|root| out.extend_from_slice(&root.0));
    put_bytes(out, block.payload());
}

fn put_message(out: &mut Vec<u8>, from: ValidatorIndex, kind: MessageKind, bytes: &[u8]) {
    put_u16(out, from.0);
    out.push(kind as u8);
    put_bytes(out, bytes);
}

fn put_input<T>(out: &mut Vec<u8>, input: &Input<'_, T>) {
    match input {
        Input::Message(from, kind, bytes) => {
            out.push(0);
            put_u32(out, 1);
            put_message(out, *from, *kind, bytes);
        }
        Input::Burst(burst) => {
            out.push(1);
            put_u32(out, burst.len() as u32);
            burst.iter().for_each(|message| put_message(out, message.from, message.kind, message.bytes));
        }
        Input::Persisted(records) => {
            out.push(2);
            put_u64(out, *records);
        }
        Input::Submit(_, transaction) => {
            out.push(3);
            put_bytes(out, transaction.bytes());
        }
        Input::Gossip(transactions) => {
            out.push(4);
            put_u32(out, transactions.len() as u32);
            transactions.iter().for_each(|transaction| put_bytes(out, transaction.bytes()));
        }
        Input::Synced(run, done) => {
            out.push(5);
            out.push(u8::from(*done));
            put_u32(out, run.len() as u32);
            for (block, certificate) in run {
                put_block(out, block);
                let certificate = certificate.as_ref().map(|certificate| encode(&certificate.to_message()));
                put_bytes(out, certificate.as_deref().unwrap_or(&[]));
            }
        }
        Input::Tick => out.push(6),
    }
}

/// Takes values from the front; every one may be missing.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn digest(&mut self) -> Option<Digest> {
        self.array().map(Digest)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let count = self.u32()?;
        self.take(count as usize)
    }

    /// The count is not believed: the list grows as its items are read.
    fn list<T>(&mut self, item: impl Fn(&mut Reader<'a>) -> Option<T>) -> Option<Vec<T>> {
        let count = self.u32()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Some(items)
    }

    fn record(&mut self) -> Option<Record> {
        let (kind, view, digest) = (self.byte()?, View(self.u64()?), self.digest()?);
        match kind {
            0 => Some(Record::Vote(view, digest)),
            1 => Some(Record::Nullify(view)),
            2 => Some(Record::Proposal(view, digest)),
            _ => None,
        }
    }

    fn block(&mut self) -> Option<Block> {
        let header = BlockHeader::from_bytes(&self.array::<BLOCK_HEADER_BYTES>()?)?;
        let roots = self.list(Reader::digest)?;
        Block::new(header, roots, self.bytes()?.to_vec())
    }

    fn message(&mut self) -> Option<(ValidatorIndex, MessageKind, Vec<u8>)> {
        let from = ValidatorIndex(self.u16()?);
        Some((from, MessageKind::from_byte(self.byte()?)?, self.bytes()?.to_vec()))
    }

    fn input(&mut self) -> Option<Recorded> {
        Some(match self.byte()? {
            tag @ (0 | 1) => Recorded::Messages(self.list(Reader::message)?, tag == 1),
            2 => Recorded::Persisted(self.u64()?),
            3 => Recorded::Submit(self.bytes()?.to_vec()),
            4 => Recorded::Gossip(self.list(|reader| reader.bytes().map(<[u8]>::to_vec))?),
            5 => {
                let done = self.flag()?;
                let with_certificate = |reader: &mut Reader<'a>| {
                    let block = reader.block()?;
                    let certificate = reader.bytes()?;
                    Some((block, (!certificate.is_empty()).then(|| certificate.to_vec())))
                };
                Recorded::Synced(self.list(with_certificate)?, done)
            }
            6 => Recorded::Tick,
            _ => return None,
        })
    }
}
