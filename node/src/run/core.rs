//! The hot reactor's handler: the validator machine between the peers, the disk and the service reactor.

use super::errands::{Errands, Gone};
use super::interface::Interface;
use super::meter::Meter;
use super::recorder::Recorder;
use super::recover::Recovered;
use super::wire::{StageClock, Wire};
use crate::bridge::{Ticket, ToHot, ToService};
use crate::config::Prepared;
use samara_consensus::MempoolReject;
use samara_crypto::Roster;
use samara_dataplane::counters::HotStats;
use samara_dataplane::reactor::{Handler, Outbox};
use samara_dataplane::ring::Receiver;
use samara_storage::{BlockJournal, Durable, FinalizedBlock, LogError, UringVoteLog};
use samara_types::client::{RejectReason, Response};
use samara_types::{Class, Epoch, Evidence, LeaderSchedule, MessageKind, Nanos, Received, ValidatorIndex, View};
use samara_validator::input_log::Start;
use samara_validator::{Config, Input, Output, Validator};
use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Items taken from the service reactor in one pass: bounds how long the packets wait.
const ITEMS_PER_PASS: usize = 64;
/// Payload bytes finalized but not stored beyond which no shreds are taken, so that a slow disk slows the chain instead of filling memory.
const UNSTORED_BYTES_MAX: usize = 128 << 20;
/// How long gossip waits to be handed over: waking the service reactor costs tens of microseconds, a batch of signatures half of singles.
const GOSSIP_WAIT: Nanos = Nanos::from_millis(4);
/// Payloads handed over at once at the latest.
const GOSSIP_PAYLOADS: usize = 32;
/// Evidence waiting for the store; more is dropped and counted.
const EVIDENCE_MAX: usize = 1_024;
/// From one published snapshot to the next.
const SNAPSHOT_INTERVAL: Nanos = Nanos::from_millis(1_000);
/// How long a stop waits for the service reactor.
const STOP_PATIENCE: Nanos = Nanos::from_millis(10_000);

/// What connects the core to the rest of the process.
pub struct Links {
    pub to_service: Errands,
    pub from_service: Receiver<ToHot>,
    /// Set by a signal.
    pub stop: Arc<AtomicBool>,
    /// Set by a signal that asks for the last inputs.
    pub dump: Arc<AtomicBool>,
    /// The port's rung and why.
    pub rung: String,
}

enum Phase {
    Running,
    Stopping(Nanos),
    Stopped,
}

/// See the module.
pub struct Core {
    validator: Validator<Ticket>,
    recorder: Option<Recorder>,
    durable: Durable<UringVoteLog, BlockJournal>,
    stages: StageClock,
    meter: Meter,
    interface: Interface,
    links: Links,
    base: Instant,
    unstored: VecDeque<(samara_types::Height, View, usize)>,
    unstored_bytes: usize,
    blocks: Vec<FinalizedBlock>,
    evidence: Vec<Evidence>,
    /// Gossip payloads that wait for each other, and when the first of them has waited enough.
    gossip: Vec<(ValidatorIndex, Vec<u8>)>,
    gossip_due: Option<Nanos>,
    phase: Phase,
    failure: Option<String>,
    worked: bool,
    next_snapshot: Nanos,
    shed: Shed,
}

/// Own drops, by the label they have in the metrics.
#[derive(Default)]
struct Shed {
    store_backlog: u64,
    verify_ring_full: u64,
    evidence_full: u64,
}

