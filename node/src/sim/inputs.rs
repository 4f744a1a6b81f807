//! `--replay FILE` for what a validator left: the last inputs of its machine (`crate::run`, recorder).
//!
//! With `--dir` they are fed to a machine made as the original was, from the genesis and the blocks of that directory and with keys of its own:
//! it decides the same, input by input, and panics where the original did. Without, they are printed.

use super::SimArgs;
use crate::config::NodeConfig;
use crate::exit::Exit;
use crate::genesis::Genesis;
use crate::inspect;
use samara_consensus::Tip;
use samara_crypto::{Keyring, Roster};
use samara_storage::{BlockStore, StoreError};
use samara_types::message::{self, CertificateKind};
use samara_types::{Block, Epoch, Height, LeaderSchedule, MessageKind, SigningDomain, ValidatorIndex, View};
use samara_validator::input_log::{Frame, Recorded, Start, read_frame, read_head};
use samara_validator::playback::{Astray, Playback};
use samara_validator::restart::{self, History, MempoolLimits, Remembered};
use samara_validator::{Config, Outlet, Output, Stage, Validator};
use serde_json::json;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

/// Prints or replays a file whose bytes begin as a log of inputs does.
pub fn command(path: &Path, file: &[u8], args: &SimArgs) -> Result<(), Exit> {
    let bad = |what: &str| Exit::bad("--replay", path.display(), format!("a file a validator wrote ({what})"));
    let (start, at) = read_head(file).ok_or_else(|| bad("its head is damaged"))?;
    let mut rest = &file[at..];
    let frames: Vec<Frame> = std::iter::from_fn(|| read_frame(&mut rest)).collect();
    if !rest.is_empty() {
        return Err(bad(&format!("input {} is damaged or cut off", start.forgotten + frames.len() as u64)));
    }
    match &args.dir {
        None => print(&start, &frames, args.json),
        Some(dir) => replay(&start, frames, dir, args.json),
    }
}

fn print(start: &Start, frames: &[Frame], as_json: bool) -> Result<(), Exit> {
    let line = |(at, frame): (usize, &Frame)| (start.forgotten + at as u64, frame.now.since(start.now).0 as f64 / 1e6, told(&frame.input));
    let lines = frames.iter().enumerate().map(line);
    if as_json {
        let rows: Vec<_> = lines.map(|(number, ms, what)| json!({ "input": number, "ms": ms, "what": what })).collect();
        println!("{}", json!({ "validator": start.me.0, "height": start.height.0, "forgotten": start.forgotten, "inputs": rows }));
        return Ok(());
    }
    println!(
        "validator {} of genesis {}, started at height {} with {} records and {} bodies{}; {} inputs are forgotten, {} follow",
        start.me,
        start.genesis,
        start.height,
        start.records.len(),
        start.bodies.len(),
        if start.amnesia { ", its log lost" } else { "" },
        start.forgotten,
        frames.len()
    );
    lines.for_each(|(number, ms, what)| println!("{number:>9} {ms:>13.3} ms  {what}"));
    Ok(())
}

fn told(input: &Recorded) -> String {
    let message = |(from, kind, bytes): &(ValidatorIndex, MessageKind, Vec<u8>)| format!("{} of {from} ({} B)", kind.as_str(), bytes.len());
    match input {
        Recorded::Messages(messages, false) => messages.iter().map(message).collect::<Vec<_>>().join(", "),
        Recorded::Messages(messages, true) => {
            format!("burst of {}: {}", messages.len(), messages.iter().map(message).collect::<Vec<_>>().join(", "))
        }
        Recorded::Persisted(records) => format!("{records} records durable"),
        Recorded::Submit(raw) => format!("transaction of a client ({} B)", raw.len()),
        Recorded::Gossip(raw) => format!("{} transactions of peers", raw.len()),
        Recorded::Synced(run, done) => format!("{} synced blocks{}", run.len(), if *done { ", the last ones" } else { "" }),
        Recorded::Tick => "tick".to_string(),
    }
}

/// How a replay ended.
enum End {
    Through,
    Astray(Astray),
    Panic(String),
}

#[derive(Default)]
struct Seen {
    records: u64,
    blocks: u64,
    view: View,
    height: Height,
    evidence: u64,
}

