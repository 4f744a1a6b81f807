//! `samara capture`: what a running validator receives and sends, as pcapng. On AF_XDP the kernel sees no datagram, so `tcpdump` sees none.
//!
//! ```text
//! validator: hot reactor's tap --ring of bytes--> door (Unix socket in the data directory, owner only) --records--+
//! this process: records -> IP packets -> pcapng -> file or stdout <---------------------------------------------------+
//! ```
//! The validator copies and forwards; all that formats, waits and writes files is in this process, which may be killed at any time.
//!
//! Invariants: a file that was ended by a signal, a limit or the validator's end is complete; what the ring or this process lost is counted in
//! the file, and where the validator did not get to say it, the file names no number and the command fails; session keys are in no file, plaintext only with `--decrypted`.

mod door;
mod ends;
mod filter;
mod packet;
mod pcapng;
mod protocol;
mod source;
mod writer;

#[cfg(test)]
mod tests;

pub use door::{About, Door};
pub use packet::{Packet, datagram_of, unwrap};
pub use pcapng::{Capture, Captured, Interface, Pcapng, Statistics, open as open_capture};
pub use protocol::Hello;

use crate::exit::Exit;
use crate::units::{parse_duration, parse_size};
use clap::Args;
use ends::Ends;
use samara_dataplane::tap::SNAPLEN_MAX;
use serde_json::json;
use source::Source;
use std::path::PathBuf;
use std::time::Duration;
use writer::Totals;

/// Arguments of `capture`.
#[derive(Args, Debug)]
pub struct CaptureArgs {
    /// The running validator's directory (the one with `samara.toml`).
    #[arg(long)]
    pub dir: PathBuf,
    /// File to write, made anew if it is there; `-` is standard output, for `| wireshark -k -i -`.
    #[arg(long, value_name = "FILE.pcapng")]
    pub out: PathBuf,
    /// Record messages in the clear instead of sealed datagrams (no keys are written either way).
    #[arg(long)]
    pub decrypted: bool,
    /// End so long after the validator's answer; at Ctrl-C if not given.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// End after so many packets.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub packets: Option<u64>,
    /// Bytes kept of each datagram.
    #[arg(long, value_name = "BYTES", default_value_t = SNAPLEN_MAX as u64, value_parser = clap::value_parser!(u64).range(1..=SNAPLEN_MAX as u64))]
    pub snaplen: u64,
    /// Record only these classes and kinds of message, and `session` (handshakes, keepalives), `dropped`.
    #[arg(long, value_name = "A,B,..", value_delimiter = ',')]
    pub filter: Vec<String>,
    /// Record only one direction.
    #[arg(long, value_enum)]
    pub direction: Option<filter::DirectionArg>,
    /// Ring between the reactor and the door; what does not fit is lost and counted.
    #[arg(long, value_name = "BYTES", default_value = "4M", value_parser = parse_ring)]
    pub ring: u64,
    /// Wait so long for a validator that does not run yet.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub wait: Option<Duration>,
    /// Print the totals as one JSON document on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Captures until a limit, a signal or the validator's end.
pub fn command(args: &CaptureArgs) -> Result<(), Exit> {
    let to_stdout = args.out.as_os_str() == "-";
    if to_stdout && args.json {
        return Err(Exit::bad("--json", "true", "a capture with --out FILE, since standard output carries the packets"));
    }
    let request = protocol::Request {
        opened: args.decrypted,
        snaplen: args.snaplen,
        ring_bytes: args.ring,
        filter: filter::parse(&args.filter, args.direction)?,
    };
    writer::check(&args.out)?;
    let signalled = ends::on_signals()?;
    let find = || crate::inspect::layout(&args.dir).map(|layout| layout.door);
    let mut source = Source::connect(find, &request, args.wait, &signalled)?;
    let ends = Ends::begin(signalled, args.duration, args.packets);
    let out = writer::create(&args.out)?;
    let totals = writer::write(&mut source, out, args.decrypted, args.snaplen, ends)?;
    report(args, &totals, source.hello())
}

fn parse_ring(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text)?;
    let allowed = protocol::RING_BYTES;
    if allowed.contains(&bytes) { Ok(bytes) } else { Err(format!("{}K to {}M", allowed.start() >> 10, allowed.end() >> 20)) }
}

/// Prints the totals. A capture whose losses are unknown is a failed one, though the file is good as far as it goes.
fn report(args: &CaptureArgs, totals: &Totals, hello: &Hello) -> Result<(), Exit> {
    if args.json {
        let document = json!({
            "file": args.out, "seat": hello.seat, "packets": totals.packets(), "received": totals.received, "sent": totals.sent,
            "lost": totals.lost, "bytes": totals.bytes, "ended_by": totals.ended_by,
        });
        println!("{document}");
        return totals.lost.map(drop).ok_or_else(|| Exit::failed(format!("{}, losses unknown", writer::NO_LAST_WORD)));
    }
    let text = format!(
        "{} packets of validator {} in {}: {} received, {} sent, {}",
        totals.packets(),
        hello.seat,
        args.out.display(),
        totals.received,
        totals.sent,
        totals.lost.map_or("losses unknown".to_string(), |lost| format!("{lost} lost")),
    );
    match totals.lost {
        Some(_) => eprintln!("{text}; {}", totals.ended_by),
        None if totals.ended_by == writer::NO_LAST_WORD => return Err(Exit::failed(format!("{text}; {}", totals.ended_by))),
        None => return Err(Exit::failed(format!("{text}; {}, and {}", totals.ended_by, writer::NO_LAST_WORD))),
    }
    Ok(())
}
