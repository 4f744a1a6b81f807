//! T17 to T24: hostile voters.

use super::{Expect, Scenario, short, with};
use crate::hostile::Kind;
use crate::swarm::{Fault, Plan};
use samara_types::{Nanos, Offence};

/// See the module.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "conflicter",
        what: "T17: votes for the block and thrice for another, in every view",
        plan: |seed| with("conflicter", seed, 6, Kind::Conflicter),
        expects: &[Expect::Accused(Offence::VoteEquivocation), Expect::Blocks(15)],
    },
    Scenario {
        name: "nuller",
        what: "T18: a vote and a nullify in every view",
        plan: |seed| with("nuller", seed, 6, Kind::Nuller),
        expects: &[Expect::Blocks(15)],
    },
    Scenario {
        name: "nullify_only",
        what: "T19: f of eleven nullify every view: no view of a correct leader is lost",
        plan: nullify_only,
        expects: &[Expect::Blocks(15)],
    },
    Scenario {
        name: "impersonator",
        what: "T20: others' signatures, forged certificates, proposals of others' views",
        plan: |seed| with("impersonator", seed, 6, Kind::Impersonator),
        expects: &[Expect::Accused(Offence::BadCertificate), Expect::Blocks(15)],
    },
    Scenario {
        name: "flood",
        what: "T21: messages of past and far views, requests without bound",
        plan: |seed| with("flood", seed, 6, Kind::Flooder),
        expects: &[Expect::Blocks(15)],
    },
    Scenario {
        name: "wrong_epoch",
        what: "T22: one validator signs for the next epoch",
        plan: |seed| with("wrong_epoch", seed, 6, Kind::WrongEpoch),
        expects: &[Expect::Accused(Offence::BadVoteSignature), Expect::Blocks(15)],
    },
    Scenario {
        name: "votes_to_half",
        what: "T23: votes and nullifies to half of the cluster",
        plan: |seed| with("votes_to_half", seed, 6, Kind::VotesToHalf),
        expects: &[Expect::Blocks(15)],
    },
    Scenario {
        name: "certificates_to_one",
        what: "T23: certificates to one validator only",
        plan: |seed| with("certificates_to_one", seed, 6, Kind::CertificatesToOne),
        expects: &[Expect::Blocks(15)],
    },
    Scenario {
        name: "liar",
        what: "T15, T23: wrong manifests, shreds, status and blocks; one validator starts late and needs them",
        plan: liar,
        expects: &[Expect::Blocks(15)],
    },
    Scenario {
        name: "twins",
        what: "T24: two machines with one key, n = 6",
        plan: |seed| Plan { faults_for: Nanos::from_millis(2_500), ..with("twins", seed, 6, Kind::Twins) },
        expects: &[Expect::Divided(1), Expect::Blocks(10)],
    },
    Scenario {
        name: "twins_11",
        what: "T24: two pairs of twins of eleven",
        plan: twins_11,
        expects: &[Expect::Divided(1), Expect::Blocks(10)],
    },
];

fn nullify_only(seed: u64) -> Plan {
    let mut plan = short("nullify_only", seed, 11);
    plan.hostile = vec![(2, Kind::NullifyOnly), (7, Kind::NullifyOnly)];
    plan
}

fn twins_11(seed: u64) -> Plan {
    let mut plan = short("twins_11", seed, 11);
    plan.hostile = vec![(1, Kind::Twins), (6, Kind::Twins)];
    plan
}

fn liar(seed: u64) -> Plan {
    let mut plan = with("liar", seed, 6, Kind::Liar);
    let late = (seed as usize + 3) % 6;
    plan.faults = vec![(Nanos::from_millis(30), Fault::Down(late)), (Nanos::from_millis(800), Fault::Start(late))];
    plan.network.link.loss_ppm = 100_000;
    plan
}
