//! The validator machine on a capture.

use super::ReplayArgs;
use super::own;
use super::pace::Pace;
use super::past::Past;
use super::report::{Outcome, print};
use super::span::Span;
use super::tape::{Tape, Taped};
use crate::exit::Exit;
use crate::genesis::Genesis;
use crate::run::wire::StageClock;
use samara_crypto::{IdentitySecret, Roster, TransactionVerifier, VoteSecret};
use samara_storage::{BlockStore, FinalizedBlock, MemoryStore, RocksStore};
use samara_types::digest::hex;
use samara_types::transaction::iterate;
use samara_types::{Block, Epoch, Height, LeaderSchedule, MessageKind, Nanos, Received, SigningDomain, ValidatorIndex, View, message};
use samara_validator::restart::{self, History, MempoolLimits, Remembered};
use samara_validator::{Config, Input, Outlet, Output, Stage, Validator};
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Received messages with less than this between them come as one burst, as they come out of a port.
const BURST_GAP_NS: u64 = 20_000;
/// Most messages of a burst.
const BURST_MAX: usize = 64;
/// A deadline that does not move with a tick is looked at again after this.
const TICK: Nanos = Nanos(100_000);
/// Blocks stored at once.
const COMMIT_BLOCKS: usize = 64;
const MEMPOOL: MempoolLimits = MempoolLimits { transactions_max: 100_000, bytes_max: 64 << 20 };

/// `replay --genesis`.
pub fn command(args: &ReplayArgs, genesis: &Path) -> Result<(), Exit> {
    let genesis = Genesis::load(genesis)?;
    let about = Tape::about(&args.file, args.seat)?;
    let bad = |allowed: String| Err(Exit::bad("FILE", args.file.display(), allowed));
    if about.chain != hex(&genesis.chain.0) {
        return bad(format!("a capture of chain {}; this one is of {}", hex(&genesis.chain.0), about.chain));
    }
    if !about.opened {
        return bad("a capture made with --decrypted: sealed datagrams open under no key that is still there (see --to)".into());
    }
    if usize::from(about.seat) >= genesis.set.len() {
        return bad(format!("a capture of one of the {} validators", genesis.set.len()));
    }
    let past = args.from.as_deref().map(|directory| Past::open(directory, genesis.chain)).transpose()?;
    let first_ns = first_ns(args, &genesis, about.seat)?;
    let store = store(args, &genesis)?;
    let disk = Disk { past, store: store.as_ref() };
    let outcome = replay(args, &genesis, ValidatorIndex(about.seat), first_ns, disk)?;
    print(&outcome, args.json)?;
    outcome.check()
}

/// A new store in a directory that is made for it. A directory that is there may be a validator's, whose vote log must not be joined by a
/// chain that it did not vote for.
fn store(args: &ReplayArgs, genesis: &Genesis) -> Result<Box<dyn BlockStore>, Exit> {
    let Some(into) = &args.into else { return Ok(Box::new(MemoryStore::new(genesis.chain))) };
    if std::fs::read_dir(into).is_ok_and(|mut entries| entries.next().is_some()) || into.is_file() {
        return Err(Exit::bad("--into", into.display(), "a directory that is not there yet, or an empty one"));
    }
    let blocks = crate::config::Layout::new(&into.join("data")).blocks;
    crate::keys::make_directory("--into", &blocks)?;
    Ok(Box::new(RocksStore::open(&blocks, genesis.chain).map_err(Exit::failed)?))
}

/// Nothing on disk.
struct Nothing;

impl History for Nothing {
    type Error = Infallible;

    fn tip(&self) -> Result<Option<samara_consensus::Tip>, Infallible> {
        Ok(None)
    }

    fn blocks_from(&self, _: Height, _: usize) -> Result<Vec<Block>, Infallible> {
        Ok(Vec::new())
    }

    fn notarization(&self, _: View) -> Result<Option<message::Certificate>, Infallible> {
        Ok(None)
    }
}

