//! The client side: connections to client doors, the open-loop generator, `samara load` and `samara submit`.

pub mod engine;
pub mod link;
pub mod outcome;
pub mod poll;
pub mod source;
pub mod submit;

use crate::cli::{LoadArgs, TargetArgs};
use crate::exit::Exit;
use crate::genesis::Genesis;
use engine::{Engine, Gauges, Plan};
use outcome::Outcome;
use serde_json::{Value, json};
use source::{Content, check_size};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long `load` waits for answers after the last offer.
const DRAIN: Duration = Duration::from_secs(15);

/// Client doors: those named, or all of the genesis.
fn doors(target: &TargetArgs, genesis: &Genesis) -> Vec<SocketAddr> {
    if target.to.is_empty() { genesis.addresses.iter().map(|addresses| addresses.client).collect() } else { target.to.clone() }
}

/// `samara load`.
pub fn command(args: &LoadArgs) -> Result<(), Exit> {
    let tx_size = check_size(args.tx_size)?;
    let genesis = Genesis::load(&args.target.genesis)?;
    let content = Content::Random { tx_size, seed: args.seed };
    let doors = doors(&args.target, &genesis);
    let plan = Plan { chain: genesis.chain, doors, tps: args.tps, count: None, content, senders: args.senders as usize };
    let end = Instant::now() + args.duration;
    let outcome = Engine::new(plan, Arc::new(Gauges::default())).run(|| Instant::now() < end, DRAIN);
    let report = summary(&outcome, args.duration);
    if args.json {
        println!("{report}");
    } else {
        println!("{report:#}");
    }
    verdict(&outcome, args.tps > 0 && !args.duration.is_zero())
}

/// An answer for every transaction, and, where any were wanted, somebody behind the doors.
fn verdict(outcome: &Outcome, wanted: bool) -> Result<(), Exit> {
    let offered = outcome.offered;
    match outcome.unanswered {
        _ if wanted && outcome.accepted == 0 => Err(Exit::failed(format!("load: no door took a transaction ({offered} offered)"))),
        0 => Ok(()),
        count => Err(Exit::failed(format!("load: {count} of {offered} offered transactions have no answer"))),
    }
}

/// Counts and latencies as JSON.
pub fn summary(outcome: &Outcome, duration: Duration) -> Value {
    json!({
        "offered": outcome.offered,
        "accepted": outcome.accepted,
        "finalized": outcome.finalized,
        "rejected": outcome.rejected,
        "unanswered": outcome.unanswered,
        "resubmitted": outcome.resubmitted,
        "connections_lost": outcome.connections_lost,
        "tps": outcome.finalized as f64 / duration.as_secs_f64().max(1e-9),
        "tx_latency_ms": outcome.latency_us.percentiles(1000.0),
        "tx_accept_ms": outcome.accept_us.percentiles(1000.0),
    })
}

#[cfg(test)]
mod tests;
