//! One run: one thread, virtual time, one queue of events with a total order, one digest.
//!
//! ```text
//! queue (time, number) -> event -> actor -> effects -> { network -> Arrive -> Deliver;  Later -> Task;  Saw -> checkers }
//! faults (plan) ... until `faults_for` | heal | settle | watch timing bounds | end
//! ```
//! Events of one time are handled in the order they were made; every random choice comes from a stream of the seed with a name of its own; the
//! digest covers every event that was handled, by its time, its kind and whom it concerns, with every byte that arrived or was answered. What a process does by
//! itself (tasks, a client's turn) is covered by its time and by what is sent in consequence. So the same plan gives the same run and the same digest, on any
//! machine and any number of threads.

use crate::actor::{Actor, Stage};
use crate::catch_up::Answer;
use crate::checkers::{self, Checkers, Promise, Violation};
use crate::clients::Clients;
use crate::dice::Dice;
use crate::hostile;
use crate::kit::{Cluster, Kit};
use crate::net::{Arrival, Network};
use crate::node::{Effect, Frame, Node, Scene, Task};
use crate::study::regions::{REGIONS, one_way_ms};
use crate::swarm::{Cpu, Fault, Placement, Plan};
use crate::trace::{Event, Stop, Target, What};
use samara_types::{Digest, Height, MessageKind, Nanos, View};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

/// How often memory is sampled and the state of the cluster is looked at.
const SAMPLE: Nanos = Nanos::from_millis(50);
/// Blocks on top of the highest one at the end of the faults before the cluster counts as settled.
const SETTLED_BLOCKS: u64 = 3;
/// Samples on end at which everybody must be together: a body that is being fetched shows within them.
const SETTLED_SAMPLES: u32 = 5;
/// Events of one run, or so many for each pair of machines; more is a loop that time does not end.
const EVENTS_MAX: u64 = 30_000_000;
const PAIR_EVENTS_MAX: u64 = 200;

/// Something at a time.
#[derive(Debug)]
enum Happening {
    /// `session` is the receiver's incarnation when it was sent: a new process opens nothing of an old one's sessions.
    Arrive {
        from: usize,
        to: usize,
        session: u32,
        kind: MessageKind,
        bytes: Arc<[u8]>,
    },
    Deliver {
        from: usize,
        to: usize,
        session: u32,
        kind: MessageKind,
        bytes: Arc<[u8]>,
    },
    Node {
        node: usize,
        incarnation: u32,
        task: Task,
    },
    Wake(usize),
    Start(usize),
    Fault(usize),
    Client(u64),
    Serve {
        client: usize,
        incarnation: u32,
        server: usize,
        from: Height,
    },
    Answered {
        client: usize,
        incarnation: u32,
        server: usize,
        answer: Option<Answer>,
    },
    Sample,
}

struct Entry {
    at: Nanos,
    number: u64,
    happening: Happening,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.number == other.number
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Broken promises, the first of each kind.
    pub violations: Vec<Violation>,
    /// BLAKE3 over every event.
    pub digest: Digest,
    /// The highest view a correct validator entered.
    pub views: u64,
    /// The highest final block.
    pub blocks: u64,
    /// Transactions acknowledged to clients.
    pub acknowledged: u64,
    /// Views that took longer than I16 allows and had an excuse.
    pub excused: u64,
    /// Events handled.
    pub events: u64,
    /// Virtual time that passed.
    pub lasted: Nanos,
    /// Pairing checks of all processes that were alive at the end.
    pub pairing_checks: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Faults,
    Settling { until: Nanos, target: Height, calm: u32 },
    Watching { until: Nanos },
    Over,
}

/// See the module.
pub struct World<'a> {
    plan: &'a Plan,
    kit: &'a mut Kit,
    cluster: Arc<Cluster>,
    now: Nanos,
    queue: BinaryHeap<Reverse<Entry>>,
    numbers: u64,
    network: Network,
    actors: Vec<Actor>,
    allies: Vec<usize>,
    dice: Dice,
    hostile_dice: Vec<Dice>,
    hostile_wake: Vec<Option<Nanos>>,
    /// Down until told otherwise.
    held: BTreeSet<usize>,
    clients: Clients,
    checkers: Checkers,
    record: Option<Vec<Event>>,
    digest: blake3::Hasher,
    events: u64,
    phase: Phase,
    height: Height,
    view: View,
    acknowledged: u64,
    effects: VecDeque<Effect>,
    /// When each machine's core is through with what arrived.
    core_free: Vec<Nanos>,
    /// How long a transaction may take; known when the network is healed.
    transaction_within: Nanos,
    /// How long the call that is being carried out has kept the core before the next message leaves.
    spent: Nanos,
}

