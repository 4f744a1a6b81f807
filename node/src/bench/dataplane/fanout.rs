//! Relay fan-out: one received frame, opened, and sealed for every peer straight into send frames.
//!
//! ```text
//!   far: leader seals a full shred -> near: relay opens it, seals N copies, one flush -> far: N peers, counted
//! ```
//! Latency is from the leader's send to the arrival of the last copy, one shred under way; the rate is that of copies with several under way.
//! All peers share the far core, which opens the copies of the first shred and counts the rest: opening 63 streams there would measure the
//! peers, of which a relay has 63 machines, not one core.

use super::cases::{Dress, Size};
use super::ends::{End, Measured, Setup};
use super::net::Side;
use super::talk::{Era, KIND, sessions, star};
use crate::exit::Exit;
use samara_dataplane::frame::Frame;
use samara_dataplane::port::{BURST_MAX, Port};
use samara_dataplane::session::{Opened, Sessions};
use samara_types::{Nanos, ValidatorIndex};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Shreds under way while the rate is measured.
const WINDOW: u64 = 8;
/// Copies that do not arrive within this time are lost.
const LOST_AFTER: Duration = Duration::from_millis(20);

/// One received frame to `peers` peers.
pub fn fan_out(setup: Setup<'_>, peers: usize, time: Duration) -> Result<Measured, Exit> {
    let addresses = Side::BOTH.map(|side| setup.net.address(side));
    let [leader_in, leader] = sessions(addresses);
    let to: Vec<SocketAddr> = (0..peers).map(|peer| setup.net.peer(peer)).collect();
    let (peers_out, machines) = star(addresses[0], &to);
    let era = Era::start();
    let setup = Setup { far_any: true, ..setup };
    let relay = Relay { leader: leader_in, peers: peers_out, to, era };
    let far = |port: Box<dyn Port>, end: End<'_>| {
        let field = Field { port, era, leader, relay: end.to, peers, frames: Vec::with_capacity(BURST_MAX) };
        let measured = field.measure(machines, time);
        end.meeting.stop();
        measured
    };
    let (faults, measured, stretch) = setup.run_ports(|port, end| relay.run(port, &end), far)?;
    if faults > 0 {
        return Err(Exit::failed(format!("fan-out to {peers}: {faults} datagrams were no shreds of the leader")));
    }
    Ok(Measured { stretch, ..measured? })
}

/// The near end.
struct Relay {
    leader: Sessions,
    peers: Sessions,
    to: Vec<SocketAddr>,
    era: Era,
}

impl Relay {
    /// Relays until the far end stops; returns how many datagrams were no shreds.
    fn run(mut self, mut port: Box<dyn Port>, end: &End<'_>) -> u64 {
        let mut frames = Vec::with_capacity(BURST_MAX);
        let mut faults = 0;
        while !end.meeting.stopped() {
            port.rx_burst(&mut frames, BURST_MAX);
            for mut frame in frames.drain(..) {
                let now = self.era.now();
                match self.leader.open(now, end.to, &mut frame) {
                    Opened::Message { start, len, .. } => self.copy_out(now, &frame[start..start + len], port.as_mut(), end),
                    Opened::Consumed | Opened::Dropped(_) => faults += 1,
                }
                port.release(frame);
            }
        }
        faults
    }

    /// Seals `shred` for every peer into send frames.
    fn copy_out(&mut self, now: Nanos, shred: &[u8], port: &mut dyn Port, end: &End<'_>) {
        for (at, to) in self.to.iter().enumerate() {
            let mut frame = loop {
                match port.tx_frame() {
                    Some(frame) => break frame,
                    None if end.meeting.stopped() => return,
                    None => port.flush(),
                }
            };
            let peer = ValidatorIndex(at as u16 + 1);
            let (len, _) = self.peers.seal(now, peer, KIND, shred, &mut frame).expect("the session is up and the shred fits");
            frame.set_len(len);
            port.tx(frame, *to);
        }
        port.flush();
    }
}

/// The far end: the leader and all peers.
struct Field {
    port: Box<dyn Port>,
    era: Era,
    leader: Sessions,
    relay: SocketAddr,
    peers: usize,
    frames: Vec<Frame>,
}