fn replay(args: &ReplayArgs, genesis: &Genesis, me: ValidatorIndex, first_ns: u64, disk: Disk<'_>) -> Result<Outcome, Exit> {
    let domain = SigningDomain { chain: genesis.chain, epoch: Epoch(0) };
    let roster = Roster::new(genesis.set.clone(), domain).map_err(|error| Exit::Usage(format!("--genesis: {error}")))?;
    let roster = Arc::new(roster);
    let seat = Some(me.0);
    let bodies = own::proposed(&mut Tape::open(&args.file, seat)?, genesis, &roster, me)?;
    let mut tape = Tape::open(&args.file, seat)?;
    let mut next = next_received(&mut tape, genesis)?;
    let pace = Pace::begin(args.speed, first_ns);
    let mut player = Player::new(genesis, roster, me, first_ns, bodies, disk);
    while let Some(taped) = next.take() {
        let mut burst = vec![taped];
        next = next_received(&mut tape, genesis)?;
        while burst.len() < BURST_MAX && next.as_ref().is_some_and(|next| next.unix_ns.saturating_sub(last_ns(&burst)) < BURST_GAP_NS) {
            burst.extend(next.take());
            next = next_received(&mut tape, genesis)?;
        }
        pace.wait(last_ns(&burst));
        player.play(&burst)?;
    }
    player.finish(tape, pace)
}

/// Reads the whole file for its times, which costs little beside a replay. Returns the first.
fn first_ns(args: &ReplayArgs, genesis: &Genesis, seat: u16) -> Result<u64, Exit> {
    let bad = |allowed: &str| Exit::bad("FILE", args.file.display(), allowed);
    let (mut tape, mut span) = (Tape::open(&args.file, Some(seat))?, Span::default());
    while let Some(taped) = next_received(&mut tape, genesis)? {
        span.take(taped.unix_ns).map_err(|allowed| bad(&allowed))?;
    }
    span.first_ns().ok_or_else(|| bad("a capture with received messages (--filter or --direction may have left them out)"))
}

fn last_ns(burst: &[Taped]) -> u64 {
    burst.last().map_or(0, |taped| taped.unix_ns)
}

/// The next message from another member of the set.
fn next_received(tape: &mut Tape, genesis: &Genesis) -> Result<Option<Taped>, Exit> {
    while let Some(taped) = tape.message()? {
        if !taped.sent && usize::from(taped.peer) < genesis.set.len() {
            return Ok(Some(taped));
        }
    }
    Ok(None)
}

/// Where blocks come from and go to.
struct Disk<'a> {
    past: Option<Past>,
    store: &'a dyn BlockStore,
}

/// The machine and its surroundings.
struct Player<'a> {
    validator: Validator<()>,
    verifier: TransactionVerifier,
    roster: Arc<Roster>,
    disk: Disk<'a>,
    /// The highest view that a peer voted in so far.
    seen: View,
    /// Where the sync stream begins that the machine asked for. It is answered once a burst, so that one without an answer is asked for again.
    sync_above: Option<Height>,
    first_ns: u64,
    now: Nanos,
    stages: StageClock,
    blocks: Vec<FinalizedBlock>,
    outcome: Outcome,
}