impl<'a> World<'a> {
    /// The world of a plan, before its first event.
    pub fn new(plan: &'a Plan, kit: &'a mut Kit) -> World<'a> {
        let cluster = kit.cluster_with(&plan.stakes, plan.mutant);
        let mut dice = Dice::new(plan.seed, "world");
        let network = network(plan, &mut dice);
        let actors = (0..plan.validators()).map(|seat| actor(plan, &cluster, seat, &mut dice)).collect();
        let allies = plan.hostile.iter().map(|(seat, _)| *seat).collect();
        let hostile_dice = (0..plan.validators()).map(|seat| Dice::new(plan.seed, &format!("hostile {seat}"))).collect();
        let checkers = Checkers::new(plan, &cluster);
        let clients = Clients::new(plan, Dice::new(plan.seed, "clients"));
        World {
            cluster,
            kit,
            now: Nanos(0),
            queue: BinaryHeap::new(),
            numbers: 0,
            network,
            actors,
            allies,
            dice,
            hostile_wake: vec![None; plan.validators()],
            hostile_dice,
            held: BTreeSet::new(),
            clients,
            checkers,
            record: None,
            digest: blake3::Hasher::new_derive_key("samara 2026 simulator run"),
            events: 0,
            phase: Phase::Faults,
            height: Height(0),
            view: View(0),
            acknowledged: 0,
            effects: VecDeque::new(),
            core_free: vec![Nanos(0); plan.validators()],
            transaction_within: Nanos(0),
            spent: Nanos(0),
            plan,
        }
    }

    /// Keeps everything the checkers see.
    pub fn recording(mut self) -> World<'a> {
        self.record = Some(Vec::new());
        self
    }

    /// Runs to the end.
    pub fn run(self) -> Outcome {
        self.run_recorded().0
    }

    /// Runs to the end; with the record, if one was asked for.
    pub fn run_recorded(mut self) -> (Outcome, Vec<Event>) {
        self.begin();
        let events_max = EVENTS_MAX.max(PAIR_EVENTS_MAX * (self.actors.len() as u64).pow(2));
        while !matches!(self.phase, Phase::Over) {
            let Some(Reverse(entry)) = self.queue.pop() else { break };
            assert!(entry.at >= self.now, "time goes forward");
            self.now = entry.at;
            self.events += 1;
            self.hash(&entry.happening);
            self.handle(entry.happening);
            if self.events > events_max {
                self.checkers.report(Promise::Liveness, format!("{events_max} events without an end at {} ms", self.now.0 / 1_000_000));
                self.phase = Phase::Over;
            }
        }
        self.end()
    }

    fn at(&mut self, at: Nanos, happening: Happening) {
        self.numbers += 1;
        self.queue.push(Reverse(Entry { at, number: self.numbers, happening }));
    }

    fn begin(&mut self) {
        for seat in 0..self.actors.len() {
            let at = Nanos(self.dice.below(20_000_000));
            self.at(at, Happening::Start(seat));
        }
        for at in 0..self.plan.faults.len() {
            self.at(self.plan.faults[at].0, Happening::Fault(at));
        }
        for (at, client) in self.clients.schedule() {
            self.at(at, Happening::Client(client));
        }
        self.at(SAMPLE, Happening::Sample);
    }

    /// See the module.
    fn hash(&mut self, happening: &Happening) {
        let mut fixed = [0u8; 32];
        fixed[..8].copy_from_slice(&self.now.0.to_le_bytes());
        let mut put = |kind: u8, a: usize, b: usize, c: u64| {
            fixed[8] = kind;
            fixed[9..13].copy_from_slice(&(a as u32).to_le_bytes());
            fixed[13..17].copy_from_slice(&(b as u32).to_le_bytes());
            fixed[17..25].copy_from_slice(&c.to_le_bytes());
        };
        let mut content: &[u8] = &[];
        match happening {
            Happening::Arrive { from, to, kind, bytes, .. } => {
                put(1, *from, *to, *kind as u64);
                content = bytes;
            }
            // Its bytes have arrived before.
            Happening::Deliver { from, to, kind, .. } => put(2, *from, *to, *kind as u64),
            Happening::Node { node, incarnation, task } => put(3, *node, *incarnation as usize, task_number(task)),
            Happening::Wake(node) => put(4, *node, 0, 0),
            Happening::Start(node) => put(5, *node, 0, 0),
            Happening::Fault(at) => put(6, *at, 0, 0),
            Happening::Client(client) => put(7, 0, 0, *client),
            Happening::Serve { client, server, from, .. } => put(8, *client, *server, from.0),
            Happening::Answered { client, server, answer, .. } => {
                put(9, *client, *server, answer.as_ref().map_or(u64::MAX, |answer| answer.bytes() as u64));
            }
            Happening::Sample => put(10, 0, 0, 0),
        }
        self.digest.update(&fixed);
        self.digest.update(content);
        if let Happening::Answered { answer: Some(answer), .. } = happening {
            for part in answer.records.iter().flat_map(|(block, certificate)| [Some(block), certificate.as_ref()]).flatten() {
                self.digest.update(part);
            }
        }
    }

    fn handle(&mut self, happening: Happening) {
        match happening {
            Happening::Arrive { from, to, session, kind, bytes } => {
                let through = match self.network.arrive(self.now, to, bytes.len()) {
                    Arrival::Now => self.now,
                    Arrival::At(at) => at,
                    Arrival::Dropped => return,
                };
                match self.core_takes(to, through) {
                    at if at == self.now => self.deliver(from, to, session, kind, &bytes),
                    at => self.at(at, Happening::Deliver { from, to, session, kind, bytes }),
                }
            }
            Happening::Deliver { from, to, session, kind, bytes } => self.deliver(from, to, session, kind, &bytes),
            Happening::Node { node, incarnation, task } => {
                self.honest(node, |honest, scene| {
                    if honest.incarnation() == incarnation {
                        honest.run(&task, scene);
                    }
                });
            }
            Happening::Wake(seat) => {
                if self.hostile_wake[seat] == Some(self.now) {
                    self.hostile_wake[seat] = None;
                    self.hostile(seat, |hostile, stage| hostile.wake(stage));
                }
            }
            Happening::Start(seat) => self.start(seat),
            Happening::Fault(at) => {
                if self.phase == Phase::Faults {
                    let fault = self.plan.faults[at].1.clone();
                    self.fault(fault);
                }
            }
            Happening::Client(client) => self.offer(client),
            Happening::Serve { server, .. } if self.goes_on(server) > self.now => self.at(self.goes_on(server), happening),
            Happening::Serve { client, incarnation, server, from } => self.serve(client, incarnation, server, from),
            Happening::Answered { client, .. } if self.goes_on(client) > self.now => self.at(self.goes_on(client), happening),
            Happening::Answered { client, incarnation, server, answer } => {
                self.honest(client, |honest, scene| {
                    if honest.incarnation() == incarnation {
                        honest.fetched(server, answer.as_ref(), scene);
                    }
                });
            }
            Happening::Sample => self.sample(),
        }
    }

    /// When the process of a seat goes on, if it stands still.
    fn goes_on(&self, seat: usize) -> Nanos {
        self.actors[seat].honest().map_or(Nanos(0), Node::paused_until)
    }

    /// One call into an honest node, and what follows from it.
    fn honest(&mut self, seat: usize, act: impl FnOnce(&mut Node, &mut Scene<'_>)) {
        let Actor::Honest(node) = &mut self.actors[seat] else { return };
        let was_up = node.is_up();
        let checks_before = pairing_checks(node);
        let mut effects = std::mem::take(&mut self.effects);
        act(node, &mut Scene { now: self.now, effects: &mut effects, kit: self.kit });
        let (incarnation, is_up) = (node.incarnation(), node.is_up());
        let signed = effects.iter().filter(|effect| matches!(effect, Effect::Saw(What::Persist(..)))).count() as u64;
        let checks = pairing_checks(node).saturating_sub(checks_before);
        self.spent = Nanos(signed * self.plan.cpu.sign.0 + checks * self.plan.cpu.pairing_check.0);
        while let Some(effect) = effects.pop_front() {
            self.effect(seat, incarnation, effect);
        }
        self.effects = effects;
        if self.spent.0 > 0 {
            self.core_free[seat] = self.core_free[seat].max(self.now).after(self.spent);
            self.spent = Nanos(0);
        }
        if was_up && !is_up && self.phase != Phase::Over {
            self.restart_later(seat);
        }
    }

    fn restart_later(&mut self, seat: usize) {
        let (low, high) = self.plan.restart_ms;
        let span = self.dice.millis(low, high);
        self.at(self.now.after(span), Happening::Start(seat));
    }

    fn hostile(&mut self, seat: usize, act: impl FnOnce(&mut dyn crate::actor::Hostile, &mut Stage<'_>)) {
        let Actor::Hostile(hostile) = &mut self.actors[seat] else { return };
        let cluster = Arc::clone(&self.cluster);
        let mut stage = Stage {
            now: self.now,
            me: seat,
            allies: &self.allies,
            cluster: &cluster,
            params: &self.plan.params,
            dice: &mut self.hostile_dice[seat],
            sends: Vec::new(),
            wake: None,
        };
        act(&mut **hostile, &mut stage);
        let Stage { sends, wake, .. } = stage;
        self.spent = Nanos(0);
        for (target, kind, bytes) in sends {
            self.send(seat, target, kind, bytes);
        }
        if let Some(at) = wake.map(|at| at.max(self.now.after(Nanos(1))))
            && self.hostile_wake[seat].is_none_or(|set| at < set || set <= self.now)
        {
            self.hostile_wake[seat] = Some(at);
            self.at(at, Happening::Wake(seat));
        }
    }

    fn effect(&mut self, seat: usize, incarnation: u32, effect: Effect) {
        match effect {
            Effect::Saw(what) => self.saw(seat, what),
            Effect::Send(target, kind, bytes) => self.send(seat, target, kind, bytes),
            Effect::Later(at, task) => self.at(at, Happening::Node { node: seat, incarnation, task }),
            Effect::Fetch(server, from) => {
                let server = server.at();
                // A refused or broken connection is noticed; a cut one is not.
                if self.network.streams(self.now, seat, server) {
                    let at = self.now.after(self.network.stream_time(seat, server, 64));
                    self.at(at, Happening::Serve { client: seat, incarnation, server, from });
                }
            }
        }
    }

    fn saw(&mut self, seat: usize, what: What) {
        match &what {
            What::Finalized(finalized) => self.height = self.height.max(finalized.header.height),
            What::Entered(view) => self.view = self.view.max(*view),
            What::Acknowledged(id, _) => {
                self.acknowledged += 1;
                self.clients.acknowledged(id);
            }
            _ => {}
        }
        self.see(seat, what);
    }

    fn see(&mut self, seat: usize, what: What) {
        let event = Event { at: self.now, node: seat, what };
        self.checkers.observe(&event);
        if let Some(record) = &mut self.record {
            record.push(event);
        }
    }

    fn send(&mut self, from: usize, target: Target, kind: MessageKind, bytes: Arc<[u8]>) {
        self.see(from, What::Sent(target, kind, Arc::clone(&bytes)));
        match target {
            Target::One(to) if to.at() != from && to.at() < self.actors.len() => self.post(from, to.at(), kind, &bytes),
            Target::One(_) => {}
            Target::All => (0..self.actors.len()).filter(|to| *to != from).for_each(|to| self.post(from, to, kind, &bytes)),
        }
    }

    fn post(&mut self, from: usize, to: usize, kind: MessageKind, bytes: &Arc<[u8]>) {
        self.spent = self.spent.after(self.plan.cpu.send);
        for at in self.network.send(self.now.after(self.spent), from, to, kind, bytes.len()).into_iter().flatten() {
            let session = self.actors[to].honest().map_or(0, Node::incarnation);
            self.at(at, Happening::Arrive { from, to, session, kind, bytes: Arc::clone(bytes) });
        }
    }

    /// When the receiver's core is through with a datagram that left the ring at `at`.
    fn core_takes(&mut self, to: usize, at: Nanos) -> Nanos {
        if self.plan.cpu == Cpu::default() {
            return at;
        }
        self.core_free[to] = self.core_free[to].max(at).after(self.plan.cpu.receive);
        self.core_free[to]
    }

    fn deliver(&mut self, from: usize, to: usize, session: u32, kind: MessageKind, bytes: &Arc<[u8]>) {
        if bytes.len() > kind.bytes_max() {
            self.network.traffic.oversize += 1;
            return;
        }
        if self.actors[to].honest().is_some_and(|node| !node.is_up() || node.incarnation() != session) {
            self.network.traffic.nobody += 1;
            return;
        }
        if self.actors[to].honest().is_some_and(|node| !node.has_room()) {
            self.network.traffic.overrun += 1;
            return;
        }
        self.network.traffic.delivered += 1;
        self.honest(to, |node, scene| node.deliver(from, kind, bytes, scene));
        self.hostile(to, |hostile, stage| hostile.deliver(from, kind, bytes, stage));
    }

    fn start(&mut self, seat: usize) {
        if self.held.contains(&seat) {
            return;
        }
        self.honest(seat, |node, scene| {
            if !node.is_up() {
                node.start(scene);
            }
        });
        self.hostile(seat, |hostile, stage| hostile.start(stage));
    }

    fn kill(&mut self, seat: usize, why: Stop) {
        self.honest(seat, |node, scene| node.stop(why, scene));
    }

    fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(seat) => self.kill(seat, Stop::Killed),
            Fault::Down(seat) => {
                self.held.insert(seat);
                self.kill(seat, Stop::Killed);
            }
            Fault::KillAll => (0..self.actors.len()).for_each(|seat| self.kill(seat, Stop::Killed)),
            Fault::Start(seat) => {
                self.held.remove(&seat);
                self.start(seat);
            }
            Fault::KillAt(seat, point, visits) => {
                if let Some(node) = self.actors[seat].honest_mut() {
                    node.die_at = Some((point, visits));
                }
            }
            Fault::Wipe(seat) | Fault::LoseLog(seat) | Fault::LoseStore(seat) | Fault::OlderStore(seat, _) | Fault::DamageBody(seat) => {
                self.lose(seat, &fault)
            }
            Fault::FailWrite(seat, which) => {
                if let Some(node) = self.actors[seat].honest_mut() {
                    node.fail_next_write(which);
                }
            }
            Fault::Cut(pairs) => pairs.into_iter().for_each(|(from, to)| self.network.set_cut(from, to, true)),
            Fault::Join => self.network.join_all(),
            Fault::ResetNic(seat, span) => self.network.reset_nic(seat, self.now.after(span)),
            Fault::Overrun(seat, span) => self.network.overrun(seat, self.now.after(span)),
            Fault::Jump(seat, span) => self.honest(seat, |node, scene| node.jump(span, scene)),
            Fault::Pause(seat, span) => {
                let until = self.now.after(span);
                if let Some(node) = self.actors[seat].honest_mut() {
                    node.pause(until);
                }
            }
            Fault::Loss(ppm) => self.network.relink(|_, _, link| link.loss_ppm = ppm),
        }
    }

    fn lose(&mut self, seat: usize, fault: &Fault) {
        self.kill(seat, Stop::Killed);
        let Actor::Honest(node) = &mut self.actors[seat] else { return };
        match fault {
            Fault::Wipe(_) => node.disk.wipe(),
            Fault::LoseLog(_) => node.disk.lose_log(),
            Fault::LoseStore(_) => node.disk.lose_store(),
            Fault::OlderStore(_, percent) => node.disk.age_store(*percent),
            _ => node.disk.damage_body(&mut self.dice),
        }
        if !matches!(fault, Fault::DamageBody(_)) {
            self.see(seat, What::Wiped);
        }
    }

    fn offer(&mut self, client: u64) {
        let up: Vec<bool> = self.actors.iter().map(|actor| actor.honest().is_some_and(Node::is_up)).collect();
        let (seat, again) = self.clients.turn(client, &up);
        if let Some(span) = again {
            self.at(self.now.after(span), Happening::Client(client));
        }
        let Some(seat) = seat else { return };
        let transaction = self.kit.transaction(&self.cluster.chain(), client, self.clients.data_bytes(client));
        self.clients.named(client, transaction.id());
        self.honest(seat, |node, scene| node.submit(client, transaction, scene));
    }

    fn serve(&mut self, client: usize, incarnation: u32, server: usize, from: Height) {
        let answer = match &mut self.actors[server] {
            Actor::Honest(node) if node.is_up() => Answer::read(&node.disk.store, from).ok(),
            Actor::Honest(_) => None,
            Actor::Hostile(hostile) => hostile.serve(from),
        };
        if !self.network.streams(self.now, server, client) {
            return;
        }
        let span = self.network.stream_time(server, client, answer.as_ref().map_or(64, Answer::bytes));
        self.at(self.now.after(span), Happening::Answered { client, incarnation, server, answer });
    }

    /// Memory, and whether the next phase begins.
    fn sample(&mut self) {
        for seat in 0..self.actors.len() {
            if let Some(held) = self.actors[seat].honest().and_then(Node::held) {
                self.see(seat, What::Held(held));
            }
        }
        match self.phase {
            Phase::Faults if self.now >= self.plan.faults_for => self.heal(),
            Phase::Settling { until, target, calm } => self.settle(until, target, calm),
            Phase::Watching { until } if self.now >= until => self.phase = Phase::Over,
            _ => {}
        }
        self.at(self.now.after(SAMPLE), Happening::Sample);
    }

    /// The end of all faults but hostility: from here on the paper's bounds hold.
    fn heal(&mut self) {
        self.held.clear();
        self.network.join_all();
        self.network.relink(|_, _, link| {
            (link.deviation, link.loss_ppm, link.duplicate_ppm, link.spike_ppm) = (Nanos(0), 0, 0, 0);
        });
        self.network.renic(|_, nic| nic.set_rate(0));
        let plan = self.plan;
        for seat in 0..self.actors.len() {
            self.network.reset_nic(seat, self.now);
            self.network.overrun(seat, self.now);
            if let Some(node) = self.actors[seat].honest_mut() {
                let frame = node.frame_mut();
                frame.speed.stall_ppm = 0;
                frame.burst = frame.burst.min(Nanos(500_000));
                node.die_at = None;
            }
            if self.actors[seat].honest().is_some() {
                self.start(seat);
            }
        }
        let slowest = (0..plan.validators()).flat_map(|from| (0..plan.validators()).map(move |to| (from, to)));
        let way = slowest.map(|(from, to)| self.network.link(from, to)).map(|link| link.base.0 + 2 * link.jitter.0).max().unwrap_or(0);
        let delta = Nanos(way + plan.burst.0.min(500_000));
        let disk = Nanos(plan.speed.base.0 + plan.speed.jitter.0);
        self.see(0, What::Healed { delta, disk });
        self.transaction_within = checkers::transaction_within(plan, &self.cluster, delta, disk);
        let target = Height(self.height.0 + SETTLED_BLOCKS);
        self.phase = Phase::Settling { until: self.now.after(plan.settle_within), target, calm: 0 };
    }

    /// Settled: for some samples on end, every honest validator runs, may sign, has finalized beyond what anybody had at the end of the faults,
    /// and is at most a view and two blocks behind.
    fn settle(&mut self, until: Nanos, target: Height, calm: u32) {
        let standing = |actor: &Actor| {
            let consensus = actor.honest().map(|node| node.validator().map(samara_validator::Validator::consensus));
            consensus.map(|consensus| consensus.map(|c| (c.tip().height, c.view(), c.has_voice())))
        };
        let standings: Vec<_> = self.actors.iter().filter_map(standing).collect();
        let newest = standings.iter().flatten().map(|(_, view, _)| *view).max().unwrap_or_default();
        let highest = standings.iter().flatten().map(|(height, ..)| *height).max().unwrap_or_default();
        let together =
            |(height, view, voice): (Height, View, bool)| voice && height >= target && height.0 + 2 >= highest.0 && view.0 + 1 >= newest.0;
        let calm = if standings.iter().all(|standing| standing.is_some_and(together)) { calm + 1 } else { 0 };
        self.phase = Phase::Settling { until, target, calm };
        let settled = calm >= SETTLED_SAMPLES;
        if settled {
            self.see(0, What::Settled);
            for (at, client) in self.clients.final_round(self.now) {
                self.at(at, Happening::Client(client));
            }
            // The clients that have begun now find somebody who listens within two samples.
            let through = if self.plan.watches_transactions { self.transaction_within.after(Nanos(2 * SAMPLE.0)) } else { Nanos(0) };
            self.phase = Phase::Watching { until: self.now.after(self.plan.watch_for.max(through)) };
        } else if self.now >= until {
            if !self.plan.beyond_model {
                let text = format!(
                    "not together on height {target} {} ms after the end of the faults: (height, view, voice) {standings:?}",
                    self.plan.settle_within.0 / 1_000_000
                );
                self.checkers.report(Promise::Liveness, text);
            }
            self.phase = Phase::Over;
        }
    }

    fn end(mut self) -> (Outcome, Vec<Event>) {
        self.phase = Phase::Over;
        let pairing_checks = self.actors.iter().filter_map(Actor::honest).map(pairing_checks).sum();
        for seat in 0..self.actors.len() {
            self.kill(seat, Stop::Killed);
            let Some(node) = self.actors[seat].honest() else { continue };
            match crate::disk::stored_chain(&node.disk.store) {
                Ok(chain) => self.see(seat, What::Chain(chain)),
                Err(error) => self.see(seat, What::Alarm(error.to_string())),
            }
        }
        let in_flight = |entry: &Reverse<Entry>| matches!(entry.0.happening, Happening::Arrive { .. } | Happening::Deliver { .. });
        self.network.traffic.in_flight = self.queue.iter().filter(|entry| in_flight(entry)).count() as u64;
        let traffic = self.network.traffic;
        self.see(0, What::Traffic(traffic));
        let outcome = Outcome {
            seed: self.plan.seed,
            violations: self.checkers.finish(),
            digest: Digest(*self.digest.finalize().as_bytes()),
            views: self.view.0,
            blocks: self.height.0,
            acknowledged: self.acknowledged,
            excused: self.checkers.excused(),
            events: self.events,
            lasted: self.now,
            pairing_checks,
        };
        (outcome, self.record.unwrap_or_default())
    }
}

