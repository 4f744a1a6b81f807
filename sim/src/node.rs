//! One honest validator: the machine of production, wired to a simulated disk and clock as `node::run::core` wires it to real ones.
//!
//! ```text
//! Deliver ─> ring ─────────────┐                             ┌─> LogDone, BodyDone (the disk's latency later) ─> Pass
//! Submit, Verified, Sync ──────┼─> Pass: burst, tick, Durable::poll, Persisted, Durable::submit, store commit ─> StoreDone ─> Acknowledged
//! Wake (next_deadline) ────────┘
//! ```
//! What arrives before a pass waits in the ring and is handed over as bursts of at most 64, as in the reactor; a plan may have each message handed over as
//! it comes instead, which no result may depend on. Nothing here decides anything: order of calls, what waits for what, and what a crash
//! forgets are the wiring's.

use crate::catch_up::Fetch;
use crate::clock::Clock;
use crate::dice::Dice;
use crate::disk::{Disk, DiskSpeed, StoredHistory};
use crate::kit::{Cluster, Kit};
use crate::trace::{Finalized, Held, Stop, Target, What};
use samara_consensus::MempoolReject;
use samara_crypto::VerifiedTransaction;
use samara_storage::{BlockStore, Durable, FinalizedBlock, LogError, MemoryBodyLog, MemoryVoteLog, StoreError};
use samara_types::transaction::iterate;
use samara_types::{ChainId, Evidence, Height, MessageKind, Nanos, Params, Received, ShredHeader, TransactionId, ValidatorIndex, View};
use samara_validator::restart::{self, MempoolLimits};
use samara_validator::{Config, Input, Outlet, Output, Stage, Validator};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// As the node's defaults, smaller so that overflow happens in short runs.
pub const MEMPOOL: MempoolLimits = MempoolLimits { transactions_max: 2_000, bytes_max: 1 << 20 };
/// How long gossip waits for more of it, as in the reactor.
const GOSSIP_WAIT: Nanos = Nanos::from_millis(4);
/// Messages handed over together at most, as by the reactor.
const BURST_MAX: usize = 64;
/// Messages that wait for a pass at most: the receive ring's frames.
const RING_MAX: usize = 2_048;

/// Where in the way of a record to the disk a process can be made to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PersistPoint {
    /// The machine asked for the record; nothing is written.
    Asked,
    /// A write of the journal was started.
    BodySubmitted,
    /// A write of the journal is done; nobody was told.
    BodyWritten,
    /// A write of the log was started.
    LogSubmitted,
    /// A write of the log is done; nobody was told.
    LogWritten,
    /// The machine was told and has sent.
    Told,
    /// A block is final and not stored.
    Final,
    /// Blocks are stored; nobody was told.
    Stored,
}

impl PersistPoint {
    /// All points in order.
    pub const ALL: [PersistPoint; 8] =
        [Self::Asked, Self::BodySubmitted, Self::BodyWritten, Self::LogSubmitted, Self::LogWritten, Self::Told, Self::Final, Self::Stored];
}

/// Something that happens to a node later, in its own process only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// The end of a burst.
    Pass,
    /// The machine's deadline.
    Wake,
    /// The vote log's write is done.
    LogDone,
    /// The journal's write is done.
    BodyDone,
    /// The store's write is done.
    StoreDone,
    /// Gossip has waited enough and is verified.
    Verified,
    /// The fetch looks again.
    Fetch,
}

/// What a node wants from the world.
#[derive(Debug)]
pub enum Effect {
    /// To be observed.
    Saw(What),
    /// A message leaves.
    Send(Target, MessageKind, Arc<[u8]>),
    /// Call back at this world time.
    Later(Nanos, Task),
    /// Ask a peer's store for blocks from a height on.
    Fetch(ValidatorIndex, Height),
}

