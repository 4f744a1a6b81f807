//! `samara monitor`: what validators do at this moment, in a terminal or as one JSON document.
//!
//! ```text
//! DIR/validator-I/metrics.url or --url -> a thread per validator: GET /snapshot once per interval (bounded, with a deadline)
//!     -> Sighting -> Watch (the last readings of each) -> Row (rates between two readings) -> screen | table | JSON
//! ```
//! It reads the endpoint that Prometheus reads and asks no reactor for anything. A validator that is down, slow, or says nonsense is a line
//! that says so; the others are shown. Whatever an endpoint sends, at most `source::ANSWER_BYTES_MAX` of it is read, for at most
//! `source::PATIENCE`.

mod once;
mod reading;
mod row;
mod screen;
mod source;
mod terminal;
mod watch;

pub use source::Target;

use crate::exit::Exit;
use crate::units::parse_duration;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Arguments of `monitor`.
#[derive(Args, Clone, Debug)]
pub struct MonitorArgs {
    /// A localnet's directory, or one validator's (the one with `samara.toml`).
    #[arg(long, required_unless_present = "url")]
    pub dir: Option<PathBuf>,
    /// Metrics endpoint of a validator, such as `http://127.0.0.1:27003/metrics`; repeatable.
    #[arg(long, value_name = "URL", conflicts_with = "dir")]
    pub url: Vec<String>,
    /// Time between two looks.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub interval: Duration,
    /// Look twice, one interval apart, print what was seen, and end: 0, or 1 if a validator does not answer.
    #[arg(long)]
    pub once: bool,
    /// With --once: print one JSON document on stdout.
    #[arg(long, requires = "once")]
    pub json: bool,
}

/// The command.
pub fn command(args: &MonitorArgs) -> Result<(), Exit> {
    if !(Duration::from_millis(100)..=Duration::from_secs(3_600)).contains(&args.interval) {
        return Err(Exit::bad("--interval", format!("{:?}", args.interval), "100ms to 1h"));
    }
    let targets = source::targets(args)?;
    if args.once { once::command(targets, args.interval, args.json) } else { terminal::command(targets, args.interval) }
}

#[cfg(test)]
mod tests;
