//! `samara replay`: a capture once more, into a validator machine or at a port.
//!
//! ```text
//! decrypted capture -> messages by peer, by the capture's clock -> the validator machine, which nobody hears -> blocks, rejects, time spent
//! sealed capture    -> datagrams at the capture's pace          -> a UDP port
//! ```
//! **The machine holds no key of any validator.** It takes the captured seat with keys made up for the replay, its disk never reports a record
//! as durable, and what it would send goes nowhere, so that nothing it signs can leave and nothing that left would verify. It starts as a
//! validator that lost its vote log but kept the blocks it had proposed: those are put together from the shreds the capture shows it sending,
//! since nobody sends a leader its own block. Blocks go into a directory that did not exist before, or nowhere.
//!
//! Time is the capture's: timers run out when they did, at any `--speed`, so a replay repeats.
//!
//! Sealed datagrams belong to sessions that are over; a validator drops each and says why. That is what `--to` shows.

mod machine;
mod own;
mod pace;
mod past;
mod report;
mod span;
mod tape;
mod wire;

#[cfg(test)]
mod tests;

use crate::exit::Exit;
use crate::units::parse_address;
use clap::{ArgGroup, Args};
use pace::{Speed, parse_speed};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Arguments of `replay`.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("target").required(true).args(["genesis", "to"])))]
pub struct ReplayArgs {
    /// A file of `samara capture`.
    #[arg(value_name = "FILE.pcapng")]
    pub file: PathBuf,
    /// Genesis of the captured chain: feeds the received messages of a decrypted capture to a validator machine.
    #[arg(long)]
    pub genesis: Option<PathBuf>,
    /// Directory to make and to keep the machine's blocks in, for `samara inspect`; they are forgotten if not given.
    #[arg(long, value_name = "DIR", requires = "genesis")]
    pub into: Option<PathBuf>,
    /// A validator's directory to read the blocks from that were final before the capture begins.
    #[arg(long, value_name = "DIR", requires = "genesis")]
    pub from: Option<PathBuf>,
    /// The captured validator, in a file of several.
    #[arg(long, value_name = "I", requires = "genesis")]
    pub seat: Option<u16>,
    /// Sends the received datagrams of a capture to this UDP port instead.
    #[arg(long, value_name = "IP:PORT", value_parser = parse_address, conflicts_with = "genesis")]
    pub to: Option<SocketAddr>,
    /// 1 is the capture's own pace, 2 twice as fast; `max` does not wait.
    #[arg(long, value_name = "FACTOR|max", default_value = "max", value_parser = parse_speed)]
    pub speed: Speed,
    /// Print one JSON document on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Replays a file.
pub fn command(args: &ReplayArgs) -> Result<(), Exit> {
    match (&args.genesis, args.to) {
        (Some(genesis), _) => machine::command(args, genesis),
        (None, Some(to)) => wire::command(args, to),
        (None, None) => unreachable!("the command line demands one of them"),
    }
}