/// What stays the same over all incarnations.
pub struct Frame {
    /// Its seat.
    pub me: usize,
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// The chain's parameters.
    pub params: Params,
    /// What it holds of transactions that wait.
    pub mempool: MempoolLimits,
    /// Its disk's speed.
    pub speed: DiskSpeed,
    /// From a message to the end of its burst.
    pub burst: Nanos,
    /// Its clock's rate.
    pub drift_ppm: i64,
    /// Seats whose words are observed as they are heard.
    pub hostile: Vec<usize>,
    /// Messages wait for the end of their burst and are handed over together.
    pub bursts: bool,
    /// Its wall clock is off by up to this when a process starts, drawn anew for each: it may step back between two of them.
    pub wall_skew_max_ns: u64,
}

/// An honest validator, running or not.
pub struct Node {
    frame: Frame,
    /// Its data directory; log and journal are inside the process while it runs.
    pub disk: Disk,
    process: Option<Process>,
    incarnation: u32,
    dice: Dice,
    /// Die after so many more visits of this point.
    pub die_at: Option<(PersistPoint, u32)>,
}

struct Process {
    validator: Validator<u64>,
    durable: Durable<MemoryVoteLog, MemoryBodyLog>,
    clock: Clock,
    log_busy: bool,
    body_busy: bool,
    pass_at: Option<Nanos>,
    wake_at: Option<Nanos>,
    paused_until: Nanos,
    /// Arrived, not handed over.
    ring: Vec<(usize, MessageKind, Arc<[u8]>)>,
    /// Final, not handed to the store.
    pile: Vec<FinalizedBlock>,
    evidence: Vec<Evidence>,
    /// In the store's write.
    committing: Option<(Vec<FinalizedBlock>, Vec<Evidence>)>,
    stored: Height,
    gossip: Vec<Vec<u8>>,
    gossip_at: Option<Nanos>,
    /// Clients of this process that wait, by transaction.
    clients: BTreeMap<TransactionId, u64>,
    offered: BTreeMap<u64, TransactionId>,
    fetch: Option<Fetch>,
    fetch_at: Option<Nanos>,
    failed: Option<Stop>,
}

/// Turns what the machine sends into effects.
struct Post<'a>(&'a mut VecDeque<Effect>);

impl Outlet for Post<'_> {
    fn send(&mut self, to: ValidatorIndex, kind: MessageKind, message: &[u8]) {
        self.0.push_back(Effect::Send(Target::One(to), kind, message.into()));
    }

    fn broadcast(&mut self, kind: MessageKind, message: &[u8]) {
        self.0.push_back(Effect::Send(Target::All, kind, message.into()));
    }

    fn spent(&mut self, _: Stage) {}
}

/// Where a call's effects go, and what it may use.
pub struct Scene<'a> {
    /// World time.
    pub now: Nanos,
    /// In order.
    pub effects: &'a mut VecDeque<Effect>,
    /// Shared by the thread's runs.
    pub kit: &'a mut Kit,
}

impl Node {
    /// A node with a fresh data directory, not started.
    pub fn new(frame: Frame, dice: Dice) -> Node {
        let disk = Disk::new(frame.cluster.chain());
        Node { frame, disk, process: None, incarnation: 0, dice, die_at: None }
    }

    /// Whether a process runs.
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// How often it was started.
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// Its frame.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Its frame, for a change of speeds.
    pub fn frame_mut(&mut self) -> &mut Frame {
        &mut self.frame
    }

    /// The machine, while it runs.
    pub fn validator(&self) -> Option<&Validator<u64>> {
        self.process.as_ref().map(|process| &process.validator)
    }

