//! A capture as messages: what each packet says, and which packets say nothing to a machine.

use crate::capture::{Capture, Captured, datagram_of, open_capture};
use crate::exit::Exit;
use samara_dataplane::tap::{OPENED, TRAILER_BYTES, Trailer, Verdict};
use samara_types::MessageKind;
use samara_types::datagram::{DATAGRAM_VERSION, DatagramType, INNER_HEADER_BYTES, OuterHeader};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use zerocopy::FromBytes;

/// What `capture` wrote about its validator.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct About {
    /// Chain id, hexadecimal.
    pub chain: String,
    /// Seat.
    pub seat: u16,
    /// Messages in the clear.
    pub opened: bool,
}

/// A message of the capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taped {
    /// When, nanoseconds since 1970.
    pub unix_ns: u64,
    /// Whether the captured validator sent it.
    pub sent: bool,
    /// Who was at the other end.
    pub peer: u16,
    /// Its kind.
    pub kind: MessageKind,
    /// It.
    pub bytes: Vec<u8>,
}

/// Why a packet gives no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skipped {
    /// Handshakes, keepalives, dropped datagrams: sealed, and nothing a machine ever saw.
    Sealed,
    /// The snap length cut it.
    Cut,
    /// Its class refused it when it came.
    Refused,
    /// Of another validator than the one replayed.
    OtherSeat,
    /// Not what `capture` writes.
    Malformed,
}

impl Skipped {
    /// Label in the report.
    pub fn as_str(self) -> &'static str {
        match self {
            Skipped::Sealed => "sealed",
            Skipped::Cut => "cut",
            Skipped::Refused => "refused",
            Skipped::OtherSeat => "other_seat",
            Skipped::Malformed => "malformed",
        }
    }
}

/// A capture that is read message by message.
pub struct Tape {
    path: PathBuf,
    capture: Capture<File>,
    seat: Option<u16>,
    /// The interface comment last seen, parsed.
    known: (String, Option<About>),
    /// Packets that gave no message.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Packets read.
    pub packets: u64,
    /// Packets that the capture lost.
    pub lost: u64,
}

impl Tape {
    /// Opens a file; `seat` chooses among the validators of a merged one.
    pub fn open(path: &Path, seat: Option<u16>) -> Result<Tape, Exit> {
        let capture = open_capture(path).map_err(|allowed| Exit::bad("FILE", path.display(), allowed))?;
        let known = (String::new(), None);
        Ok(Tape { path: path.to_owned(), capture, seat, known, skipped: BTreeMap::new(), packets: 0, lost: 0 })
    }

    /// The validator of the first packet that is ours.
    pub fn about(path: &Path, seat: Option<u16>) -> Result<About, Exit> {
        let mut tape = Tape::open(path, seat)?;
        while let Some(captured) = tape.packet()? {
            if let Some(about) = tape.about_of(&captured)
                && seat.is_none_or(|seat| seat == about.seat)
            {
                return Ok(about);
            }
        }
        let whose = seat.map_or(String::new(), |seat| format!(" of validator {seat}"));
        Err(Exit::bad("FILE", path.display(), format!("a file of `samara capture` with packets{whose}")))
    }

    /// The next packet as it stands in the file.
    pub fn packet(&mut self) -> Result<Option<Captured>, Exit> {
        let captured = self.capture.next_packet().map_err(|allowed| Exit::bad("FILE", self.path.display(), allowed))?;
        if let Some(captured) = &captured {
            self.packets += 1;
            self.lost = self.lost.saturating_add(captured.lost_before);
        }
        Ok(captured)
    }

    /// The next message.
    pub fn message(&mut self) -> Result<Option<Taped>, Exit> {
        while let Some(captured) = self.packet()? {
            let about = self.about_of(&captured);
            let ours = about.is_some_and(|about| self.seat.is_none_or(|seat| seat == about.seat));
            match if ours { parse(&captured) } else { Err(Skipped::OtherSeat) } {
                Ok(taped) => return Ok(Some(taped)),
                Err(skipped) => *self.skipped.entry(skipped.as_str()).or_default() += 1,
            }
        }
        Ok(None)
    }

    fn about_of(&mut self, captured: &Captured) -> Option<About> {
        if self.known.0 != captured.interface {
            self.known = (captured.interface.clone(), serde_json::from_str(&captured.interface).ok());
        }
        self.known.1.clone()
    }
}

/// The message of a packet.
pub fn parse(captured: &Captured) -> Result<Taped, Skipped> {
    if captured.packet.len() < captured.wire_len {
        return Err(Skipped::Cut);
    }
    let datagram = datagram_of(&captured.packet).ok_or(Skipped::Malformed)?;
    let (header, rest) = OuterHeader::read_from_prefix(datagram).map_err(|_| Skipped::Malformed)?;
    if header.version & OPENED == 0 {
        return Err(Skipped::Sealed);
    }
    let known = header.kind == DatagramType::Data as u8 && header.version == DATAGRAM_VERSION | OPENED;
    let end = rest.len().checked_sub(TRAILER_BYTES).filter(|end| known && *end >= INNER_HEADER_BYTES).ok_or(Skipped::Malformed)?;
    let (inner, trailer) = rest.split_at(end);
    let trailer = Trailer::read_from_bytes(trailer).map_err(|_| Skipped::Malformed)?;
    let kind = MessageKind::from_byte(inner[0]).ok_or(Skipped::Malformed)?;
    let bytes = &inner[INNER_HEADER_BYTES..];
    match Verdict::from_byte(trailer.verdict) {
        // The reactor lets no message through that is longer than its kind allows; a machine may rely on it.
        Some(Verdict::Message) if bytes.len() <= kind.bytes_max() => {}
        Some(Verdict::Refused) => return Err(Skipped::Refused),
        _ => return Err(Skipped::Malformed),
    }
    let sent = captured.sent.ok_or(Skipped::Malformed)?;
    Ok(Taped { unix_ns: captured.unix_ns, sent, peer: trailer.peer.get(), kind, bytes: bytes.to_vec() })
}