impl<'a> Player<'a> {
    fn new(genesis: &Genesis, roster: Arc<Roster>, me: ValidatorIndex, first_ns: u64, bodies: Vec<Block>, disk: Disk<'a>) -> Player<'a> {
        let schedule = LeaderSchedule::new(&genesis.set, &genesis.seed, Epoch(0));
        let mut outcome = Outcome { seat: me.0, own_blocks: bodies.len() as u64, ..Outcome::default() };
        outcome.first_ns = first_ns;
        let remembered = Remembered { bodies, amnesia: true, ..Remembered::default() };
        let Ok((recovery, app)) = restart::recover(&Nothing, &roster, &genesis.params, MEMPOOL, remembered);
        let config = Config { me, params: genesis.params, beacon: genesis.seed, wall_offset_ns: first_ns };
        let secrets = (VoteSecret::generate(), IdentitySecret::generate());
        let validator = Validator::new(config, Arc::clone(&roster), schedule, secrets, app, recovery, Nanos(0));
        Player {
            validator,
            verifier: TransactionVerifier::new(genesis.chain),
            roster,
            disk,
            seen: View::GENESIS,
            sync_above: None,
            first_ns,
            now: Nanos(0),
            stages: StageClock::new(),
            blocks: Vec::new(),
            outcome,
        }
    }

    /// Runs out the timers before the burst, then gives it to the machine.
    fn play(&mut self, burst: &[Taped]) -> Result<(), Exit> {
        let at = Nanos(last_ns(burst).saturating_sub(self.first_ns)).max(self.now);
        while let Some(due) = self.validator.next_deadline().filter(|due| *due < at) {
            self.now = due.max(self.now.after(TICK)).min(at);
            self.input(Input::Tick)?;
        }
        self.now = at;
        for taped in burst {
            *self.outcome.messages.entry(taped.kind.as_str()).or_default() += 1;
            if taped.kind == MessageKind::Vote
                && let Some(vote) = message::access::<message::ArchivedVote>(&taped.bytes)
            {
                self.seen = self.seen.max(View(vote.view.to_native()));
            }
        }
        let received: Vec<_> =
            burst.iter().map(|taped| Received { from: ValidatorIndex(taped.peer), kind: taped.kind, bytes: &taped.bytes }).collect();
        let began = Instant::now();
        self.input(Input::Burst(&received))?;
        self.input(Input::Tick)?;
        let each_ns = began.elapsed().as_nanos() as u64 / burst.len() as u64;
        self.outcome.message_ns.record_n(each_ns.max(1), burst.len() as u64).expect("the histogram grows by itself");
        self.outcome.last_ns = last_ns(burst);
        self.sync_above.take().map_or(Ok(()), |above| self.sync(above))
    }

    fn input(&mut self, input: Input<'_, ()>) -> Result<(), Exit> {
        self.stages.begin();
        self.validator.handle(self.now, input, &mut Nobody { stages: &mut self.stages, outcome: &mut self.outcome });
        let mut gossip = Vec::new();
        while let Some(output) = self.validator.poll() {
            match output {
                // Never answered: a record that is not durable releases no signature.
                Output::Persist(..) => self.outcome.records += 1,
                Output::Verify(_, payload) => gossip.push(payload),
                Output::Sync(above, _) => self.sync_above = Some(above),
                Output::Finalized(block, certificate) => {
                    self.outcome.finalized(&block);
                    self.blocks.push(FinalizedBlock { block, certificate: certificate.map(|certificate| certificate.to_message()) });
                }
                Output::Evidence(evidence) => *self.outcome.evidence.entry(evidence.offence.as_str()).or_default() += 1,
                Output::Nullified(_) => self.outcome.nullified_views += 1,
                Output::SafetyViolation(view, digest) => {
                    self.outcome.violation.get_or_insert(format!("view {view} finalizes {digest}, which does not extend the chain"));
                }
                Output::Answer(..) | Output::Entered(_) | Output::Milestone(..) => {}
            }
        }
        if self.blocks.len() >= COMMIT_BLOCKS {
            self.commit()?;
        }
        for payload in gossip {
            self.gossip(&payload)?;
        }
        Ok(())
    }

    /// Answers from the past, as far as it was the past at that time.
    fn sync(&mut self, mut above: Height) -> Result<(), Exit> {
        let Some(past) = self.disk.past.take() else {
            self.outcome.syncs_wanted += 1;
            return Ok(());
        };
        loop {
            let run = past.run(&self.roster, above, self.seen)?;
            let Some(last) = run.last().map(|(block, _)| block.header().height) else { break };
            above = last;
            self.outcome.synced_blocks += run.len() as u64;
            self.input(Input::Synced(run, false))?;
        }
        self.disk.past = Some(past);
        self.input(Input::Synced(Vec::new(), true))
    }

    /// Checks the signatures as the service reactor does, and hands the good ones back.
    fn gossip(&mut self, payload: &[u8]) -> Result<(), Exit> {
        let parsed = iterate(payload).map(|parsed| parsed.map(|transaction| transaction.bytes().to_vec())).collect::<Result<Vec<_>, _>>();
        let Ok(transactions) = parsed else { return Ok(()) };
        let good = self.verifier.verify_batch(transactions).into_iter().flatten().collect();
        self.input(Input::Gossip(good))
    }

    fn commit(&mut self) -> Result<(), Exit> {
        self.disk.store.commit(&std::mem::take(&mut self.blocks), &[], &[]).map_err(Exit::failed)
    }

    fn finish(mut self, tape: Tape, pace: Pace) -> Result<Outcome, Exit> {
        self.commit()?;
        self.outcome.wall = pace.elapsed();
        self.outcome.take_counters(&self.validator, &self.stages, tape);
        Ok(self.outcome)
    }
}

/// Where the machine's messages go.
struct Nobody<'a> {
    stages: &'a mut StageClock,
    outcome: &'a mut Outcome,
}

impl Outlet for Nobody<'_> {
    fn send(&mut self, _: ValidatorIndex, kind: MessageKind, _: &[u8]) {
        *self.outcome.unheard.entry(kind.as_str()).or_default() += 1;
    }

    fn broadcast(&mut self, kind: MessageKind, _: &[u8]) {
        *self.outcome.unheard.entry(kind.as_str()).or_default() += 1;
    }

    fn spent(&mut self, stage: Stage) {
        self.stages.spent(stage);
    }
}
