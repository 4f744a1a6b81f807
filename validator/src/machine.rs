//! The composition: which message goes to which room, and what each room's outputs become.

use crate::gossip::{Batch, LEADERS};
use crate::outlet::{Outlet, Stage};
use samara_consensus::{self as consensus, Consensus, MempoolReject, Tip, To, TransactionApp};
use samara_crypto::{Certificate, IdentitySecret, Roster, VerifiedTransaction, VoteSecret};
use samara_rotor::{Event, Incoming, Origin, Planner, Reassembly, ReassemblyConfig, ShreddedBlock, Shredder};
use samara_types::block::payload_digest;
use samara_types::message::{self, access, encode};
use samara_types::{
    Block, BlockHeader, Digest, Evidence, Height, LeaderSchedule, MessageKind, Nanos, Params, Received, Record, SignerBitmap,
    ValidatorIndex, View,
};
use std::collections::VecDeque;
use std::sync::Arc;

/// Most bytes of own blocks kept until their record is durable: two views' worth.
const OWN_BLOCKS_MAX: usize = 2;
/// How many blocks of evidence wait for their owner before the oldest is dropped.
const OUTPUTS_SOFT_MAX: usize = 4096;
/// Messages whose shreds are hashed together; a longer burst is taken in parts.
const BURST_MAX: usize = 64;

/// What makes one validator.
pub struct Config {
    /// Our seat.
    pub me: ValidatorIndex,
    /// The cluster's parameters.
    pub params: Params,
    /// Seeds the relay seats.
    pub beacon: Digest,
    /// Nanoseconds since 1970 at `Nanos(0)`, for block timestamps.
    pub wall_offset_ns: u64,
}

/// What happens to a validator. `T` is the owner's ticket for a client's answer.
pub enum Input<'a, T> {
    /// A message from a peer's session, admitted by its class.
    Message(ValidatorIndex, MessageKind, &'a [u8]),
    /// Messages that came together: the same as each as an [`Input::Message`], in this order, but their shreds are hashed together.
    Burst(&'a [Received<'a>]),
    /// So many records in all, counted from the first [`Output::Persist`], are durable, with their bodies.
    Persisted(u64),
    /// A client's transaction.
    Submit(T, VerifiedTransaction),
    /// Transactions of peers, verified outside.
    Gossip(Vec<VerifiedTransaction>),
    /// Finalized blocks from a sync stream, ending in an L-notarized one; `true` when the stream is over.
    Synced(Vec<(Block, Option<Certificate>)>, bool),
    /// Time passed; also the end of a burst, when waiting gossip leaves.
    Tick,
}

/// Steps of a block's life, for the stage budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Milestone {
    /// First shred, or the start of building it.
    Seen = 0,
    /// Body whole.
    Body = 1,
    /// Judged and handed to the log.
    Voted = 2,
    /// Our vote is durable and sent.
    Sent = 3,
    /// M-notarized.
    Notarized = 4,
    /// Final.
    Final = 5,
}

impl Milestone {
    /// Name of the stage that ends here.
    pub fn stage(self) -> &'static str {
        match self {
            Milestone::Seen => "start",
            Milestone::Body => "disseminate",
            Milestone::Voted => "judge",
            Milestone::Sent => "vote_log",
            Milestone::Notarized => "notarize",
            Milestone::Final => "finalize",
        }
    }
}

/// What a validator wants done.
#[derive(Clone, Debug)]
pub enum Output<T> {
    /// Make this durable, in order, with the body if there is one.
    Persist(Record, Option<Arc<Block>>),
    /// Tell a client: taken, or why not.
    Answer(T, Result<(), MempoolReject>),
    /// Check these transactions' signatures and hand them back as [`Input::Gossip`].
    Verify(ValidatorIndex, Vec<u8>),
    /// Start the sync stream above this height from one of these.
    Sync(Height, SignerBitmap),
    /// Store this, then acknowledge its transactions.
    Finalized(Arc<Block>, Option<Box<Certificate>>),
    /// Keep this.
    Evidence(Evidence),
    /// A view begins.
    Entered(View),
    /// A view ended by nullification.
    Nullified(View),
    /// For the stage budget.
    Milestone(View, Milestone),
    /// The chain contradicts itself: stop.
    SafetyViolation(View, Digest),
}