fn replay(start: &Start, frames: Vec<Frame>, dir: &Path, as_json: bool) -> Result<(), Exit> {
    if start.forgotten > 0 {
        let text = format!(
            "its first {} inputs are forgotten: it can be printed, not run (a larger node.input_ring_bytes keeps more)",
            start.forgotten
        );
        return Err(Exit::Failed(text));
    }
    let mut playback = machine(start, dir)?;
    let inputs = frames.len();
    let (mut seen, mut fed, mut end) = (Seen::default(), 0, End::Through);
    for frame in frames {
        match catch_unwind(AssertUnwindSafe(|| playback.step(frame, &mut Nowhere, |output| seen.note(&output)))) {
            Ok(Ok(())) => fed += 1,
            Ok(Err(astray)) => end = End::Astray(astray),
            Err(panic) => end = End::Panic(samara_sim::runner::panic_text(&*panic)),
        }
        if !matches!(end, End::Through) {
            break;
        }
    }
    let (verdict, failed) = match end {
        End::Through => (format!("{inputs} inputs, the same decisions throughout"), false),
        End::Astray(astray) => (format!("input {fed} of {inputs}: {astray}"), true),
        End::Panic(text) => (format!("input {fed} of {inputs}: panic: {text}"), true),
    };
    if as_json {
        let document = json!({
            "validator": start.me.0, "inputs": inputs, "fed": fed, "records": seen.records, "final_blocks": seen.blocks,
            "height": seen.height.0, "view": seen.view.0, "evidence": seen.evidence, "end": verdict,
        });
        println!("{document}");
    } else {
        println!(
            "validator {} from height {}: {} records, {} final blocks up to height {}, view {}, {} times evidence",
            start.me, start.height, seen.records, seen.blocks, seen.height, seen.view, seen.evidence
        );
        println!("{verdict}");
    }
    if failed { Err(Exit::failed(verdict)) } else { Ok(()) }
}

impl Seen {
    fn note(&mut self, output: &Output<u64>) {
        match output {
            Output::Persist(..) => self.records += 1,
            Output::Finalized(block, _) => (self.blocks, self.height) = (self.blocks + 1, block.header().height),
            Output::Entered(view) => self.view = *view,
            Output::Evidence(_) => self.evidence += 1,
            _ => {}
        }
    }
}

/// A machine as the recorded one was made.
fn machine(start: &Start, dir: &Path) -> Result<Playback, Exit> {
    let config = NodeConfig::load(&dir.join(crate::config::CONFIG_FILE))?;
    let genesis = Genesis::load(&config.genesis)?;
    if genesis.fingerprint() != start.genesis {
        return Err(Exit::bad("--dir", dir.display(), format!("the directory of a validator of genesis {}", start.genesis)));
    }
    let domain = SigningDomain { chain: genesis.chain, epoch: Epoch(0) };
    let roster =
        Roster::new(genesis.set.clone(), domain).map_err(|error| Exit::failed(format!("{}: {error}", config.genesis.display())))?;
    let store = if start.height > Height(0) { Some(inspect::open_store(dir)?) } else { None };
    let history = Until { store: store.as_ref().map(|store| store as &dyn BlockStore), height: start.height };
    let mempool = MempoolLimits { transactions_max: start.mempool.0 as usize, bytes_max: start.mempool.1 as usize };
    let (records, bodies) = (start.records.clone(), start.bodies.clone());
    let remembered = Remembered { records, bodies, amnesia: start.amnesia, ..Remembered::default() };
    let (recovery, app) = restart::recover(&history, &roster, &genesis.params, mempool, remembered).map_err(Exit::failed)?;
    let schedule = LeaderSchedule::new(&genesis.set, &genesis.seed, Epoch(0));
    let config = Config { me: start.me, params: genesis.params, beacon: genesis.seed, wall_offset_ns: start.wall_offset_ns };
    let (roster, keys) = (Arc::new(roster), Keyring::generate());
    let validator = Validator::new(config, Arc::clone(&roster), schedule, (keys.vote, keys.identity), app, recovery, start.now);
    Ok(Playback::new(validator, roster))
}

/// A block store as it was at a height.
struct Until<'a> {
    store: Option<&'a dyn BlockStore>,
    height: Height,
}

impl History for Until<'_> {
    type Error = StoreError;

    fn tip(&self) -> Result<Option<Tip>, StoreError> {
        let Some(store) = self.store else { return Ok(None) };
        let block = store.blocks_from(self.height, 1)?.first().and_then(|stored| stored.to_block());
        let block = block.ok_or(StoreError::Corrupt { table: "heights" })?;
        Ok(Some(Tip { view: block.header().view, height: self.height, digest: block.digest() }))
    }

    fn blocks_from(&self, from: Height, blocks_max: usize) -> Result<Vec<Block>, StoreError> {
        let Some(store) = self.store else { return Ok(Vec::new()) };
        let stored = store.blocks_from(from, blocks_max.min((self.height.0 + 1).saturating_sub(from.0) as usize))?;
        stored.iter().map(|stored| stored.to_block().ok_or(StoreError::Corrupt { table: "blocks" })).collect()
    }

    fn notarization(&self, view: View) -> Result<Option<message::Certificate>, StoreError> {
        self.store.map_or(Ok(None), |store| store.certificate(view, CertificateKind::L))
    }
}

/// What the machine sends goes nowhere: its peers' answers are in the file.
struct Nowhere;

impl Outlet for Nowhere {
    fn send(&mut self, _: ValidatorIndex, _: MessageKind, _: &[u8]) {}

    fn broadcast(&mut self, _: MessageKind, _: &[u8]) {}

    fn spent(&mut self, _: Stage) {}
}
