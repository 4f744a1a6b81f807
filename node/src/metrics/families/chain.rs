//! What the validator machine did: chain, consensus, dissemination, peers.

use super::{LONG, NS, SHORT, US, node};
use crate::bridge::NodeSnapshot;
use crate::metrics::picture::Picture;
use crate::metrics::sample::{Emit, Family, PLAIN};

/// A family of one number of the snapshot.
macro_rules! of {
    ($kind:ident $name:literal, $help:literal, $value:expr) => {
        Family::$kind($name, &[], $help, |picture, emit| {
            if let Some(node) = node(picture) {
                let value: fn(&NodeSnapshot) -> f64 = $value;
                emit.number(PLAIN, value(node));
            }
        })
    };
}

pub const CHAIN: &[Family] = &[
    of!(gauge "samara_view", "Current view.", |node| node.view as f64),
    of!(gauge "samara_finalized_height", "Height of the last finalized block.", |node| node.finalized_height as f64),
    of!(gauge "samara_finalized_view", "View of the last finalized block.", |node| node.finalized_view as f64),
    of!(gauge "samara_stored_height", "Height of the last block on disk.", |node| node.stored_height as f64),
    of!(counter "samara_finalized_blocks", "Blocks finalized.", |node| node.finalized_blocks as f64),
    of!(counter "samara_finalized_transactions", "Transactions in finalized blocks.", |node| node.finalized_txs as f64),
    of!(counter "samara_finalized_payload_bytes", "Payload bytes in finalized blocks.", |node| node.finalized_bytes as f64),
    of!(counter "samara_proposed_blocks", "Blocks this validator proposed.", |node| node.proposed_blocks as f64),
    of!(counter "samara_nullified_views", "Views this validator left by a nullification.", |node| node.nullified_views as f64),
    Family::counter(
        "samara_nullifications",
        &["leader", "reason"],
        "Nullified views by leader and by what this validator lacked: no_proposal, incomplete, not_voted, not_notarized.",
        |picture, emit| {
            for row in node(picture).into_iter().flat_map(|node| &node.nullifications) {
                emit.count(&[row.leader.to_string(), row.reason.clone()], row.count);
            }
        },
    ),
    of!(counter "samara_votes_received", "Votes and nullifies received.", |node| node.votes_received as f64),
    of!(counter "samara_certificates_received", "Certificates received.", |node| node.certificates_received as f64),
    of!(counter "samara_vote_records_durable", "Votes, nullifies and proposals of this validator that reached the disk.", |node| {
        node.records_durable as f64
    }),
    of!(counter "samara_pairing_checks", "Pairing checks of vote batches and certificates.", |node| node.pairing_checks as f64),
    of!(counter "samara_evidence", "Offences of others that were seen.", |node| node.evidence as f64),
    Family::gauge("samara_quorum_weight", &["mark"], "Weights of the set: total, m (2f+1), l (S-f).", |picture, emit| {
        if let Some(marks) = node(picture).map(|node| node.marks) {
            [("total", marks.total), ("m", marks.m), ("l", marks.l)].into_iter().for_each(|(mark, weight)| emit.count(&[mark], weight));
        }
    }),
    of!(gauge "samara_final_certificate_weight", "Weight that signed the newest L-notarization seen with its block.", |node| {
        node.final_weight as f64
    }),
    Family::histogram("samara_view_seconds", &[], "Time from entering a view to leaving it.", |picture, emit| {
        node(picture).into_iter().for_each(|node| emit.spread(PLAIN, &node.view_us, US, LONG));
    }),
    Family::histogram(
        "samara_block_finality_seconds",
        &[],
        "Time from the first shred of a proposal (or the start of building it) to its finality.",
        |picture, emit| node(picture).into_iter().for_each(|node| emit.spread(PLAIN, &node.block_finality_us, US, LONG)),
    ),
    Family::histogram(
        "samara_block_stage_seconds",
        &["stage"],
        "Stages of a block: disseminate, judge, vote_log, notarize, finalize, then store.",
        |picture, emit| {
            for (stage, spread) in node(picture).into_iter().flat_map(|node| &node.stage_us) {
                emit.spread(&[stage], spread, US, LONG);
            }
        },
    ),
    Family::histogram(
        "samara_vote_log_sync_seconds",
        &[],
        "Time from handing a record to the vote log to knowing it durable.",
        |picture, emit| node(picture).into_iter().for_each(|node| emit.spread(PLAIN, &node.vote_log_sync_us, US, SHORT)),
    ),
    of!(gauge "samara_finality_gap_max_seconds", "Longest time between two finalized blocks so far.", |node| {
        node.finalized_gap_max_us as f64 * US
    }),
    of!(gauge "samara_mempool_transactions", "Transactions waiting for a block.", |node| node.mempool_txs as f64),
    of!(gauge "samara_mempool_bytes", "Bytes of them.", |node| node.mempool_bytes as f64),
    Family::counter(
        "samara_machine_seconds",
        &["stage"],
        "CPU time of the hot core by stage of the work; differs from samara_reactor_stage_seconds_total by being CPU time, and finer.",
        |picture, emit| {
            for (stage, ns) in node(picture).into_iter().flat_map(|node| &node.stage_ns) {
                emit.number(&[stage], *ns as f64 * NS);
            }
        },
    ),
    Family::counter(
        "samara_inputs_refused",
        &["reason"],
        "Shreds, votes, certificates and other inputs the machine refused, by reason.",
        |picture, emit| node(picture).into_iter().for_each(|node| refused(node, emit)),
    ),
];