/// Checks the process has made so far; 0 while none runs.
fn pairing_checks(node: &Node) -> u64 {
    node.validator().map_or(0, |validator| validator.consensus().stats().pairing_checks)
}

fn task_number(task: &Task) -> u64 {
    match task {
        Task::Pass => 0,
        Task::Wake => 1,
        Task::LogDone => 2,
        Task::BodyDone => 3,
        Task::StoreDone => 4,
        Task::Verified => 5,
        Task::Fetch => 6,
    }
}

fn network(plan: &Plan, dice: &mut Dice) -> Network {
    let (validators, (low, high)) = (plan.validators(), plan.network.base_ms);
    let mut links = vec![plan.network.link; validators * validators];
    for (pair, link) in links.iter_mut().enumerate() {
        match plan.placement {
            Placement::Drawn => link.base = Nanos(plan.network.link.base.0 + dice.millis(low, high).0 + 50_000),
            Placement::Regions => {
                let region = |machine: usize| machine * REGIONS.len() / validators;
                let (mean, deviation) = one_way_ms(region(pair / validators), region(pair % validators));
                (link.base, link.deviation) = (Nanos((mean * 1e6) as u64), Nanos((deviation * 1e6) as u64));
            }
        }
    }
    let mut nics = vec![plan.network.nic; validators];
    if let Some((machine, nic)) = plan.network.narrow {
        nics[machine] = nic;
    }
    Network::new(links, nics, Dice::new(plan.seed, "network"))
}

fn actor(plan: &Plan, cluster: &Arc<Cluster>, seat: usize, dice: &mut Dice) -> Actor {
    if let Some((_, kind)) = plan.hostile.iter().find(|(hostile, _)| *hostile == seat) {
        return Actor::Hostile(hostile::Kind::make(*kind));
    }
    let drift = plan.drift_ppm.unsigned_abs();
    let frame = Frame {
        me: seat,
        cluster: Arc::clone(cluster),
        params: plan.params,
        mempool: plan.mempool,
        speed: plan.speed,
        burst: plan.burst,
        bursts: plan.bursts,
        hostile: plan.hostile.iter().map(|(seat, _)| *seat).collect(),
        drift_ppm: dice.range(0, 2 * drift) as i64 - drift as i64,
        wall_skew_max_ns: plan.wall_skew.0,
    };
    Actor::Honest(Box::new(Node::new(frame, Dice::new(plan.seed, &format!("node {seat}")))))
}
