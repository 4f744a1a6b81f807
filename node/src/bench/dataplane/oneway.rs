//! One way: as fast as it goes, at a set pace, and into an end that sleeps.

use super::cases::{Dress, Size};
use super::ends::{End, Measured, Setup};
use super::net::Side;
use super::talk::{Era, Talk};
use super::wire::Wire;
use crate::exit::Exit;
use std::time::{Duration, Instant};

/// Datagrams per flush of a sender that does not pause.
const BURST: usize = 64;
/// The receiver goes on this long after the sender stopped and nothing came any more.
const DRAIN: Duration = Duration::from_millis(20);
/// From one message to a sleeping end to the next: long enough to be asleep, as a validator between two blocks is.
const IDLE: Duration = Duration::from_millis(1);

/// Messages per second from near to far, counted where they arrive.
pub fn rate(setup: Setup<'_>, size: Size, dress: Dress, time: Duration) -> Result<Measured, Exit> {
    let [near, far] = Talk::pair(dress, Side::BOTH.map(|side| setup.net.address(side)));
    let era = Era::start();
    let bytes = size.message_bytes(dress);
    let (sent, mut measured, stretch) =
        setup.run(|wire, end| flood(wire, end, near, era, bytes, time), |wire, end| sink(wire, end, far, era))?;
    measured.lost = sent.saturating_sub(measured.delivered);
    Ok(Measured { stretch, ..measured })
}

fn flood(wire: &mut dyn Wire, end: End<'_>, mut talk: Talk, era: Era, bytes: usize, time: Duration) -> u64 {
    let message = vec![0x5a; bytes];
    let mut sent = 0;
    let began = Instant::now();
    while began.elapsed() < time {
        let now = era.now();
        for _ in 0..BURST {
            if !wire.send(end.to, &mut |out| talk.write(|| now, &message, out)) {
                break;
            }
            sent += 1;
        }
        wire.flush();
    }
    end.meeting.stop();
    sent
}

fn sink(wire: &mut dyn Wire, end: End<'_>, mut talk: Talk, era: Era) -> Measured {
    let mut measured = Measured::default();
    let (mut first, mut last) = (None, Instant::now());
    while !end.meeting.stopped() || last.elapsed() < DRAIN {
        let now = era.now();
        let came = wire.receive(BURST, &mut |datagram| {
            if let Some(message) = talk.read(|| now, end.to, datagram) {
                measured.delivered += 1;
                measured.bytes += message.len() as u64;
            }
        });
        if came > 0 {
            last = Instant::now();
            first.get_or_insert(last);
        }
    }
    measured.elapsed = first.map_or(Duration::ZERO, |first| last.duration_since(first));
    measured
}

/// One-way latency of 64 B messages sent `per_second`, each from the time it was meant to leave: a sender that is held up does not hide it.
pub fn paced(setup: Setup<'_>, per_second: f64, time: Duration) -> Result<Measured, Exit> {
    let era = Era::start();
    let bytes = Size::Vote.message_bytes(Dress::Raw);
    let (sent, mut measured, stretch) =
        setup.run(|wire, end| send_on_schedule(wire, end, era, bytes, per_second, time), |wire, end| stamped(wire, end, era, false))?;
    measured.lost = sent.saturating_sub(measured.delivered);
    measured.elapsed = time;
    Ok(Measured { stretch, ..measured })
}

fn write_stamp(out: &mut [u8], bytes: usize, stamp: u64) -> usize {
    out[8..bytes].fill(0x5a);
    out[..8].copy_from_slice(&stamp.to_le_bytes());
    bytes
}

fn send_on_schedule(wire: &mut dyn Wire, end: End<'_>, era: Era, bytes: usize, per_second: f64, time: Duration) -> u64 {
    let began = era.now().0;
    let total = ((time.as_secs_f64() * per_second) as u64).max(1);
    let meant = |number: u64| began + (number as f64 * 1e9 / per_second) as u64;
    let mut sent = 0;
    while sent < total {
        let now = era.now().0;
        let mut burst = 0;
        while sent < total && burst < BURST && meant(sent) <= now && wire.send(end.to, &mut |out| write_stamp(out, bytes, meant(sent))) {
            sent += 1;
            burst += 1;
        }
        if burst > 0 || meant(sent) <= now {
            wire.flush();
        }
    }
    wire.flush();
    end.meeting.stop();
    sent
}

fn stamped(wire: &mut dyn Wire, end: End<'_>, era: Era, asleep: bool) -> Measured {
    let mut samples = Vec::with_capacity(1 << 20);
    let mut last = Instant::now();
    while !end.meeting.stopped() || last.elapsed() < DRAIN {
        let came = wire.receive(BURST, &mut |datagram| {
            if let Some(stamp) = datagram.first_chunk::<8>() {
                samples.push(era.now().0.saturating_sub(u64::from_le_bytes(*stamp)));
            }
        });
        if came > 0 {
            last = Instant::now();
        } else if asleep {
            wire.sleep(DRAIN);
        }
    }
    Measured::of_samples(&samples, 0)
}

/// From send to delivery at an end that sleeps in the kernel: one message a millisecond.
pub fn wake_ups(setup: Setup<'_>, time: Duration) -> Result<Measured, Exit> {
    let era = Era::start();
    let bytes = Size::Vote.message_bytes(Dress::Raw);
    let poke = |wire: &mut dyn Wire, end: End<'_>| {
        let mut sent = 0;
        let began = Instant::now();
        while began.elapsed() < time {
            std::thread::sleep(IDLE);
            sent += u64::from(wire.send(end.to, &mut |out| write_stamp(out, bytes, era.now().0)));
            wire.flush();
        }
        end.meeting.stop();
        sent
    };
    let (sent, mut measured, stretch) = setup.run(poke, |wire, end| stamped(wire, end, era, true))?;
    measured.lost = sent.saturating_sub(measured.delivered);
    Ok(Measured { stretch, ..measured })
}