impl Core {
    pub fn new(prepared: &Prepared, roster: Arc<Roster>, recovered: Recovered, links: Links, boot_ns: u64, base: Instant) -> Core {
        let genesis = &prepared.genesis;
        let schedule = LeaderSchedule::new(&genesis.set, &genesis.seed, Epoch(0));
        let config = Config { me: prepared.me, params: genesis.params, beacon: genesis.seed, wall_offset_ns: boot_ns };
        let secrets = (prepared.keyring.vote.clone(), prepared.keyring.identity.clone());
        let now = Nanos(u64::try_from(base.elapsed().as_nanos()).unwrap_or(u64::MAX));
        let mut meter = Meter::new(prepared.me, Arc::new(genesis.set.clone()), schedule.clone());
        meter.snapshot.port = links.rung.clone();
        meter.snapshot.stored_height = recovered.recovery.tip.height.0;
        meter.snapshot.signed_view = recovered.recovery.records.iter().map(|record| record.view().0).max().unwrap_or(0);
        let start = Start { wall_offset_ns: boot_ns, now, ..recovered.start };
        let settings = &prepared.config;
        let recorder = Recorder::new(start, settings.input_ring_bytes, &settings.layout.inputs, Arc::clone(&links.dump));
        let validator = Validator::new(config, roster, schedule, secrets, recovered.app, recovered.recovery, now);
        Core {
            validator,
            recorder,
            durable: Durable::new(recovered.log, recovered.journal),
            stages: StageClock::new(),
            meter,
            interface: Interface::default(),
            links,
            base,
            unstored: VecDeque::new(),
            unstored_bytes: 0,
            blocks: Vec::new(),
            evidence: Vec::new(),
            gossip: Vec::with_capacity(GOSSIP_PAYLOADS),
            gossip_due: None,
            phase: Phase::Running,
            failure: None,
            worked: false,
            next_snapshot: now,
            shed: Shed::default(),
        }
    }

    /// Why the reactor ended, if it was not told to.
    pub fn into_failure(self) -> Option<String> {
        self.failure
    }