    /// Starts a process over what the disk holds.
    pub fn start(&mut self, scene: &mut Scene<'_>) {
        assert!(self.process.is_none(), "a data directory has one user");
        self.incarnation += 1;
        let opened = self.disk.open();
        let (cluster, params) = (Arc::clone(&self.frame.cluster), self.frame.params);
        let history = StoredHistory(&self.disk.store);
        let (recovery, app) = restart::recover(&history, &cluster.roster, &params, self.frame.mempool, opened.remembered)
            .expect("what was stored is well-formed");
        let (height, amnesia) = (recovery.tip.height, recovery.amnesia);
        let keys = &cluster.keys[self.frame.me];
        let config = Config {
            me: ValidatorIndex(self.frame.me as u16),
            params,
            beacon: cluster.beacon,
            wall_offset_ns: scene.now.0 + self.dice.below(self.frame.wall_skew_max_ns + 1),
        };
        let secrets = (keys.vote.clone(), keys.identity.clone());
        let validator = Validator::new(config, Arc::clone(&cluster.roster), cluster.schedule.clone(), secrets, app, recovery, Nanos(0));
        self.process = Some(Process {
            validator,
            durable: Durable::new(opened.log, opened.bodies),
            clock: Clock::new(scene.now, self.frame.drift_ppm),
            log_busy: false,
            body_busy: false,
            pass_at: None,
            wake_at: None,
            paused_until: Nanos(0),
            ring: Vec::new(),
            pile: Vec::new(),
            evidence: Vec::new(),
            committing: None,
            stored: height,
            gossip: Vec::new(),
            gossip_at: None,
            clients: BTreeMap::new(),
            offered: BTreeMap::new(),
            fetch: None,
            fetch_at: None,
            failed: None,
        });
        scene.effects.push_back(Effect::Saw(What::Started { height, amnesia }));
        self.with(scene, |run| {
            run.drain();
            run.pass();
        });
    }

    /// The process dies. What of its writes survives is chance; a write of the store that was under way happened or did not.
    pub fn stop(&mut self, why: Stop, scene: &mut Scene<'_>) {
        let Some(process) = self.process.take() else { return };
        if let Some((blocks, evidence)) = process.committing
            && process.failed.is_none()
            && self.dice.percent(50)
        {
            // A commit that nobody heard of; a conflict in it is the alarm it would have been.
            if let Err(error) = self.disk.store.commit(&blocks, &[], &evidence) {
                scene.effects.push_back(Effect::Saw(What::Alarm(error.to_string())));
            }
        }
        let (log, bodies) = process.durable.into_parts();
        let (bodies, records) = self.disk.close(log, bodies, &mut self.dice);
        let bodies = bodies.into_iter().map(|block| What::BodyDurable(Arc::new(block)));
        let saw = bodies.chain(records.into_iter().map(What::Durable)).chain([What::Stopped(why)]);
        scene.effects.extend(saw.map(Effect::Saw));
        self.die_at = None;
    }

    /// Whether the receive ring has room for one more.
    pub fn has_room(&self) -> bool {
        self.process.as_ref().is_none_or(|process| process.ring.len() < RING_MAX)
    }

    /// A message from a peer's session.
    pub fn deliver(&mut self, from: usize, kind: MessageKind, bytes: &Arc<[u8]>, scene: &mut Scene<'_>) {
        self.with(scene, |run| {
            run.process.ring.push((from, kind, Arc::clone(bytes)));
            if !run.frame.bursts && !run.is_paused() {
                run.hear();
            }
            run.soon();
        });
    }

    /// A client's transaction, `ticket` is the client.
    pub fn submit(&mut self, ticket: u64, transaction: VerifiedTransaction, scene: &mut Scene<'_>) {
        self.with(scene, |run| {
            if run.is_paused() {
                return;
            }
            let id = transaction.id();
            run.process.offered.insert(ticket, id);
            run.saw(What::Offered(id));
            run.input(Input::Submit(ticket, transaction));
            run.soon();
        });
    }

    /// A task that was due.
    pub fn run(&mut self, task: &Task, scene: &mut Scene<'_>) {
        self.with(scene, |run| if run.is_paused() { run.put_off(task) } else { run.task(task) });
    }

    /// A peer's answer to a fetch: records and whether its tip is reached; None if there is no connection.
    pub fn fetched(&mut self, from: usize, answer: Option<&crate::catch_up::Answer>, scene: &mut Scene<'_>) {
        self.with(scene, |run| {
            if let Some(fetch) = &mut run.process.fetch {
                fetch.answered(from, answer);
                run.fetch();
            }
        });
    }