/// The drops that no other family has: those of sessions, classes and ports have labels of their own there.
fn refused(node: &NodeSnapshot, emit: &mut Emit) {
    let elsewhere = ["session_", "class_", "unsent_", "port_"];
    let shreds = samara_rotor::ShredReject::ALL.iter().map(|reason| format!("shred_{}", reason.as_str()));
    let votes = samara_consensus::VoteReject::ALL.iter().map(|reason| reason.as_str().to_string());
    let known: Vec<String> = shreds.chain(votes).collect();
    let others = node.drops.keys().filter(|reason| !known.contains(reason) && !elsewhere.iter().any(|prefix| reason.starts_with(prefix)));
    for reason in known.iter().chain(others) {
        emit.count(&[reason], node.drops.get(reason).copied().unwrap_or(0));
    }
}

pub const DISSEMINATION: &[Family] = &[
    Family::counter(
        "samara_shreds",
        &["stage"],
        "Shreds: stored, repaired (of the stored ones, answers to requests), relayed (to everybody, as holder of the seat), relay_dropped.",
        |picture, emit| {
            if let Some(counts) = node(picture).map(|node| node.dissemination) {
                emit.count(&["stored"], counts.shreds_stored);
                emit.count(&["repaired"], counts.shreds_repaired);
                emit.count(&["relayed"], counts.shreds_relayed);
                emit.count(&["relay_dropped"], counts.relays_dropped);
            }
        },
    ),
    Family::counter(
        "samara_slices",
        &["result"],
        "Code words decoded, and those that were not what the leader signed (tainted).",
        |picture, emit| {
            if let Some(counts) = node(picture).map(|node| node.dissemination) {
                emit.count(&["decoded"], counts.slices_decoded);
                emit.count(&["tainted"], counts.slices_tainted);
            }
        },
    ),
    of!(gauge "samara_reassembly_bytes", "Bytes held for blocks under way and for repairs.", |node| node.dissemination.bytes_held as f64),
    of!(gauge "samara_reassembly_views", "Views with something held.", |node| node.dissemination.views_held as f64),
    Family::histogram(
        "samara_relay_residence_seconds",
        &[],
        "Time from taking a shred of an own seat out of its datagram to having it queued for everybody.",
        |picture, emit| node(picture).into_iter().for_each(|node| emit.spread(PLAIN, &node.relay_us, US, SHORT)),
    ),
];

pub const PEERS: &[Family] = &[
    of!(gauge "samara_sessions_up", "Peers with a session that was heard lately.", |node| f64::from(node.sessions_up)),
    of!(gauge "samara_peers", "Validators of the set besides this one.", |node| node.peers.len() as f64),
    Family::gauge("samara_peer_stake", &["peer"], "Weight of a peer.", |picture, emit| {
        peers(picture).for_each(|peer| emit.count(&[peer.peer], peer.stake));
    }),
    Family::gauge("samara_peer_up", &["peer"], "1 if a peer's session was heard lately.", |picture, emit| {
        peers(picture).for_each(|peer| emit.count(&[peer.peer], u64::from(peer.up)));
    }),
    Family::counter("samara_peer_votes", &["peer"], "Votes and nullifies received of a peer.", |picture, emit| {
        peers(picture).for_each(|peer| emit.count(&[peer.peer], peer.votes));
    }),
    Family::counter(
        "samara_peer_seats_served",
        &["peer"],
        "Shreds a peer sent on from seats of its own that were of use here.",
        |picture, emit| peers(picture).for_each(|peer| emit.count(&[peer.peer], peer.seats_served)),
    ),
    Family::gauge(
        "samara_peer_round_trip_seconds",
        &["peer"],
        "Round trip of the newest handshake with a peer (one each ten minutes, and at every new session), with both ends' computation.",
        |picture, emit| {
            for peer in peers(picture) {
                peer.round_trip_us.into_iter().for_each(|us| emit.number(&[peer.peer], us as f64 * US));
            }
        },
    ),
    Family::counter(
        "samara_peer_datagrams_expected",
        &["peer"],
        "Datagrams a peer is known to have sent under sessions, by their counters.",
        |picture, emit| peers(picture).for_each(|peer| emit.count(&[peer.peer], peer.datagrams_expected)),
    ),
    Family::counter(
        "samara_peer_datagrams_arrived",
        &["peer"],
        "Those of them that came; what is missing was lost or is under way.",
        |picture, emit| peers(picture).for_each(|peer| emit.count(&[peer.peer], peer.datagrams_arrived)),
    ),
];

fn peers(picture: &Picture) -> impl Iterator<Item = &crate::bridge::PeerRow> {
    node(picture).into_iter().flat_map(|node| &node.peers)
}