/// Plain counters of this crate.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Messages that are not what their kind says.
    pub malformed: u64,
    /// Blocks proposed.
    pub proposed_blocks: u64,
    /// Shreds sent on as a relay.
    pub relayed: u64,
    /// Transactions of peers refused by the mempool.
    pub gossip_refused: u64,
    /// Answers to requests for bodies refused (see rotor).
    pub repair_rejects: u64,
    /// Outputs dropped because the owner did not drain (evidence and milestones only).
    pub outputs_dropped: u64,
}

/// A validator.
pub struct Validator<T> {
    config: Config,
    roster: Arc<Roster>,
    schedule: LeaderSchedule,
    identity: IdentitySecret,
    by_stake: Vec<ValidatorIndex>,
    consensus: Consensus<TransactionApp>,
    reassembly: Reassembly,
    shredder: Shredder,
    /// Own blocks between coding and sending.
    own: VecDeque<ShreddedBlock>,
    batch: Batch,
    scratch: Vec<u8>,
    seen: View,
    outputs: VecDeque<Output<T>>,
    counters: Counters,
}

impl<T> Validator<T> {
    /// A validator as it stood when its last record became durable.
    pub fn new(
        config: Config,
        roster: Arc<Roster>,
        schedule: LeaderSchedule,
        secrets: (VoteSecret, IdentitySecret),
        app: TransactionApp,
        recovery: consensus::Recovery,
        now: Nanos,
    ) -> Validator<T> {
        let set = roster.set();
        let mut reassembly = Reassembly::new(ReassemblyConfig::new(config.me, config.params, set), set, schedule.clone(), config.beacon);
        reassembly.plant(roster.mutant());
        let mut blocks = recovery.blocks.clone();
        blocks.sort_by_key(|block| block.header().view);
        let (final_blocks, open_blocks) = blocks.split_at(blocks.partition_point(|block| block.header().view <= recovery.tip.view));
        // Final blocks are held for those a little behind, as if they had just become final one after the other.
        for block in final_blocks {
            let view = block.header().view;
            reassembly.advance(view.previous(), view);
            reassembly.insert_block(now, block);
        }
        reassembly.advance(recovery.tip.view, recovery.tip.view.next());
        for block in open_blocks {
            reassembly.insert_block(now, block);
        }
        let shredder = Shredder::new(Planner::new(&config.params, set), *roster.domain());
        let by_stake = set.by_stake();
        let rules = consensus::Config { me: config.me, params: config.params };
        let consensus = Consensus::new(rules, Arc::clone(&roster), schedule.clone(), secrets.0, app, recovery, now);
        Validator {
            config,
            roster,
            schedule,
            identity: secrets.1,
            by_stake,
            consensus,
            reassembly,
            shredder,
            own: VecDeque::new(),
            batch: Batch::default(),
            scratch: Vec::with_capacity(samara_types::datagram::MESSAGE_BYTES_MAX),
            seen: View::GENESIS,
            outputs: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Takes one input to the end: everything it makes possible happens now.
    pub fn handle(&mut self, now: Nanos, input: Input<'_, T>, out: &mut dyn Outlet) {
        match input {
            Input::Message(from, kind, bytes) => self.on_message(now, from, kind, bytes, out),
            Input::Burst(messages) => messages.chunks(BURST_MAX).for_each(|burst| self.on_burst(now, burst, out)),
            Input::Persisted(records) => self.consensus_input(now, consensus::Input::Persisted(records), out),
            Input::Submit(ticket, transaction) => self.on_submit(now, ticket, transaction, out),
            Input::Gossip(transactions) => self.on_gossip(now, transactions, out),
            Input::Synced(run, done) => self.on_synced(now, run, done, out),
            Input::Tick => self.on_tick(now, out),
        }
    }

    /// The next thing for the owner to do. Drain after every [`Validator::handle`].
    pub fn poll(&mut self) -> Option<Output<T>> {
        self.outputs.pop_front()
    }

    /// When to call with [`Input::Tick`] at the latest.
    pub fn next_deadline(&self) -> Option<Nanos> {
        [self.consensus.next_deadline(), self.reassembly.next_deadline(), self.batch.due()].into_iter().flatten().min()
    }

    /// Consensus, for its view, tip, application and counters.
    pub fn consensus(&self) -> &Consensus<TransactionApp> {
        &self.consensus
    }

    /// Reassembly, for its counters.
    pub fn reassembly(&self) -> &Reassembly {
        &self.reassembly
    }

    /// Counters of this crate.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn on_burst(&mut self, now: Nanos, burst: &[Received<'_>], out: &mut dyn Outlet) {
        let mut shreds = [Incoming::new(ValidatorIndex(0), false, &[]); BURST_MAX];
        let mut count = 0;
        for shred in burst.iter().filter_map(as_shred) {
            shreds[count] = shred;
            count += 1;
        }
        if count > 1 {
            self.reassembly.prepare(&mut shreds[..count]);
            out.spent(Stage::VerifyShred);
        }
        let mut verdicts = self.verify_certificates(burst, out).into_iter();
        let mut prepared = shreds[..count].iter();
        for message in burst {
            if let Some(shred) = as_shred(message).and_then(|_| prepared.next()) {
                self.on_shred(now, shred, message.bytes, out);
                continue;
            }
            match as_certificate(message).and_then(|wire| Some((wire, verdicts.next()??))) {
                Some((wire, verdict)) => self.note(now, Some(consensus::Input::Verified(message.from, wire, verdict)), out),
                None => self.on_message(now, message.from, message.kind, message.bytes, out),
            }
        }
    }

    /// Verdicts on the certificates of a burst, in their order, as far as verifying them together is worth it.
    fn verify_certificates(&mut self, burst: &[Received<'_>], out: &mut dyn Outlet) -> Vec<Option<consensus::CertificateVerdict>> {
        let wires: Vec<_> = burst.iter().filter_map(|message| Some((message.from, as_certificate(message)?))).collect();
        if wires.len() < 2 {
            return Vec::new();
        }
        let checks = self.consensus.stats().pairing_checks;
        let verdicts = self.consensus.verify_together(&wires);
        self.charge(checks, Stage::Consensus, out);
        verdicts
    }

    fn on_message(&mut self, now: Nanos, from: ValidatorIndex, kind: MessageKind, bytes: &[u8], out: &mut dyn Outlet) {
        use consensus::Input as To;
        match kind {
            MessageKind::Shred | MessageKind::RepairShred => {
                self.on_shred(now, &Incoming::new(from, kind == MessageKind::RepairShred, bytes), bytes, out);
            }
            MessageKind::Announce => {
                // Its refusal is counted by reason where it happens.
                let _ = self.reassembly.on_announce(now, &self.roster, from, bytes);
                out.spent(Stage::VerifyShred);
                self.drain_reassembly(now, out);
            }
            MessageKind::Vote => self.note(now, access(bytes).map(|vote| To::Vote(from, vote)), out),
            MessageKind::Nullify => self.note(now, access(bytes).map(|nullify| To::Nullify(from, nullify)), out),
            MessageKind::Certificate => self.note(now, access(bytes).map(|c| To::Certificate(from, c)), out),
            MessageKind::CertificateRequest => self.rule(now, access(bytes).map(|r| To::CertificateRequest(from, r)), out),
            MessageKind::Status => self.rule(now, access(bytes).map(|status| To::Status(from, status)), out),
            MessageKind::ManifestRequest => self.on_manifest_request(now, from, bytes, out),
            MessageKind::ShredRequest => self.on_shred_request(from, bytes, out),
            MessageKind::Manifest => {
                if self.reassembly.on_manifest(now, from, bytes).is_err() {
                    self.counters.repair_rejects += 1;
                }
                self.drain_reassembly(now, out);
                out.spent(Stage::Repair);
            }
            MessageKind::Transactions => match access::<message::ArchivedTransactionBatch>(bytes) {
                Some(batch) => self.outputs.push_back(Output::Verify(from, batch.payload.to_vec())),
                None => self.counters.malformed += 1,
            },
        }
    }

    fn rule(&mut self, now: Nanos, input: Option<consensus::Input<'_>>, out: &mut dyn Outlet) {
        match input {
            Some(input) => self.consensus_input(now, input, out),
            None => self.counters.malformed += 1,
        }
    }

    /// Votes and certificates go into the books; the rules are evaluated once for the whole burst, by the tick that ends it.
    fn note(&mut self, now: Nanos, input: Option<consensus::Input<'_>>, out: &mut dyn Outlet) {
        let Some(input) = input else {
            self.counters.malformed += 1;
            return;
        };
        let checks = self.consensus.stats().pairing_checks;
        self.consensus.note(now, input);
        self.charge(checks, Stage::Consensus, out);
        self.drain_consensus(now, out);
    }

    /// Charges the last stretch to the batch check if one was made, else to `otherwise`.
    fn charge(&self, checks_before: u64, otherwise: Stage, out: &mut dyn Outlet) {
        let checked = self.consensus.stats().pairing_checks > checks_before;
        out.spent(if checked { Stage::BatchVerify } else { otherwise });
    }

    fn on_shred(&mut self, now: Nanos, shred: &Incoming<'_>, bytes: &[u8], out: &mut dyn Outlet) {
        let accepted = self.reassembly.admit(now, &self.roster, shred);
        let Ok(accepted) = accepted else { return self.after_shred(now, out) };
        let view = samara_types::ShredHeader::view_of(bytes).unwrap_or_default();
        self.milestone_seen(view);
        if accepted.relay {
            out.spent(Stage::VerifyShred);
            self.relay(self.schedule.leader(view), bytes, out);
        }
        self.after_shred(now, out);
    }

    fn milestone_seen(&mut self, view: View) {
        if view > self.seen {
            self.seen = view;
            self.push_trace(Output::Milestone(view, Milestone::Seen));
        }
    }

    fn after_shred(&mut self, now: Nanos, out: &mut dyn Outlet) {
        let completed = self.drain_reassembly_timed(now, out);
        if !completed {
            out.spent(Stage::VerifyShred);
        }
    }

    /// The same bytes to everybody but the leader and us, next leader first, then by decreasing stake.
    fn relay(&mut self, leader: ValidatorIndex, bytes: &[u8], out: &mut dyn Outlet) {
        for at in 0..self.by_stake.len() {
            let to = self.by_stake[at];
            if to != leader && to != self.config.me {
                out.send(to, MessageKind::Shred, bytes);
            }
        }
        self.counters.relayed += 1;
        out.spent(Stage::Relay);
    }

    fn on_manifest_request(&mut self, now: Nanos, from: ValidatorIndex, bytes: &[u8], out: &mut dyn Outlet) {
        self.hold_again(now, bytes);
        if access::<message::ArchivedManifestRequest>(bytes).is_none() {
            self.counters.malformed += 1;
        } else if let Some(manifest) = self.reassembly.serve_manifest(bytes) {
            out.send(from, MessageKind::Manifest, &manifest);
        }
        out.spent(Stage::Repair);
    }

    /// Reassembly may have dropped for want of room, or not taken yet, what consensus still holds.
    fn hold_again(&mut self, now: Nanos, request: &[u8]) {
        let Some(request) = access::<message::ArchivedManifestRequest>(request) else { return };
        let (view, digest) = (View(request.view.to_native()), Digest(request.digest));
        if self.reassembly.block(view, &digest).is_none()
            && let Some(block) = self.consensus.block(view, &digest)
        {
            let block = Arc::clone(block);
            self.reassembly.insert_block(now, &block);
        }
    }

    fn on_shred_request(&mut self, from: ValidatorIndex, bytes: &[u8], out: &mut dyn Outlet) {
        if access::<message::ArchivedShredRequest>(bytes).is_none() {
            self.counters.malformed += 1;
        } else {
            self.reassembly.serve_shreds(bytes, |shred| out.send(from, MessageKind::RepairShred, shred));
        }
        out.spent(Stage::Repair);
    }

    fn on_submit(&mut self, now: Nanos, ticket: T, transaction: VerifiedTransaction, out: &mut dyn Outlet) {
        let next = self.consensus.tip().height.next();
        let taken = self.consensus.app_mut().submit(transaction.clone(), next);
        if taken.is_ok()
            && let Some(full) = self.batch.push(now, transaction.bytes())
        {
            self.send_gossip(&full, out);
        }
        self.outputs.push_back(Output::Answer(ticket, taken));
        out.spent(Stage::Mempool);
        self.consensus_input(now, consensus::Input::Work, out);
    }

    fn on_gossip(&mut self, now: Nanos, transactions: Vec<VerifiedTransaction>, out: &mut dyn Outlet) {
        let next = self.consensus.tip().height.next();
        for transaction in transactions {
            if self.consensus.app_mut().gossip(transaction, next).is_err() {
                self.counters.gossip_refused += 1;
            }
        }
        out.spent(Stage::Mempool);
        self.consensus_input(now, consensus::Input::Work, out);
    }

    /// To the distinct leaders of the coming views.
    fn send_gossip(&mut self, message: &[u8], out: &mut dyn Outlet) {
        let view = self.consensus.view();
        let mut told = SignerBitmap::default();
        told.insert(self.config.me);
        for ahead in 0..LEADERS {
            let leader = self.schedule.leader(View(view.0.saturating_add(ahead)));
            if told.insert(leader) {
                out.send(leader, MessageKind::Transactions, message);
            }
        }
    }

    fn on_synced(&mut self, now: Nanos, run: Vec<(Block, Option<Certificate>)>, done: bool, out: &mut dyn Outlet) {
        let run = run.into_iter().map(|(block, certificate)| (Arc::new(block), certificate)).collect();
        self.consensus_input(now, consensus::Input::Synced(run), out);
        if done {
            self.consensus_input(now, consensus::Input::SyncEnded, out);
        }
    }

    fn on_tick(&mut self, now: Nanos, out: &mut dyn Outlet) {
        if self.batch.due().is_some_and(|due| due <= now)
            && let Some(message) = self.batch.take()
        {
            self.send_gossip(&message, out);
            out.spent(Stage::Mempool);
        }
        if self.consensus.has_noted() || self.consensus.next_deadline().is_some_and(|at| at <= now) {
            self.consensus_input(now, consensus::Input::Tick, out);
        }
        self.drain_reassembly(now, out);
        let mut asked = false;
        while let Some((to, request)) = self.reassembly.poll_request(now) {
            out.send(to, request.kind(), request.bytes());
            asked = true;
        }
        if asked {
            out.spent(Stage::Repair);
        }
    }

    /// One input of consensus; the time goes to the dearest thing it did.
    fn consensus_input(&mut self, now: Nanos, input: consensus::Input<'_>, out: &mut dyn Outlet) {
        let checks = self.consensus.stats().pairing_checks;
        self.consensus.handle(now, input);
        self.charge(checks, Stage::Consensus, out);
        self.drain_consensus(now, out);
    }

    fn drain_consensus(&mut self, now: Nanos, out: &mut dyn Outlet) {
        while let Some(output) = self.consensus.poll() {
            self.act(now, output, out);
        }
    }

    fn act(&mut self, now: Nanos, output: consensus::Output, out: &mut dyn Outlet) {
        use consensus::Output as From;
        match output {
            From::Persist(record, body) => {
                if let Record::Vote(view, _) = record {
                    self.push_trace(Output::Milestone(view, Milestone::Voted));
                }
                self.outputs.push_back(Output::Persist(record, body));
            }
            From::SendVote(to, vote) => {
                if to == To::All {
                    self.push_trace(Output::Milestone(View(vote.view), Milestone::Sent));
                }
                post(out, to, MessageKind::Vote, &encode(&vote));
            }
            From::SendNullify(to, nullify) => post(out, to, MessageKind::Nullify, &encode(&nullify)),
            From::SendCertificate(to, certificate) => {
                if to == To::All && certificate.kind() == message::CertificateKind::M {
                    self.push_trace(Output::Milestone(certificate.view(), Milestone::Notarized));
                }
                post(out, to, MessageKind::Certificate, &encode(&certificate.to_message()));
            }
            From::SendStatus(to, status) => post(out, to, MessageKind::Status, &encode(&status)),
            From::SendCertificateRequest(to, request) => post(out, to, MessageKind::CertificateRequest, &encode(&request)),
            From::Propose { view, parent, ancestors } => self.propose(now, view, &parent, &ancestors, out),
            From::Disseminate(view, digest) => self.disseminate(view, &digest, out),
            From::Fetch { view, digest, holders } => self.fetch(now, view, digest, holders, out),
            From::Sync { above, peers } => self.outputs.push_back(Output::Sync(above, peers)),
            From::Finalized(block, certificate) => {
                self.push_trace(Output::Milestone(block.header().view, Milestone::Final));
                self.reassembly.advance(block.header().view, self.consensus.view());
                self.outputs.push_back(Output::Finalized(block, certificate));
            }
            From::Evidence(evidence) => self.push_trace(Output::Evidence(evidence)),
            From::Entered(view) => {
                self.reassembly.advance(self.consensus.tip().view, view);
                self.outputs.push_back(Output::Entered(view));
            }
            From::Nullified(view) => self.outputs.push_back(Output::Nullified(view)),
            From::SafetyViolation(view, digest) => self.outputs.push_back(Output::SafetyViolation(view, digest)),
        }
    }

    fn push_trace(&mut self, output: Output<T>) {
        if self.outputs.len() < OUTPUTS_SOFT_MAX {
            self.outputs.push_back(output);
        } else {
            self.counters.outputs_dropped += 1;
        }
    }

    fn propose(&mut self, now: Nanos, view: View, parent: &Tip, ancestors: &[Arc<Block>], out: &mut dyn Outlet) {
        self.milestone_seen(view);
        let payload = self.consensus.build_payload(view, parent, ancestors);
        let header = BlockHeader {
            view,
            parent_view: parent.view,
            parent_digest: parent.digest,
            height: parent.height.next(),
            timestamp_ns: self.config.wall_offset_ns.saturating_add(now.0),
            payload_length: payload.len() as u32,
            leader: self.config.me,
            payload_digest: payload_digest(&payload),
        };
        // The slices are signed here and sent by `disseminate`, once the record is durable.
        let shredded = self.shredder.shred(header, payload, &self.identity).expect("the header was just made for this payload");
        let block = Arc::clone(&shredded.block);
        self.reassembly.insert_own(now, &shredded);
        self.own.push_back(shredded);
        if self.own.len() > OWN_BLOCKS_MAX {
            self.own.pop_front();
        }
        self.counters.proposed_blocks += 1;
        self.push_trace(Output::Milestone(view, Milestone::Body));
        out.spent(Stage::Propose);
        self.consensus_input(now, consensus::Input::Proposed(block), out);
    }

    /// Announcements to all where the class has them, then every relay's shreds in one run.
    fn disseminate(&mut self, view: View, digest: &Digest, out: &mut dyn Outlet) {
        let Some(at) = self.own.iter().position(|own| own.block.header().view == view && own.block.digest() == *digest) else { return };
        let own = self.own.remove(at).expect("a position was just found");
        if own.class == samara_rotor::Dissemination::Hybrid {
            for slice in &own.slices {
                out.broadcast(MessageKind::Announce, &slice.announcement());
            }
        }
        let next_leader = self.schedule.leader(view.next());
        for addressed in own.send_order(self.reassembly.relay_table(), &self.by_stake, next_leader) {
            self.scratch.clear();
            own.slices[addressed.slice.at()].write_shred(addressed.index, &mut self.scratch);
            out.send(addressed.to, MessageKind::Shred, &self.scratch);
        }
        out.spent(Stage::Propose);
    }

    fn fetch(&mut self, now: Nanos, view: View, digest: Digest, holders: SignerBitmap, out: &mut dyn Outlet) {
        if let Some(block) = self.reassembly.block(view, &digest) {
            let block = Arc::clone(block);
            return self.consensus_input(now, consensus::Input::Fetched(block), out);
        }
        self.reassembly.want(now, view, digest, holders);
    }

    fn drain_reassembly(&mut self, now: Nanos, out: &mut dyn Outlet) {
        self.drain_reassembly_timed(now, out);
    }

    /// What reassembly found; true if a block was completed (then the time before went into decoding).
    fn drain_reassembly_timed(&mut self, now: Nanos, out: &mut dyn Outlet) -> bool {
        while let Some(relay) = self.reassembly.poll_relay() {
            self.relay(relay.leader, &relay.message, out);
        }
        let mut completed = false;
        while let Some(event) = self.reassembly.poll_event() {
            match event {
                Event::Block(block, origin) => {
                    completed = true;
                    out.spent(Stage::Decode);
                    self.on_block(now, block, origin, out);
                }
                Event::Equivocation(evidence) => {
                    self.consensus_input(now, consensus::Input::Equivocated(evidence.view), out);
                    self.push_trace(Output::Evidence(evidence));
                }
                Event::Malformed(evidence) => {
                    self.consensus_input(now, consensus::Input::Malformed(evidence.view), out);
                    self.push_trace(Output::Evidence(evidence));
                }
                Event::Misbehaved(evidence) => self.push_trace(Output::Evidence(evidence)),
            }
        }
        completed
    }

    fn on_block(&mut self, now: Nanos, block: Arc<Block>, origin: Origin, out: &mut dyn Outlet) {
        let view = block.header().view;
        self.push_trace(Output::Milestone(view, Milestone::Body));
        let input = match origin {
            Origin::Disseminated => consensus::Input::Proposal(block),
            Origin::Repaired => consensus::Input::Fetched(block),
        };
        let checks = self.consensus.stats().pairing_checks;
        self.consensus.handle(now, input);
        self.charge(checks, Stage::Application, out);
        self.drain_consensus(now, out);
    }
}

/// A message as a shred, if it is one.
fn as_shred<'a>(message: &Received<'a>) -> Option<Incoming<'a>> {
    let repaired = message.kind == MessageKind::RepairShred;
    (repaired || message.kind == MessageKind::Shred).then(|| Incoming::new(message.from, repaired, message.bytes))
}

/// A message as a certificate, if it is a well-formed one.
fn as_certificate<'a>(message: &Received<'a>) -> Option<&'a message::ArchivedCertificate> {
    (message.kind == MessageKind::Certificate).then(|| access(message.bytes)).flatten()
}

fn post(out: &mut dyn Outlet, to: To, kind: MessageKind, message: &[u8]) {
    match to {
        To::All => out.broadcast(kind, message),
        To::One(one) => out.send(one, kind, message),
    }
}
