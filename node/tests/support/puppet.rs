//! Seat 5 in the test's hands: a real port, real sessions and the real machine, and a conduct between the machine's mouth and the wire.

use super::HOSTILE;
use super::cluster::Honest;
use samara_consensus::{Recovery, Tip, TransactionApp};
use samara_crypto::{Certificate, Keyring, Roster};
use samara_dataplane::frame::Frame;
use samara_dataplane::port::udp::UdpPort;
use samara_dataplane::port::{Port, PortConfig};
use samara_dataplane::session::{Opened, SealError, SessionConfig, SessionLimits, Sessions};
use samara_node::inspect::open_store;
use samara_storage::BlockStore;
use samara_types::block::genesis_digest;
use samara_types::message::{CertificateKind, access, encode};
use samara_types::{
    Block, Digest, Epoch, Evidence, Height, LeaderSchedule, MessageKind, Nanos, Record, SigningDomain, ValidatorIndex, View,
};
use samara_validator::{Config, Input, Outlet, Output, Stage, Validator};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Something the machine would say.
pub struct Saying {
    /// To whom; everybody else if None.
    pub to: Option<ValidatorIndex>,
    pub kind: MessageKind,
    pub bytes: Vec<u8>,
}

/// What a hostile member makes of its seat. The defaults are those of a member that only listens.
pub trait Conduct {
    /// A message arrived; the machine may get it afterwards.
    fn on_message(&mut self, _from: ValidatorIndex, _kind: MessageKind, _message: &[u8], _mouth: &mut Mouth<'_>) {}
    /// Whether the machine gets messages of this kind: not those the conduct itself asked for.
    fn hears(&self, _kind: MessageKind) -> bool {
        true
    }
    /// The machine would say this.
    fn on_saying(&mut self, _saying: Saying, _mouth: &mut Mouth<'_>) {}
    /// It is our turn to lead: the block an honest leader would propose.
    fn on_own_block(&mut self, _block: &Block, _mouth: &mut Mouth<'_>) {}
    /// Once a pass, with the current view.
    fn on_pass(&mut self, _view: View, _mouth: &mut Mouth<'_>) {}
}

/// What a conduct speaks through: sessions and the port.
pub struct Mouth<'a> {
    now: Nanos,
    sessions: &'a mut Sessions,
    port: &'a mut UdpPort,
}

impl Mouth<'_> {
    /// Seals and queues; false while there is no session with `to`.
    pub fn send(&mut self, to: ValidatorIndex, kind: MessageKind, message: &[u8]) -> bool {
        let mut frame = self.frame();
        match self.sessions.seal(self.now, to, kind, message, &mut frame) {
            Ok((len, address)) => {
                frame.set_len(len);
                self.port.tx(frame, address);
                true
            }
            Err(SealError::NoSession) => {
                self.port.release(frame);
                false
            }
            Err(error) => panic!("{} of {} B cannot be sealed: {error:?}", kind.as_str(), message.len()),
        }
    }

    /// To all others.
    pub fn broadcast(&mut self, kind: MessageKind, message: &[u8]) {
        for to in (0..self.sessions.validators() as u16).map(ValidatorIndex).filter(|to| *to != HOSTILE) {
            self.send(to, kind, message);
        }
    }

    /// As the machine wanted it.
    pub fn say(&mut self, saying: &Saying) {
        match saying.to {
            Some(to) => {
                self.send(to, saying.kind, &saying.bytes);
            }
            None => self.broadcast(saying.kind, &saying.bytes),
        }
    }

    fn frame(&mut self) -> Frame {
        loop {
            match self.port.tx_frame() {
                Some(frame) => return frame,
                None => self.port.flush(),
            }
        }
    }
}

/// Collects what the machine says.
#[derive(Default)]
struct Sayings(Vec<Saying>);

impl Outlet for Sayings {
    fn send(&mut self, to: ValidatorIndex, kind: MessageKind, message: &[u8]) {
        self.0.push(Saying { to: Some(to), kind, bytes: message.to_vec() });
    }

    fn broadcast(&mut self, kind: MessageKind, message: &[u8]) {
        self.0.push(Saying { to: None, kind, bytes: message.to_vec() });
    }

    fn spent(&mut self, _stage: Stage) {}
}

/// The hostile member.
pub struct Puppet {
    roster: Arc<Roster>,
    /// A validator whose store stands in for the catch-up stream.
    neighbour: PathBuf,
    port: UdpPort,
    sessions: Sessions,
    machine: Validator<()>,
    base: Instant,
    records: u64,
    sayings: Sayings,
    /// What it saw become final.
    pub finalized: BTreeMap<Height, Digest>,
    /// What its own machine holds against others.
    pub accused: Vec<Evidence>,
}

impl Puppet {
    /// Takes the seat: the member's key file, its address, a fresh machine at genesis.
    pub fn new(honest: &Honest) -> Puppet {
        let keyring = honest.hostile_keys();
        let boot_ns = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
        let domain = SigningDomain { chain: honest.genesis.chain, epoch: Epoch(0) };
        let roster = Arc::new(Roster::new(honest.genesis.set.clone(), domain).unwrap());
        Puppet {
            port: UdpPort::bind(honest.genesis.addresses[HOSTILE.at()].datagram, &PortConfig::default()).unwrap(),
            sessions: sessions(honest, &keyring, boot_ns),
            machine: machine(honest, Arc::clone(&roster), &keyring, boot_ns),
            roster,
            neighbour: honest.path(0),
            base: Instant::now(),
            records: 0,
            sayings: Sayings::default(),
            finalized: BTreeMap::new(),
            accused: Vec::new(),
        }
    }

    /// The view it is in.
    pub fn view(&self) -> View {
        self.machine.consensus().view()
    }

    /// Members it has a session with.
    pub fn up(&self) -> usize {
        self.sessions.up()
    }

    /// A sealed datagram of ours, unsent.
    pub fn seal(&mut self, to: ValidatorIndex, kind: MessageKind, message: &[u8]) -> Vec<u8> {
        let mut out = vec![0; 2048];
        let (len, _) = self.sessions.seal(self.now(), to, kind, message, &mut out).unwrap();
        out.truncate(len);
        out
    }

    fn now(&self) -> Nanos {
        Nanos(self.base.elapsed().as_nanos() as u64)
    }

    /// Takes in what came, lets the machine and the conduct have their say, then waits a millisecond at most for more.
    pub fn pass(&mut self, conduct: &mut dyn Conduct) {
        let now = self.now();
        let mut frames = Vec::new();
        self.port.rx_burst(&mut frames, 64);
        for mut frame in frames {
            let opened = self.sessions.open(now, frame.peer(), &mut frame);
            if let Opened::Message { peer, kind, start, len } = opened {
                let message = frame[start..start + len].to_vec();
                conduct.on_message(peer, kind, &message, &mut self.mouth(now));
                if conduct.hears(kind) {
                    self.input(now, Input::Message(peer, kind, &message), conduct);
                }
            }
            self.port.release(frame);
        }
        self.input(now, Input::Tick, conduct);
        let view = self.view();
        conduct.on_pass(view, &mut self.mouth(now));
        self.send_session_datagrams(now);
        self.port.wait(Some(Duration::from_millis(1)), &[]);
    }

    fn mouth(&mut self, now: Nanos) -> Mouth<'_> {
        Mouth { now, sessions: &mut self.sessions, port: &mut self.port }
    }

    /// The machine's records count as durable at once: this member has nothing to lose.
    fn input(&mut self, now: Nanos, input: Input<'_, ()>, conduct: &mut dyn Conduct) {
        self.machine.handle(now, input, &mut self.sayings);
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Persist(record, body) => {
                    self.records += 1;
                    if let (Record::Proposal(..), Some(block)) = (record, body) {
                        conduct.on_own_block(&block, &mut self.mouth(now));
                    }
                    self.machine.handle(now, Input::Persisted(self.records), &mut self.sayings);
                }
                Output::Finalized(block, _) => drop(self.finalized.insert(block.header().height, block.digest())),
                Output::Evidence(evidence) => self.accused.push(evidence),
                Output::Sync(above, _) => {
                    let run = self.catch_up(above);
                    self.machine.handle(now, Input::Synced(run, true), &mut self.sayings);
                }
                Output::SafetyViolation(view, digest) => panic!("view {view} finalizes {digest} against what is final"),
                _ => {}
            }
        }
        for saying in std::mem::take(&mut self.sayings.0) {
            conduct.on_saying(saying, &mut self.mouth(now));
        }
    }

    /// Stored blocks above a height, up to the last one with an L-notarization of its own.
    fn catch_up(&self, above: Height) -> Vec<(Block, Option<Certificate>)> {
        let store = open_store(&self.neighbour).unwrap();
        let mut run = Vec::new();
        for stored in store.blocks_from(above.next(), 256).unwrap() {
            let wire = store.certificate(stored.header().view, CertificateKind::L).unwrap();
            let certificate = wire.map(|wire| self.roster.verify_certificate(access(&encode(&wire)).unwrap()).unwrap());
            run.push((stored.to_block().unwrap(), certificate));
        }
        let proven = run.iter().rposition(|(_, certificate)| certificate.is_some()).map_or(0, |last| last + 1);
        run.truncate(proven);
        run
    }

    fn send_session_datagrams(&mut self, now: Nanos) {
        loop {
            let mut frame = self.mouth(now).frame();
            let Some((to, len)) = self.sessions.poll_transmit(now, &mut frame) else {
                return self.port.release(frame);
            };
            frame.set_len(len);
            self.port.tx(frame, to);
        }
    }
}