    /// The clock jumps ahead.
    pub fn jump(&mut self, by: Nanos, scene: &mut Scene<'_>) {
        self.with(scene, |run| {
            run.process.clock.jump(run.scene.now, by);
            run.soon();
        });
    }

    /// The process stands still until then: what arrives waits in its ring, what it would do waits for it.
    pub fn pause(&mut self, until: Nanos) {
        if let Some(process) = &mut self.process {
            process.paused_until = process.paused_until.max(until);
        }
    }

    /// When its process goes on, if it stands still.
    pub fn paused_until(&self) -> Nanos {
        self.process.as_ref().map_or(Nanos(0), |process| process.paused_until)
    }

    /// The next write of log, journal or store fails.
    pub fn fail_next_write(&mut self, which: u64) {
        let Some(process) = &mut self.process else { return };
        let (log, bodies) = process.durable.parts();
        match which % 3 {
            0 => log.fail_after(0),
            1 => bodies.fail_after(0),
            _ => self.disk.store.fail_after(0, which.is_multiple_of(2)),
        }
    }

    /// What it holds in memory.
    pub fn held(&self) -> Option<Held> {
        let validator = self.validator()?;
        let (consensus, reassembly) = (validator.consensus(), validator.reassembly());
        Some(Held {
            reassembly_bytes: reassembly.bytes_held() as u64,
            reassembly_views: reassembly.views_held() as u64,
            mempool_transactions: consensus.app().mempool().len() as u64,
            mempool_bytes: consensus.app().mempool().bytes() as u64,
            open_views: consensus.open_views() as u64,
        })
    }

    fn with(&mut self, scene: &mut Scene<'_>, act: impl FnOnce(&mut Run<'_, '_>)) {
        let Some(process) = &mut self.process else { return };
        let frame = &self.frame;
        let (disk, dice, die_at) = (&mut self.disk, &mut self.dice, &mut self.die_at);
        let mut run = Run { process, frame, disk, dice, die_at, scene, died: false };
        act(&mut run);
        if let Some(stop) = process.failed {
            self.stop(stop, scene);
        }
    }
}

/// One call into a running process.
struct Run<'a, 'b> {
    process: &'a mut Process,
    frame: &'a Frame,
    disk: &'a mut Disk,
    dice: &'a mut Dice,
    die_at: &'a mut Option<(PersistPoint, u32)>,
    scene: &'a mut Scene<'b>,
    died: bool,
}

impl Run<'_, '_> {
    fn saw(&mut self, what: What) {
        self.scene.effects.push_back(Effect::Saw(what));
    }

    fn local(&self) -> Nanos {
        self.process.clock.local(self.scene.now)
    }

    fn later(&mut self, span: Nanos, task: Task) -> Nanos {
        let at = self.scene.now.after(span);
        self.scene.effects.push_back(Effect::Later(at, task));
        at
    }

    fn is_paused(&self) -> bool {
        self.scene.now < self.process.paused_until
    }

    /// The task is due at the end of the pause.
    fn put_off(&mut self, task: &Task) {
        let (now, until) = (self.scene.now, self.process.paused_until);
        let times = [&mut self.process.pass_at, &mut self.process.wake_at, &mut self.process.gossip_at, &mut self.process.fetch_at];
        for (at, of) in times.into_iter().zip([Task::Pass, Task::Wake, Task::Verified, Task::Fetch]) {
            if of == *task && *at == Some(now) {
                *at = Some(until);
            }
        }
        self.scene.effects.push_back(Effect::Later(until, task.clone()));
    }

    /// The end of this burst.
    fn soon(&mut self) {
        if self.process.pass_at.is_none() {
            self.process.pass_at = Some(self.later(self.frame.burst, Task::Pass));
        }
    }

