//! `samara submit`: sends one or some transactions and waits until each is final.

use super::doors;
use super::engine::{Engine, Gauges, Plan};
use super::source::{Content, check_size};
use crate::cli::SubmitArgs;
use crate::exit::Exit;
use crate::genesis::Genesis;
use samara_types::digest::hex;
use samara_types::transaction::{TRANSACTION_BYTES_MAX, TRANSACTION_HEADER_BYTES};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

/// The command.
pub fn command(args: &SubmitArgs) -> Result<(), Exit> {
    let (content, count) = content(args)?;
    let genesis = Genesis::load(&args.target.genesis)?;
    let plan = Plan { chain: genesis.chain, doors: doors(&args.target, &genesis), tps: 0, count: Some(count), content, senders: 1 };
    let end = Instant::now() + args.timeout;
    let outcome = Engine::new(plan, Arc::new(Gauges::default())).run(|| Instant::now() < end, args.timeout);
    let rows = outcome.acknowledged.iter().map(|ack| json!({"id": hex(&ack.id.0), "height": ack.height, "index": ack.index}));
    if args.json {
        let rows: Vec<Value> = rows.collect();
        println!("{}", json!({"finalized": rows, "rejected": outcome.rejected, "tx_latency_ms": outcome.latency_us.percentiles(1000.0)}));
    } else {
        outcome.acknowledged.iter().for_each(|ack| println!("{} final at height {}, index {}", hex(&ack.id.0), ack.height, ack.index));
    }
    if outcome.finalized == count {
        return Ok(());
    }
    let rejected: Vec<String> = outcome.rejected.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let rest = count - outcome.finalized;
    Err(Exit::failed(format!("submit: {rest} of {count} transactions are not final after {:?} (rejected: {rejected:?})", args.timeout)))
}

fn content(args: &SubmitArgs) -> Result<(Content, u64), Exit> {
    let Some(data) = &args.data else {
        if args.count == 0 {
            return Err(Exit::bad("--count", 0, "1 or more"));
        }
        return Ok((Content::Random { tx_size: check_size(args.tx_size)?, seed: 1 }, args.count));
    };
    let most = TRANSACTION_BYTES_MAX - TRANSACTION_HEADER_BYTES;
    if data.len() > most {
        return Err(Exit::bad("--data", format!("{} bytes", data.len()), format!("at most {most} bytes")));
    }
    Ok((Content::Fixed(data.clone().into_bytes()), 1))
}
