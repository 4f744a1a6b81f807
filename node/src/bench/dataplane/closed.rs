//! Closed loop: a message there and back, over a wire or between two whole hot reactors.

use super::cases::{Dress, Rung, Size};
use super::ends::{End, Measured, Setup};
use super::talk::{Era, KIND, Talk, sessions};
use super::wire::Wire;
use crate::exit::Exit;
use samara_dataplane::class::{ClassRates, Rate};
use samara_dataplane::counters::HotStats;
use samara_dataplane::port::Port;
use samara_dataplane::reactor::{Handler, HotConfig, HotReactor, Outbox, WaitPolicy};
use samara_dataplane::session::Sessions;
use samara_types::{MessageKind, Nanos, ValidatorIndex};
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

/// An answer that took longer counts as lost, and the next message goes out.
const LOST_AFTER: Duration = Duration::from_millis(100);
/// Round trips before the first that counts.
const WARM_UP: usize = 500;
/// Empty looks between two looks at the clock.
const LOOKS: u32 = 64;
/// Longest message handled.
const MESSAGE_MAX: usize = 2_048;

/// Round trips of a 64 B message.
pub fn round_trips(setup: Setup<'_>, dress: Dress, time: Duration) -> Result<Measured, Exit> {
    let addresses = super::net::Side::BOTH.map(|side| setup.net.address(side));
    let [near, far] = Talk::pair(dress, addresses);
    let era = Era::start();
    let bytes = Size::Vote.message_bytes(dress);
    let (measured, (), stretch) = setup.run(|wire, end| ping(wire, end, near, era, bytes, time), |wire, end| echo(wire, end, far, era))?;
    Ok(Measured { stretch, ..measured })
}

fn ping(wire: &mut dyn Wire, end: End<'_>, mut talk: Talk, era: Era, bytes: usize, time: Duration) -> Measured {
    let message = vec![0x5a; bytes];
    let mut samples = Vec::with_capacity(1 << 20);
    let (mut lost, mut warm) = (0, 0);
    let began = Instant::now();
    while began.elapsed() < time {
        let start = Instant::now();
        while !wire.send(end.to, &mut |out| talk.write(|| era.now(), &message, out)) {
            wire.flush();
        }
        wire.flush();
        let answered =
            await_answer(wire, start, |datagram| talk.read(|| era.now(), end.to, datagram).is_some_and(|answer| answer.len() == bytes));
        let took = start.elapsed();
        warm += 1;
        // A rung of 100 us a trip would spend all its time warming up.
        if warm <= WARM_UP && start.duration_since(began) < time / 10 {
            continue;
        }
        match answered {
            true => samples.push(took.as_nanos() as u64),
            false => lost += 1,
        }
    }
    end.meeting.stop();
    Measured::of_samples(&samples, lost)
}

fn await_answer(wire: &mut dyn Wire, start: Instant, mut is_answer: impl FnMut(&mut [u8]) -> bool) -> bool {
    loop {
        for _ in 0..LOOKS {
            let mut answered = false;
            wire.receive(1, &mut |datagram| answered |= is_answer(datagram));
            if answered {
                return true;
            }
        }
        if start.elapsed() > LOST_AFTER {
            return false;
        }
    }
}

fn echo(wire: &mut dyn Wire, end: End<'_>, mut talk: Talk, era: Era) {
    let (mut copy, mut len) = ([0; MESSAGE_MAX], None);
    while !end.meeting.stopped() {
        wire.receive(1, &mut |datagram| {
            len = talk.read(|| era.now(), end.to, datagram).map(|message| {
                copy[..message.len()].copy_from_slice(message);
                message.len()
            });
        });
        if let Some(len) = len.take() {
            while !wire.send(end.to, &mut |out| talk.write(|| era.now(), &copy[..len], out)) && !end.meeting.stopped() {
                wire.flush();
            }
            wire.flush();
        }
    }
}