    fn die_if_due(&mut self, point: PersistPoint) {
        if let Some((at, left)) = self.die_at
            && *at == point
        {
            if *left == 0 {
                *self.die_at = None;
                self.died = true;
                self.process.failed.get_or_insert(Stop::Killed);
            } else {
                *left -= 1;
            }
        }
    }

    fn input(&mut self, input: Input<'_, u64>) {
        if self.process.failed.is_some() {
            return;
        }
        let now = self.local();
        self.process.validator.handle(now, input, &mut Post(self.scene.effects));
        self.drain();
    }

    fn drain(&mut self) {
        let now = self.local();
        while let Some(output) = self.process.validator.poll() {
            match output {
                Output::Persist(record, body) => {
                    self.saw(What::Persist(record, body.is_some()));
                    self.process.durable.append(now, record, body);
                    self.die_if_due(PersistPoint::Asked);
                }
                Output::Answer(ticket, taken) => self.answer(ticket, taken),
                Output::Verify(_, payload) => {
                    self.process.gossip.push(payload);
                    if self.process.gossip_at.is_none() {
                        self.process.gossip_at = Some(self.later(GOSSIP_WAIT, Task::Verified));
                    }
                }
                Output::Sync(above, peers) => {
                    if self.process.fetch.is_none() {
                        self.process.fetch = Some(Fetch::new(above, peers.iter().map(|peer| peer.at()).collect(), self.frame.me));
                        self.process.fetch_at = Some(self.later(Nanos(0), Task::Fetch));
                    }
                }
                Output::Finalized(block, certificate) => {
                    let certificate = certificate.map(|certificate| certificate.to_message());
                    let transactions = transaction_ids(&self.frame.cluster.chain(), block.payload());
                    let (header, digest) = (*block.header(), block.digest());
                    let finalized = Finalized { header, digest, certificate: certificate.clone(), transactions };
                    self.saw(What::Finalized(Box::new(finalized)));
                    self.process.pile.push(FinalizedBlock { block, certificate });
                    self.die_if_due(PersistPoint::Final);
                }
                Output::Evidence(evidence) => {
                    self.saw(What::Accused(evidence.clone()));
                    self.process.evidence.push(evidence);
                }
                Output::Entered(view) => self.saw(What::Entered(view)),
                Output::Nullified(_) | Output::Milestone(..) => {}
                Output::SafetyViolation(view, digest) => {
                    self.alarm(format!("the machine reports a safety violation: view {view}, {digest}"))
                }
            }
        }
    }

    fn alarm(&mut self, text: String) {
        self.saw(What::Alarm(text));
        self.process.failed.get_or_insert(Stop::Alarm);
    }

    fn answer(&mut self, ticket: u64, taken: Result<(), MempoolReject>) {
        let Some(id) = self.process.offered.remove(&ticket) else { return };
        // What is final and not stored yet is acknowledged once it is, as in the reactor.
        let waits = match taken {
            Ok(()) | Err(MempoolReject::Duplicate) => true,
            Err(MempoolReject::Finalized(height)) => height > self.process.stored,
            Err(MempoolReject::Full) => false,
        };
        if waits {
            self.process.clients.insert(id, ticket);
            self.saw(What::Taken(id));
        }
    }

    fn task(&mut self, task: &Task) {
        let now = self.scene.now;
        match task {
            Task::Pass if self.process.pass_at == Some(now) => {
                self.process.pass_at = None;
                self.pass();
            }
            Task::Wake if self.process.wake_at == Some(now) => {
                self.process.wake_at = None;
                self.pass();
            }
            Task::LogDone if self.process.log_busy => self.log_done(),
            Task::BodyDone if self.process.body_busy => self.body_done(),
            Task::StoreDone => self.store_done(),
            Task::Verified if self.process.gossip_at == Some(now) => self.verified(),
            Task::Fetch if self.process.fetch_at == Some(now) => self.fetch(),
            _ => {}
        }
    }

