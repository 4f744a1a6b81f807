//! From records to a file.

use super::ends::Ends;
use super::packet::{Packet, ends};
use super::pcapng::{Interface, Pcapng, Statistics};
use super::protocol::{Hello, LastWord};
use super::source::{Next, Source};
use crate::exit::Exit;
use samara_dataplane::class::ClassReject;
use samara_dataplane::session::DropReason;
use samara_dataplane::tap::{Direction, NO_PEER, RecordHeader, Verdict};
use samara_types::MessageKind;
use serde_json::json;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Largest IP and UDP headers in front of a datagram.
const HEADERS_MAX: u64 = 48;

/// How a capture ends that the validator could not end: it was killed, or had no room for a last word to a capture that took nothing.
pub const NO_LAST_WORD: &str = "the connection closed without a last word";

/// What a capture came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Packets received by the validator.
    pub received: u64,
    /// Packets sent by it.
    pub sent: u64,
    /// Packets lost; None: the validator did not get to say it.
    pub lost: Option<u64>,
    /// Bytes of the packets as they travelled.
    pub bytes: u64,
    /// First and last time.
    pub times: (u64, u64),
    /// Why it ended.
    pub ended_by: &'static str,
}

impl Totals {
    fn begin() -> Totals {
        Totals { received: 0, sent: 0, lost: Some(0), bytes: 0, times: (0, 0), ended_by: "" }
    }

    /// All packets.
    pub fn packets(&self) -> u64 {
        self.received + self.sent
    }
}

/// Whether [`create`] may take this path: nothing is there, or a regular file. A link might lead the messages of a validator anywhere, and of a pipe
/// or a device nobody knows who reads it.
pub fn check(path: &Path) -> Result<(), Exit> {
    match std::fs::symlink_metadata(path) {
        Ok(there) if is_stdout(path) || there.is_file() => Ok(()),
        Ok(there) => {
            let what = if there.is_symlink() { "a symbolic link" } else { "no regular file" };
            Err(Exit::bad("--out", path.display(), format!("a file, or - for a pipe (this is {what})")))
        }
        // What else is wrong shows when it is made.
        Err(_) => Ok(()),
    }
}

