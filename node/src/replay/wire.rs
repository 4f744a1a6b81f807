//! `replay --to`: the received datagrams of a capture, at a port.
//!
//! Only those that travelled as they stand in the file are sent. A validator drops all of them: the sessions are over, or the counters were
//! seen; its metrics say which. Nothing in them can count as a vote, whoever sends it.

use super::ReplayArgs;
use super::pace::Pace;
use super::report::print_text;
use super::tape::Tape;
use crate::capture::datagram_of;
use crate::exit::Exit;
use samara_dataplane::tap::OPENED;
use serde_json::json;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Sends the file to `to`.
pub fn command(args: &ReplayArgs, to: SocketAddr) -> Result<(), Exit> {
    let any: SocketAddr = if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any)
        .and_then(|socket| socket.connect(to).map(|()| socket))
        .map_err(|error| Exit::bad("--to", to, format!("an address that can be sent to ({error})")))?;
    let mut tape = Tape::open(&args.file, None)?;
    let (mut sent, mut bytes, mut refused, mut opened, mut skipped) = (0u64, 0u64, 0u64, 0u64, 0u64);
    let mut pace = None;
    while let Some(captured) = tape.packet()? {
        let datagram = datagram_of(&captured.packet).filter(|_| captured.sent == Some(false));
        let Some(datagram) = datagram else {
            skipped += 1;
            continue;
        };
        if datagram.get(1).is_some_and(|version| version & OPENED != 0) {
            opened += 1;
            continue;
        }
        pace.get_or_insert_with(|| Pace::begin(args.speed, captured.unix_ns)).wait(captured.unix_ns);
        match socket.send(datagram) {
            Ok(len) => (sent, bytes) = (sent + 1, bytes + len as u64),
            // An ICMP answer to an earlier datagram: nobody listens there.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => refused += 1,
            Err(error) => return Err(Exit::failed(format!("--to = {to}: {error}"))),
        }
    }
    if sent + refused == 0 {
        let allowed = if opened > 0 {
            "a capture made without --decrypted: opened datagrams never travelled"
        } else {
            "a capture with received datagrams"
        };
        return Err(Exit::bad("FILE", args.file.display(), allowed));
    }
    let wall_s = pace.map_or(0.0, |pace| pace.elapsed().as_secs_f64());
    if args.json {
        let document =
            json!({ "to": to, "sent": sent, "bytes": bytes, "refused": refused, "opened": opened, "skipped": skipped, "wall_s": wall_s });
        print_text(&document.to_string())?;
    } else {
        print_text(&format!(
            "{sent} datagrams, {bytes} B, to {to} in {wall_s:.2} s; {refused} refused, {opened} opened and {skipped} others not sent"
        ))?;
    }
    if sent == 0 { Err(Exit::failed(format!("nobody listens on {to}"))) } else { Ok(()) }
}