    /// Hands over what the ring holds.
    fn hear(&mut self) {
        let mut ring = std::mem::take(&mut self.process.ring);
        for part in ring.chunks(BURST_MAX) {
            let view = self.process.validator.consensus().view();
            match part {
                [(from, kind, bytes)] if !self.frame.bursts => self.input(Input::Message(ValidatorIndex(*from as u16), *kind, bytes)),
                _ => {
                    let received =
                        part.iter().map(|(from, kind, bytes)| Received { from: ValidatorIndex(*from as u16), kind: *kind, bytes });
                    self.input(Input::Burst(&received.collect::<Vec<_>>()));
                }
            }
            self.saw_hostile(part, view);
        }
        ring.clear();
        self.process.ring = ring;
    }

    /// What the checker of evidence wants to know.
    fn saw_hostile(&mut self, part: &[(usize, MessageKind, Arc<[u8]>)], inside: View) {
        if self.frame.hostile.is_empty() || self.process.failed.is_some() {
            return;
        }
        for (from, kind, bytes) in part {
            let watched = match kind {
                MessageKind::Shred => {
                    let leader = ShredHeader::view_of(bytes).map(|view| self.frame.cluster.schedule.leader(view).at());
                    leader.is_some_and(|leader| self.frame.hostile.contains(&leader))
                }
                MessageKind::Vote | MessageKind::Nullify => self.frame.hostile.contains(from),
                _ => false,
            };
            if watched {
                self.saw(What::Heard { from: *from, kind: *kind, bytes: Arc::clone(bytes), inside });
            }
        }
    }

    /// What the reactor does once a pass, in its order.
    fn pass(&mut self) {
        self.hear();
        self.input(Input::Tick);
        if let Err(error) = self.disk_pass() {
            self.refused(&error);
        }
        self.hand_over();
        self.set_timer();
    }

    fn refused(&mut self, _: &LogError) {
        self.process.failed.get_or_insert(Stop::Disk);
    }

    fn disk_pass(&mut self) -> Result<(), LogError> {
        if self.process.failed.is_some() {
            return Ok(());
        }
        let now = self.local();
        if let Some(records) = self.process.durable.poll(now, |_| {})? {
            self.input(Input::Persisted(records));
            self.die_if_due(PersistPoint::Told);
        }
        self.process.durable.submit()?;
        let (log, bodies) = self.process.durable.parts();
        let (log, bodies) = (log.in_flight(), bodies.in_flight());
        if bodies && !self.process.body_busy {
            self.process.body_busy = true;
            let span = self.frame.speed.write(self.dice);
            self.later(span, Task::BodyDone);
            self.die_if_due(PersistPoint::BodySubmitted);
        }
        if log && !self.process.log_busy {
            self.process.log_busy = true;
            let span = self.frame.speed.write(self.dice);
            self.later(span, Task::LogDone);
            self.die_if_due(PersistPoint::LogSubmitted);
        }
        Ok(())
    }

    fn log_done(&mut self) {
        self.process.log_busy = false;
        let log = self.process.durable.parts().0;
        let before = log.durable().len();
        log.complete();
        let durable = log.durable()[before..].to_vec();
        for record in durable {
            self.saw(What::Durable(record));
        }
        self.die_if_due(PersistPoint::LogWritten);
        self.pass();
    }

    fn body_done(&mut self) {
        self.process.body_busy = false;
        let bodies = self.process.durable.parts().1;
        let before = bodies.durable().len();
        bodies.complete();
        let durable = bodies.durable()[before..].to_vec();
        for block in durable {
            self.saw(What::BodyDurable(block));
        }
        self.die_if_due(PersistPoint::BodyWritten);
        self.pass();
    }

    /// Everything that piled up goes into one commit; one commit at a time.
    fn hand_over(&mut self) {
        let idle = self.process.committing.is_none() && self.process.failed.is_none();
        if idle && (!self.process.pile.is_empty() || !self.process.evidence.is_empty()) {
            let pile = (std::mem::take(&mut self.process.pile), std::mem::take(&mut self.process.evidence));
            self.process.committing = Some(pile);
            let span = self.frame.speed.write(self.dice);
            self.later(span, Task::StoreDone);
        }
    }