/// Makes the file anew, readable by its owner only; standard output for `-`. A file that was there goes: whoever holds it open or owns it would read
/// along.
pub fn create(path: &Path) -> Result<Box<dyn Write>, Exit> {
    if is_stdout(path) {
        return Ok(Box::new(io::stdout().lock()));
    }
    check(path)?;
    let removed = match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    // `create_new` follows no link, should there be one by now.
    let made = removed.and_then(|()| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path));
    let file = made.map_err(|error| Exit::bad("--out", path.display(), format!("a file that can be written ({error})")))?;
    Ok(Box::new(file))
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Writes records until an end.
pub fn write(source: &mut Source, out: Box<dyn Write>, opened: bool, snaplen: u64, ends: Ends) -> Result<Totals, Exit> {
    let mut totals = Totals::begin();
    match copy(source, out, opened, snaplen, &ends, &mut totals) {
        Ok(()) => Ok(totals),
        // Whoever read standard output has seen enough.
        Err(Failure::Out(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(Totals { ended_by: "the reader's end", ..totals }),
        Err(Failure::Out(error)) => Err(Exit::failed(format!("--out: {error}"))),
        Err(Failure::Source(exit)) => Err(exit),
    }
}

enum Failure {
    Source(Exit),
    Out(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Out(error)
    }
}

fn copy(source: &mut Source, out: Box<dyn Write>, opened: bool, snaplen: u64, ends: &Ends, totals: &mut Totals) -> Result<(), Failure> {
    let hello = source.hello().clone();
    let mut file = begin(BufWriter::with_capacity(256 << 10, out), &hello, opened, snaplen)?;
    file.flush()?;
    loop {
        if let Some(reason) = ends.reached(totals.packets())
            && totals.ended_by.is_empty()
        {
            totals.ended_by = reason;
            source.hang_up();
        }
        match source.next_record().map_err(Failure::Source)? {
            // What comes after the end was asked for is not part of the capture.
            Next::Record(..) if !totals.ended_by.is_empty() => {}
            Next::Record(header, datagram) => {
                totals.lost = totals.lost.map(|lost| lost + u64::from(header.lost_before.get()));
                record(&mut file, &hello, &header, datagram, totals)?;
            }
            Next::Quiet => file.flush()?,
            Next::End(word) => {
                totals.lost = word.map(|word| word.lost);
                if totals.ended_by.is_empty() {
                    totals.ended_by = match word {
                        Some(LastWord { evicted: true, .. }) => "evicted: it took nothing for too long",
                        Some(_) => "the validator's end",
                        None => NO_LAST_WORD,
                    };
                }
                break;
            }
        }
    }
    let seen = totals.lost.map(|lost| totals.packets() + lost);
    file.statistics(Statistics { times: totals.times, seen, lost: totals.lost })?;
    Ok(file.flush()?)
}

/// The front of a file. What `replay` needs to know stands in the interface's comment.
fn begin<W: Write>(out: W, hello: &Hello, opened: bool, snaplen: u64) -> io::Result<Pcapng<W>> {
    let application = format!("samara {}", hello.version);
    let name = format!("validator {}", hello.seat);
    let view = if opened { "messages in the clear" } else { "sealed datagrams" };
    let description = format!("{} over {}, {view}", hello.local, hello.rung);
    let comment = json!({ "chain": hello.chain, "seat": hello.seat, "opened": opened }).to_string();
    let interface = Interface { name: &name, description: &description, comment: &comment, snaplen: (snaplen + HEADERS_MAX) as u32 };
    Pcapng::begin(out, &application, &interface)
}

fn record<W: Write>(
    file: &mut Pcapng<W>,
    hello: &Hello,
    header: &RecordHeader,
    datagram: &[u8],
    totals: &mut Totals,
) -> Result<(), Failure> {
    let direction = Direction::from_byte(header.direction)
        .ok_or_else(|| Failure::Source(Exit::failed(format!("a record of direction {} from the validator", header.direction))))?;
    let sent = direction == Direction::Sent;
    let (from, to) = ends(header, hello.local, sent);
    let packet = Packet::new(from, to, datagram, header.wire_len.get() as usize);
    let unix_ns = header.unix_ns.get();
    file.packet(unix_ns, &packet.bytes, packet.wire_len, sent, header.lost_before.get(), &comment(header, sent))?;
    *(if sent { &mut totals.sent } else { &mut totals.received }) += 1;
    totals.bytes += packet.wire_len as u64;
    totals.times.0 = if totals.packets() == 1 { unix_ns } else { totals.times.0.min(unix_ns) };
    totals.times.1 = totals.times.1.max(unix_ns);
    Ok(())
}

/// What the validator knew of a datagram: `vote from validator 3`, `dropped: replayed`.
pub fn comment(header: &RecordHeader, sent: bool) -> String {
    let kind = MessageKind::from_byte(header.kind).map_or("message", MessageKind::as_str);
    let reason = usize::from(header.reason);
    let what = match Verdict::from_byte(header.verdict) {
        Some(Verdict::Message) => kind.to_string(),
        Some(Verdict::Session) => "session".to_string(),
        Some(Verdict::Dropped) => format!("dropped: {}", DropReason::ALL.get(reason).map_or("unknown", |reason| reason.as_str())),
        Some(Verdict::Refused) => format!("{kind} refused: {}", ClassReject::ALL.get(reason).map_or("unknown", |reason| reason.as_str())),
        None => "unknown".to_string(),
    };
    match header.peer.get() {
        NO_PEER => what,
        peer => format!("{what} {} validator {peer}", if sent { "to" } else { "from" }),
    }
}