    fn clock(&self) -> Nanos {
        Nanos(u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn input(&mut self, now: Nanos, input: Input<'_, Ticket>, out: &mut Outbox<'_>) {
        self.stages.begin();
        if let Some(recorder) = &mut self.recorder {
            recorder.input(now, &input, || self.validator.next_deadline());
        }
        self.validator.handle(now, input, &mut Wire { outbox: out, stages: &mut self.stages });
        self.drain(now);
    }

    fn drain(&mut self, now: Nanos) {
        while let Some(output) = self.validator.poll() {
            if let Some(recorder) = &mut self.recorder {
                recorder.note(&output);
            }
            match output {
                Output::Persist(record, body) => self.durable.append(now, record, body),
                Output::Answer(ticket, taken) => self.answer(ticket, taken),
                Output::Verify(from, payload) => {
                    self.gossip_due.get_or_insert(now.after(GOSSIP_WAIT));
                    self.gossip.push((from, payload));
                    if self.gossip.len() >= GOSSIP_PAYLOADS {
                        self.hand_over_gossip();
                    }
                }
                Output::Sync(above, peers) => {
                    self.meter.snapshot.syncing = true;
                    let peers = peers.iter().collect();
                    self.tell(ToService::Sync { from_height: above.next(), peers });
                }
                Output::Finalized(block, certificate) => {
                    let at = self.clock();
                    self.meter.finalized(&block, at);
                    if let Some(certificate) = &certificate {
                        self.meter.certified(certificate.signers());
                    }
                    self.unstored_bytes += block.payload().len();
                    self.unstored.push_back((block.header().height, block.header().view, block.payload().len()));
                    self.blocks.push(FinalizedBlock { block, certificate: certificate.map(|c| c.to_message()) });
                }
                Output::Evidence(evidence) => self.keep(evidence),
                Output::Entered(view) => {
                    let at = self.clock();
                    self.meter.entered(view, at);
                }
                Output::Nullified(view) => {
                    tracing::debug!(view = view.0, "nullified");
                    let at = self.clock();
                    self.meter.nullified(view, at);
                }
                Output::Milestone(view, milestone) => {
                    let at = self.clock();
                    self.meter.milestone(view, milestone, at);
                }
                Output::SafetyViolation(view, digest) => {
                    self.fail(format!("SAFETY VIOLATION: view {view} finalizes {digest}, which does not extend our chain; more than f validators are hostile"));
                }
            }
        }
    }

    fn answer(&mut self, ticket: Ticket, taken: Result<(), MempoolReject>) {
        let stored = self.meter.snapshot.stored_height;
        let response = match taken {
            // The door knows every recent transaction on disk; one it asks about is older than its memory, and its position is lost.
            Err(MempoolReject::Finalized(height)) if height.0 <= stored => Response::Rejected(RejectReason::Dropped),
            // A transaction that is here, or final and on its way to disk, is as good as taken: its finality is what the client hears next.
            Ok(()) | Err(MempoolReject::Duplicate | MempoolReject::Finalized(_)) => Response::Accepted,
            Err(MempoolReject::Full) => Response::Rejected(RejectReason::MempoolFull),
        };
        self.tell(ToService::Answer { ticket, response });
    }

    /// Gossip is shed before anything else: half the ring stays free for what may not be lost.
    fn hand_over_gossip(&mut self) {
        self.gossip_due = None;
        let room = self.links.to_service.room().saturating_sub(super::RING_ITEMS / 2);
        self.shed.verify_ring_full += self.gossip.len().saturating_sub(room) as u64;
        self.gossip.truncate(room);
        for (from, payload) in std::mem::take(&mut self.gossip) {
            self.tell(ToService::Verify { from, payload });
        }
    }

    fn keep(&mut self, evidence: Evidence) {
        tracing::warn!(accused = evidence.accused.0, offence = evidence.offence.as_str(), view = evidence.view.0, "evidence");
        self.meter.snapshot.evidence += 1;
        if self.evidence.len() < EVIDENCE_MAX {
            self.evidence.push(evidence);
        } else {
            self.shed.evidence_full += 1;
        }
    }

    fn tell(&mut self, item: ToService) {
        let told = self.links.to_service.tell(item);
        self.look_after(told);
    }

    fn look_after(&mut self, told: Result<(), Gone>) {
        if told == Err(Gone) && !matches!(self.phase, Phase::Stopped) {
            self.fail("the service reactor ended unexpectedly".to_string());
        }
    }

    fn fail(&mut self, reason: String) {
        tracing::error!("{reason}");
        if let Some(recorder) = self.recorder.as_mut().filter(|_| self.failure.is_none()) {
            recorder.dump("failure");
        }
        self.failure.get_or_insert(reason);
        if matches!(self.phase, Phase::Running) {
            self.begin_stop();
        }
    }

    fn begin_stop(&mut self) {
        let now = self.clock();
        self.phase = Phase::Stopping(now.after(STOP_PATIENCE));
        self.hand_over();
        self.next_snapshot = Nanos(0);
    }

    /// Finalized blocks and evidence of this pass, as one batch.
    fn hand_over(&mut self) {
        if !self.blocks.is_empty() || !self.evidence.is_empty() {
            let (blocks, evidence) = (std::mem::take(&mut self.blocks), std::mem::take(&mut self.evidence));
            self.tell(ToService::Store(blocks, evidence));
        }
    }

    fn take_from_service(&mut self, now: Nanos, out: &mut Outbox<'_>) {
        for _ in 0..ITEMS_PER_PASS {
            let Some(item) = self.links.from_service.pop() else { return };
            self.worked = true;
            match item {
                ToHot::Submit { ticket, transaction } => self.input(now, Input::Submit(ticket, transaction), out),
                ToHot::Gossip(transactions) => self.input(now, Input::Gossip(transactions), out),
                ToHot::Stored { height } => self.stored(height),
                ToHot::Synced { blocks, done } => {
                    self.meter.snapshot.synced_blocks += blocks.len() as u64;
                    self.meter.snapshot.syncing = !done;
                    self.input(now, Input::Synced(blocks, done), out);
                }
                ToHot::StoreFailed => self.fail("the block store refuses writes".to_string()),
                ToHot::Stop => {
                    if matches!(self.phase, Phase::Running) {
                        self.failure.get_or_insert("the service reactor ended unexpectedly".to_string());
                    }
                    self.phase = Phase::Stopped;
                }
            }
        }
    }

    fn stored(&mut self, height: samara_types::Height) {
        let now = self.clock();
        self.meter.stored(height, now);
        while self.unstored.front().is_some_and(|(at, ..)| *at <= height) {
            let (_, view, bytes) = self.unstored.pop_front().expect("a front was just seen");
            self.unstored_bytes -= bytes;
            self.durable.prune(view);
        }
    }

    fn log_pass(&mut self, now: Nanos, out: &mut Outbox<'_>) -> Result<(), LogError> {
        let sync_us = &mut self.meter.snapshot.vote_log_sync_us;
        if let Some(records) = self.durable.poll(now, |waited| sync_us.record(waited.0 / 1_000))? {
            self.worked = true;
            self.meter.snapshot.records_durable = records;
            self.meter.snapshot.signed_view = self.meter.snapshot.signed_view.max(self.durable.signed().0);
            self.input(now, Input::Persisted(records), out);
        }
        self.durable.submit()
    }

    fn publish(&mut self, stats: &HotStats) {
        self.interface.look(stats.snapshot().link());
        let shed = [
            ("store_backlog", self.shed.store_backlog),
            ("verify_ring_full", self.shed.verify_ring_full),
            ("evidence_full", self.shed.evidence_full),
        ];
        let picture = self.meter.picture(&self.validator, &self.stages, stats, &shed);
        self.tell(ToService::Snapshot(Box::new(picture)));
    }
}

impl Handler for Core {
    fn on_message(&mut self, now: Nanos, from: ValidatorIndex, kind: MessageKind, message: &[u8], out: &mut Outbox<'_>) {
        self.meter.heard(from, kind);
        if kind.class() == Class::Normal && self.unstored_bytes > UNSTORED_BYTES_MAX {
            self.shed.store_backlog += 1;
            return;
        }
        self.input(now, Input::Message(from, kind, message), out);
    }

    fn on_burst(&mut self, now: Nanos, burst: &[Received<'_>], out: &mut Outbox<'_>) {
        if self.unstored_bytes > UNSTORED_BYTES_MAX {
            return burst.iter().for_each(|message| self.on_message(now, message.from, message.kind, message.bytes, out));
        }
        burst.iter().for_each(|message| self.meter.heard(message.from, message.kind));
        self.input(now, Input::Burst(burst), out);
    }

    fn on_pass(&mut self, now: Nanos, out: &mut Outbox<'_>) {
        self.worked = false;
        if let Some(recorder) = &mut self.recorder {
            recorder.look_at_request();
        }
        let told = self.links.to_service.push();
        self.look_after(told);
        self.take_from_service(now, out);
        if self.failure.is_none() {
            self.input(now, Input::Tick, out);
            if let Err(error) = self.log_pass(now, out) {
                self.fail(error.to_string());
            }
        }
        if now >= self.next_snapshot {
            self.meter.look_at_peers(|peer| (out.is_up(peer), out.link(peer)));
        }
        self.hand_over();
        if self.gossip_due.is_some_and(|due| due <= now) {
            self.hand_over_gossip();
        }
        match self.phase {
            Phase::Running if self.links.stop.load(Ordering::Relaxed) => self.begin_stop(),
            Phase::Stopping(until) if now > until => {
                self.failure.get_or_insert("the service reactor did not stop in time".to_string());
                self.phase = Phase::Stopped;
            }
            _ => {}
        }
    }

    fn worked(&self) -> bool {
        self.worked
    }

    fn next_deadline(&self) -> Option<Nanos> {
        [self.validator.next_deadline(), self.gossip_due].into_iter().flatten().min()
    }

    fn wake_fds(&self) -> Vec<RawFd> {
        self.durable.wake_fds().chain([self.links.from_service.wake_fd()]).collect()
    }

    fn running(&self) -> bool {
        !matches!(self.phase, Phase::Stopped)
    }

    fn on_housekeeping(&mut self, now: Nanos, stats: &HotStats) {
        if now < self.next_snapshot {
            return;
        }
        let last = self.next_snapshot == Nanos(0) && matches!(self.phase, Phase::Stopping(_));
        self.next_snapshot = now.after(SNAPSHOT_INTERVAL);
        self.publish(stats);
        if last {
            self.tell(ToService::Stop);
        }
    }

    fn prepare_sleep(&mut self) -> bool {
        self.links.from_service.declare_sleep()
    }

    fn end_sleep(&mut self) {
        self.links.from_service.declare_awake();
    }
}