    fn store_done(&mut self) {
        let Some((blocks, evidence)) = self.process.committing.take() else { return };
        match self.disk.store.commit(&blocks, &[], &evidence) {
            Ok(()) => {}
            Err(StoreError::Database { .. } | StoreError::Stopped) => {
                self.process.failed.get_or_insert(Stop::Disk);
                return;
            }
            Err(error) => return self.alarm(error.to_string()),
        }
        self.die_if_due(PersistPoint::Stored);
        if self.died {
            return;
        }
        if let Some(last) = blocks.last() {
            let header = *last.block.header();
            self.process.stored = header.height;
            self.saw(What::Stored(header.height));
            self.acknowledge(&blocks);
            self.process.durable.prune(header.view);
        }
        self.pass();
    }

    fn acknowledge(&mut self, blocks: &[FinalizedBlock]) {
        let chain = self.frame.cluster.chain();
        for finalized in blocks {
            for id in transaction_ids(&chain, finalized.block.payload()) {
                if self.process.clients.remove(&id).is_some() {
                    self.saw(What::Acknowledged(id, finalized.block.header().height));
                }
            }
        }
    }

    /// What the service reactor does with gossip.
    fn verified(&mut self) {
        self.process.gossip_at = None;
        let chain = self.frame.cluster.chain();
        let mut good = Vec::new();
        for payload in std::mem::take(&mut self.process.gossip) {
            // A malformed payload is dropped whole.
            if let Ok(raw) = iterate(&payload).map(|parsed| parsed.map(|one| one.bytes().to_vec())).collect::<Result<Vec<_>, _>>() {
                good.extend(raw.into_iter().filter_map(|raw| self.scene.kit.verify(&chain, raw)));
            }
        }
        if !good.is_empty() {
            self.input(Input::Gossip(good));
            self.soon();
        }
    }

    /// Drives the catch-up as far as it goes.
    fn fetch(&mut self) {
        self.process.fetch_at = None;
        let (stored, roster) = (self.process.stored, Arc::clone(&self.frame.cluster.roster));
        let Some(mut fetch) = self.process.fetch.take() else { return };
        let step = fetch.step(self.scene.now, stored, &self.disk.store, &roster);
        self.process.fetch = Some(fetch);
        use crate::catch_up::Step;
        match step {
            Step::Wait(span) => self.process.fetch_at = Some(self.later(span, Task::Fetch)),
            Step::Ask(peer, from, patience) => {
                self.process.fetch_at = Some(self.later(patience, Task::Fetch));
                self.scene.effects.push_back(Effect::Fetch(ValidatorIndex(peer as u16), from));
            }
            Step::Deliver(blocks) => {
                self.input(Input::Synced(blocks, false));
                self.process.fetch_at = Some(self.later(Nanos(0), Task::Fetch));
                self.soon();
            }
            Step::Done => {
                self.process.fetch = None;
                self.input(Input::Synced(Vec::new(), true));
                self.soon();
            }
        }
    }

    /// Wakes at the machine's deadline.
    fn set_timer(&mut self) {
        let Some(deadline) = self.process.validator.next_deadline() else { return };
        let now = self.scene.now;
        // A deadline that has passed and changes nothing must not stop the world's time.
        let at = self.process.clock.world(deadline, now).max(now.after(Nanos(100_000)));
        if self.process.wake_at.is_none_or(|set| at < set || set <= now) {
            self.process.wake_at = Some(at);
            self.scene.effects.push_back(Effect::Later(at, Task::Wake));
        }
    }
}

/// Ids of a payload's transactions in order.
pub fn transaction_ids(chain: &ChainId, payload: &[u8]) -> Vec<TransactionId> {
    iterate(payload).map_while(Result::ok).map(|transaction| transaction.id(chain)).collect()
}