impl Field {
    fn measure(mut self, machines: Vec<Sessions>, time: Duration) -> Result<Measured, Exit> {
        let mut measured = Measured::default();
        self.verify(machines)?;
        let began = Instant::now();
        while began.elapsed() < time / 2 {
            let start = Instant::now();
            self.send();
            match self.await_copies(self.peers) {
                0 => measured.latency.record(start.elapsed().as_nanos() as u64),
                missing => measured.lost += self.quieten(missing) as u64,
            }
        }
        self.measure_rate(time / 2, &mut measured);
        Ok(measured)
    }

    /// The copies of one shred, each opened by the peer it is for: all genuine, one for each.
    fn verify(&mut self, mut machines: Vec<Sessions>) -> Result<(), Exit> {
        let mut served = HashSet::new();
        let began = Instant::now();
        self.send();
        while served.len() < self.peers && began.elapsed() < 50 * LOST_AFTER {
            self.port.rx_burst(&mut self.frames, BURST_MAX);
            for mut frame in self.frames.drain(..) {
                let now = self.era.now();
                // A machine that does not know the session index leaves the bytes alone.
                let opened =
                    machines.iter_mut().position(|machine| matches!(machine.open(now, self.relay, &mut frame), Opened::Message { .. }));
                served.extend(opened);
                self.port.release(frame);
            }
        }
        let missing = self.peers - served.len();
        if missing == 0 { Ok(()) } else { Err(Exit::failed(format!("fan-out: {missing} of {} peers got no genuine copy", self.peers))) }
    }

    fn measure_rate(&mut self, time: Duration, measured: &mut Measured) {
        let (mut sent, mut copies, mut lost) = (0, 0, 0);
        let peers = self.peers as u64;
        let began = Instant::now();
        let mut last = began;
        loop {
            let running = began.elapsed() < time;
            while running && sent * peers < copies + lost + WINDOW * peers {
                self.send();
                sent += 1;
            }
            let came = self.receive() as u64;
            copies += came;
            if came > 0 {
                last = Instant::now();
            } else if !running && (copies + lost >= sent * peers || last.elapsed() > LOST_AFTER) {
                break;
            } else if last.elapsed() > LOST_AFTER {
                // What is lost does not come back: the window opens again.
                lost = sent * peers - copies;
                last = Instant::now();
            }
        }
        measured.lost += sent * peers - copies;
        measured.delivered += copies;
        measured.bytes += copies * Size::Full.message_bytes(Dress::Session) as u64;
        measured.elapsed += last.duration_since(began);
    }

    fn send(&mut self) {
        let message = [0x5a; 2_048];
        let bytes = Size::Full.message_bytes(Dress::Session);
        let Some(mut frame) = self.port.tx_frame() else { return self.port.flush() };
        let sealed = self.leader.seal(self.era.now(), ValidatorIndex(0), KIND, &message[..bytes], &mut frame);
        let (len, to) = sealed.expect("the session is up");
        frame.set_len(len);
        self.port.tx(frame, to);
        self.port.flush();
    }

    /// Waits for `copies` data datagrams; returns how many are missing.
    fn await_copies(&mut self, copies: usize) -> usize {
        let (mut missing, mut last) = (copies, Instant::now());
        while missing > 0 && last.elapsed() < LOST_AFTER {
            let came = self.receive();
            missing = missing.saturating_sub(came);
            if came > 0 {
                last = Instant::now();
            }
        }
        missing
    }

    /// Waits for stragglers, so that the next shred does not count them; returns how many of `missing` never came.
    fn quieten(&mut self, missing: usize) -> usize {
        let (mut late, mut last) = (0, Instant::now());
        while last.elapsed() < LOST_AFTER {
            let came = self.receive();
            late += came;
            if came > 0 {
                last = Instant::now();
            }
        }
        missing.saturating_sub(late)
    }

    /// Takes what came; returns how many datagrams of a full shred were among it.
    fn receive(&mut self) -> usize {
        let whole = Size::Full.message_bytes(Dress::Session) + super::talk::Talk::overhead(Dress::Session);
        self.port.rx_burst(&mut self.frames, BURST_MAX);
        let mut copies = 0;
        for frame in self.frames.drain(..) {
            copies += usize::from(frame.len() == whole);
            self.port.release(frame);
        }
        copies
    }
}
