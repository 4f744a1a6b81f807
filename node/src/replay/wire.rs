//! `replay --to`: the received datagrams of a capture, at a port.
//!
//! Only those that travelled as they stand in the file are sent. A validator drops all of them: the sessions are over, or the counters were
//! seen; its metrics say which. Nothing in them can count as a vote, whoever sends it.
//!
//! A host answers a datagram to a closed port with ICMP, and the kernel tells it instead of sending the next datagram, which is therefore sent again.
//! Any such answer makes the replay a failed one: what it was for did not arrive. There may be fewer answers than datagrams, since hosts limit them.

use super::ReplayArgs;
use super::pace::Pace;
use super::report::print_text;
use super::span::Span;
use super::tape::Tape;
use crate::capture::{Captured, datagram_of};
use crate::exit::Exit;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use samara_dataplane::tap::OPENED;
use serde_json::json;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Attempts for one datagram: each takes one waiting answer, and answers to earlier datagrams may still arrive meanwhile.
const TRIES: u64 = 16;
/// How long the answer to the last datagram is waited for.
const LAST_ANSWER: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Sends the file to `to`.
pub fn command(args: &ReplayArgs, to: SocketAddr) -> Result<(), Exit> {
    let any: SocketAddr = if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any)
        .and_then(|socket| socket.connect(to).map(|()| socket))
        .map_err(|error| Exit::bad("--to", to, format!("an address that can be sent to ({error})")))?;
    check_times(args)?;
    let mut tape = Tape::open(&args.file, None)?;
    let (mut sent, mut bytes, mut refused, mut opened, mut skipped) = (0u64, 0u64, 0u64, 0u64, 0u64);
    let mut pace = None;
    while let Some(captured) = tape.packet()? {
        let datagram = match travelled(&captured) {
            Ok(datagram) => datagram,
            Err(Kept::Opened) => {
                opened += 1;
                continue;
            }
            Err(Kept::Other) => {
                skipped += 1;
                continue;
            }
        };
        pace.get_or_insert_with(|| Pace::begin(args.speed, captured.unix_ns)).wait(captured.unix_ns);
        let told = send(&socket, datagram).map_err(|error| Exit::failed(format!("--to = {to}: {error}")))?;
        (sent, bytes, refused) = (sent + 1, bytes + datagram.len() as u64, refused + told);
    }
    if sent == 0 {
        let allowed = if opened > 0 {
            "a capture made without --decrypted: opened datagrams never travelled"
        } else {
            "a capture with received datagrams"
        };
        return Err(Exit::bad("FILE", args.file.display(), allowed));
    }
    let wall_s = pace.map_or(0.0, |pace| pace.elapsed().as_secs_f64());
    refused += u64::from(is_refused(&socket, LAST_ANSWER));
    if args.json {
        let document =
            json!({ "to": to, "sent": sent, "bytes": bytes, "refused": refused, "opened": opened, "skipped": skipped, "wall_s": wall_s });
        print_text(&document.to_string())?;
    } else {
        print_text(&format!(
            "{sent} datagrams, {bytes} B, to {to} in {wall_s:.2} s; {refused} refused, {opened} opened and {skipped} others not sent"
        ))?;
    }
    match refused {
        0 => Ok(()),
        _ => Err(Exit::failed(format!("nobody listens on {to}: the host refused {refused} of {sent} datagrams (it need not answer each)"))),
    }
}

/// Why a packet is not sent.
enum Kept {
    /// It never travelled as it stands in the file.
    Opened,
    /// The captured validator did not receive it, or it is not whole.
    Other,
}

/// The datagram that the captured validator received.
fn travelled(captured: &Captured) -> Result<&[u8], Kept> {
    let datagram = datagram_of(&captured.packet).filter(|_| captured.sent == Some(false)).ok_or(Kept::Other)?;
    let opened = datagram.get(1).is_some_and(|version| version & OPENED != 0);
    if opened { Err(Kept::Opened) } else { Ok(datagram) }
}

/// Reads the file for its times before the first datagram leaves.
fn check_times(args: &ReplayArgs) -> Result<(), Exit> {
    let (mut tape, mut span) = (Tape::open(&args.file, None)?, Span::default());
    while let Some(captured) = tape.packet()? {
        if travelled(&captured).is_ok() {
            span.take(captured.unix_ns).map_err(|allowed| Exit::bad("FILE", args.file.display(), allowed))?;
        }
    }
    Ok(())
}

/// Sends it; returns how many earlier datagrams turn out to be refused.
fn send(socket: &UdpSocket, datagram: &[u8]) -> io::Result<u64> {
    for refused in 0..TRIES {
        match socket.send(datagram) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            sent => return sent.map(|_| refused),
        }
    }
    Err(io::Error::new(ErrorKind::ConnectionRefused, format!("refused {TRIES} times in a row")))
}

/// Whether an answer to the last datagram comes within `patience`.
fn is_refused(socket: &UdpSocket, patience: Timespec) -> bool {
    // An error is reported whatever is asked for.
    let _ = poll(&mut [PollFd::new(socket, PollFlags::empty())], Some(&patience));
    matches!(socket.take_error(), Ok(Some(error)) if error.kind() == ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_refusal_of_one_datagram_does_not_cost_the_next() {
        let bind = |address: SocketAddr| UdpSocket::bind(address).unwrap();
        let sender = bind(([127, 0, 0, 1], 0).into());
        let closed = bind(([127, 0, 0, 1], 0).into()).local_addr().unwrap();
        sender.connect(closed).unwrap();
        assert_eq!(send(&sender, b"first").unwrap(), 0);
        // The answer waits in the socket when the port opens; this look leaves it there.
        let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
        assert_eq!(poll(&mut [PollFd::new(&sender, PollFlags::empty())], Some(&patience)), Ok(1));
        let listener = bind(closed);
        // Only a datagram that was lost is waited for so long.
        listener.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(send(&sender, b"second").unwrap(), 1);
        let mut bytes = [0; 9];
        let len = listener.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..len], b"second");
        assert!(!is_refused(&sender, Timespec { tv_sec: 0, tv_nsec: 0 }));
        drop(listener);
        assert_eq!(send(&sender, b"third").unwrap(), 0);
        assert!(is_refused(&sender, patience), "the answer to the last one is waited for");
    }
}