/// Round trips of a 64 B message between two hot reactors that poll, sessions included.
pub fn reactor_round_trips(setup: Setup<'_>, time: Duration) -> Result<Measured, Exit> {
    assert!(setup.ask.rung.is_port() && setup.ask.rung != Rung::Tokio, "a reactor needs a port");
    let [near, far] = sessions(super::net::Side::BOTH.map(|side| setup.net.address(side)));
    let era = Era::start();
    let (player, _, stretch) = setup.run_ports(
        |port, end| {
            let player = Player { end, serve: Some(Serve::new(time)), peer: ValidatorIndex(1) };
            let player = play(port, near, player, era);
            player.end.meeting.stop();
            player.serve.expect("the near end serves").finish()
        },
        |port, end| {
            play(port, far, Player { end, serve: None, peer: ValidatorIndex(0) }, era);
        },
    )?;
    Ok(Measured { stretch, ..player })
}

fn play<'a>(port: Box<dyn Port>, sessions: Sessions, player: Player<'a>, era: Era) -> Player<'a> {
    HotReactor::new(port, sessions, player, config(era)).run()
}

/// A reactor that polls, and whose admission does not limit what is measured.
fn config(era: Era) -> HotConfig {
    let free = Rate::new(1_000_000_000, 1_000_000_000);
    HotConfig { wait: WaitPolicy::Busy, base: era.base(), rates: ClassRates([free; 4]), ..HotConfig::default() }
}

/// Who sends the first message of each round trip.
struct Serve {
    began: Instant,
    time: Duration,
    over: bool,
    sent: Option<(Nanos, Instant)>,
    samples: Vec<u64>,
    lost: u64,
    warm: usize,
}

impl Serve {
    fn new(time: Duration) -> Serve {
        let samples = Vec::with_capacity(1 << 20);
        Serve { began: Instant::now(), time, over: false, sent: None, samples, lost: 0, warm: 0 }
    }

    fn answered(&mut self) {
        let Some(took) = self.sent.take().map(|(_, sent)| sent.elapsed()) else { return };
        if self.warm >= WARM_UP || self.began.elapsed() > self.time / 10 {
            self.samples.push(took.as_nanos() as u64);
        }
        self.warm += 1;
    }

    /// True when a message is due: none is under way, or the last one got lost.
    fn due(&mut self, now: Nanos) -> bool {
        match self.sent {
            None => true,
            Some((sent, _)) if u128::from(now.since(sent).0) > LOST_AFTER.as_nanos() => {
                // Before the session is confirmed in both directions and the caches are warm nothing counts.
                self.lost += u64::from(self.warm >= WARM_UP);
                true
            }
            Some(_) => false,
        }
    }

    fn finish(self) -> Measured {
        Measured::of_samples(&self.samples, self.lost)
    }
}

/// The handler of either end: it serves, or it sends back what comes.
struct Player<'a> {
    end: End<'a>,
    serve: Option<Serve>,
    peer: ValidatorIndex,
}

const BALL: [u8; 64] = [0x5a; 64];

impl Handler for Player<'_> {
    fn on_message(&mut self, _now: Nanos, from: ValidatorIndex, kind: MessageKind, message: &[u8], out: &mut Outbox<'_>) {
        match &mut self.serve {
            Some(serve) => serve.answered(),
            None => out.send(from, kind, message),
        }
    }

    fn on_pass(&mut self, now: Nanos, out: &mut Outbox<'_>) {
        let Some(serve) = &mut self.serve else { return };
        if serve.due(now) {
            serve.sent = Some((now, Instant::now()));
            out.send(self.peer, KIND, &BALL);
        }
    }

    fn next_deadline(&self) -> Option<Nanos> {
        None
    }

    fn wake_fds(&self) -> Vec<RawFd> {
        Vec::new()
    }

    fn running(&self) -> bool {
        !self.end.meeting.stopped() && self.serve.as_ref().is_none_or(|serve| !serve.over)
    }

    fn on_housekeeping(&mut self, _now: Nanos, _stats: &HotStats) {
        if let Some(serve) = &mut self.serve {
            serve.over = serve.began.elapsed() >= serve.time;
        }
    }
}
