//! What the service reactor did: clients, gossip, block store, catch-up.

use super::{LONG, SHORT, US, metrics};
use crate::metrics::sample::{Family, PLAIN};
use crate::service::{Reasons, ServiceCounters};

/// A family of one number.
macro_rules! of {
    ($kind:ident $name:literal, $help:literal, $value:expr) => {
        Family::$kind($name, &[], $help, |picture, emit| {
            if let Some(metrics) = metrics(picture) {
                let value: fn(&ServiceCounters) -> u64 = $value;
                emit.count(PLAIN, value(&metrics.service));
            }
        })
    };
}

/// A family of counts by reason.
macro_rules! by_reason {
    ($name:literal, $help:literal, $value:expr) => {
        Family::counter($name, &["reason"], $help, |picture, emit| {
            let reasons: fn(&ServiceCounters) -> &Reasons = $value;
            for (reason, count) in metrics(picture).into_iter().flat_map(|metrics| reasons(&metrics.service)) {
                emit.count(&[reason], *count);
            }
        })
    };
}

/// A histogram of microseconds.
macro_rules! spread {
    ($name:literal, $bounds:expr, $field:ident, $help:literal) => {
        Family::histogram($name, &[], $help, |picture, emit| {
            metrics(picture).into_iter().for_each(|metrics| emit.spread(PLAIN, &metrics.service.$field, US, $bounds));
        })
    };
}

pub const CLIENTS: &[Family] = &[
    of!(gauge "samara_client_connections", "Client connections open.", |service| service.connections),
    of!(counter "samara_client_connections_opened", "Client connections taken.", |service| service.connections_opened),
    by_reason!("samara_client_connections_closed", "Client connections closed by the door, by reason.", |service| {
        &service.connections_refused
    }),
    of!(counter "samara_client_submissions", "Transactions submitted by clients.", |service| service.submissions),
    of!(counter "samara_client_accepted", "Accepted answers.", |service| service.accepted),
    of!(counter "samara_client_finalized", "Finalized answers.", |service| service.finalized_answers),
    by_reason!("samara_client_rejected", "Rejected answers, by reason.", |service| &service.rejected),
    of!(counter "samara_client_resubmissions", "Submissions of transactions that were final already.", |service| service.resubmissions),
    of!(gauge "samara_client_waiting_transactions", "Transactions some client waits for.", |service| service.waiting),
    spread!(
        "samara_client_ingress_seconds",
        SHORT,
        ingress_us,
        "Time from reading a submission to handing it to the hot reactor (signature check included) or refusing it."
    ),
    spread!(
        "samara_transaction_latency_seconds",
        LONG,
        finality_us,
        "Time from reading a transaction's first submission to its finality being on this validator's disk."
    ),
    of!(counter "samara_client_verify_batches", "Signature batches of client transactions.", |service| service.verify_batches),
    of!(counter "samara_gossip_payloads", "Gossiped payloads taken.", |service| service.gossip_payloads),
    of!(counter "samara_gossip_transactions", "Gossiped transactions with a good signature.", |service| service.gossip_transactions),
    by_reason!("samara_gossip_dropped", "Gossip dropped, by reason.", |service| &service.gossip_dropped),
];

pub const STORE: &[Family] = &[
    of!(counter "samara_store_commits", "Synced commits of the block store.", |service| service.commits),
    of!(counter "samara_store_blocks", "Blocks in them.", |service| service.blocks_stored),
    spread!("samara_store_commit_seconds", SHORT, commit_us, "Duration of a synced commit."),
    of!(gauge "samara_store_failed", "1 once the store refused a write: nothing is acknowledged any more.", |service| {
        u64::from(service.store_failed)
    }),
    Family::gauge("samara_syncing", &[], "1 while a catch-up runs.", |picture, emit| {
        metrics(picture).into_iter().for_each(|metrics| emit.count(PLAIN, u64::from(metrics.node.syncing)));
    }),
    Family::counter("samara_synced_blocks", &[], "Blocks taken over by catch-up.", |picture, emit| {
        metrics(picture).into_iter().for_each(|metrics| emit.count(PLAIN, metrics.node.synced_blocks));
    }),
    of!(counter "samara_sync_fetched_blocks", "Blocks fetched and proven.", |service| service.sync_fetched_blocks),
    of!(counter "samara_sync_fetched_bytes", "Bytes of them.", |service| service.sync_fetched_bytes),
    by_reason!("samara_sync_peer_faults", "Peers given up during a catch-up, by reason.", |service| &service.sync_peer_faults),
    of!(counter "samara_sync_served_blocks", "Blocks streamed to peers that catch up.", |service| service.sync_served_blocks),
    of!(counter "samara_sync_served_bytes", "Bytes of them.", |service| service.sync_served_bytes),
    by_reason!("samara_sync_refused", "Catch-up connections of others refused or broken, by reason.", |service| {
        &service.sync_server_refused
    }),
];