/// The sessions of the seat, with its own key.
pub fn sessions(honest: &Honest, keyring: &Keyring, boot_ns: u64) -> Sessions {
    let genesis = &honest.genesis;
    let keys = genesis.set.entries().iter().map(|entry| entry.session_key);
    let config = SessionConfig {
        chain: genesis.chain,
        me: HOSTILE,
        secret: *keyring.session.to_bytes(),
        peers: keys.zip(genesis.addresses.iter().map(|addresses| addresses.datagram)).collect(),
        cluster_fingerprint: genesis.fingerprint(),
        boot_ns,
        limits: SessionLimits::default(),
    };
    Sessions::new(config, [17; 32])
}

fn machine(honest: &Honest, roster: Arc<Roster>, keyring: &Keyring, boot_ns: u64) -> Validator<()> {
    let genesis = &honest.genesis;
    let schedule = LeaderSchedule::new(&genesis.set, &genesis.seed, Epoch(0));
    let tip = Tip { view: View::GENESIS, height: Height(0), digest: genesis_digest(&genesis.chain) };
    let recovery = Recovery { tip, tip_certificate: None, blocks: vec![], records: vec![], amnesia: false };
    let config = Config { me: HOSTILE, params: genesis.params, beacon: genesis.seed, wall_offset_ns: boot_ns };
    let app = TransactionApp::new(genesis.chain, genesis.params.dedup_heights, 1024, 1 << 20);
    let secrets = (keyring.vote.clone(), keyring.identity.clone());
    Validator::new(config, roster, schedule, secrets, app, recovery, Nanos(0))
}
