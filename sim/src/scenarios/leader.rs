//! T10 to T16: one leader is faulty.

use super::{Expect, Scenario, with};
use crate::hostile::Kind;

/// See the module.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "leader_crash",
        what: "T10: a leader is dead; its views cost at most 3Δ",
        plan: |seed| with("leader_crash", seed, 6, Kind::Silent),
        expects: &[Expect::Nullified(1), Expect::ViewsWithin(300)],
    },
    Scenario {
        name: "equivocation_3_2",
        what: "T11: two blocks, to three and to two of five; at most 4Δ",
        plan: |seed| with("equivocation_3_2", seed, 6, Kind::Split([3, 2, 0])),
        expects: &[Expect::Divided(1), Expect::ViewsWithin(400)],
    },
    Scenario {
        name: "equivocation_3_3",
        what: "T11: two blocks, to three and to three of six: both can be notarized; at most 4Δ",
        plan: |seed| with("equivocation_3_3", seed, 7, Kind::Split([3, 3, 0])),
        expects: &[Expect::Divided(1), Expect::ViewsWithin(400), Expect::TwoNotarized(1)],
    },
    Scenario {
        name: "equivocation_2_2_1",
        what: "T11: three blocks, to two, two and one; at most 4Δ",
        plan: |seed| with("equivocation_2_2_1", seed, 6, Kind::Split([2, 2, 1])),
        expects: &[Expect::Divided(1), Expect::ViewsWithin(400)],
    },
    Scenario {
        name: "invalid_block",
        what: "T12: invalid payloads, heights and parents, a parent that skips a notarized view",
        plan: |seed| with("invalid_block", seed, 6, Kind::BadProposer),
        expects: &[Expect::Nullified(1), Expect::ViewsWithin(400)],
    },
    Scenario {
        name: "proposal_to_quorum",
        what: "T13: the proposal reaches 2f seats: with the leader's vote a notarization",
        plan: |seed| with("proposal_to_quorum", seed, 6, Kind::ProposalTo(2)),
        expects: &[Expect::Blocks(15)],
    },
    Scenario {
        name: "proposal_to_fewer",
        what: "T13: the proposal reaches one seat less than a notarization needs",
        plan: |seed| with("proposal_to_fewer", seed, 6, Kind::ProposalTo(1)),
        expects: &[Expect::Nullified(1), Expect::ViewsWithin(400)],
    },
    Scenario {
        name: "late_proposal",
        what: "T14: the proposal comes when timers run out",
        plan: |seed| with("late_proposal", seed, 6, Kind::Late),
        expects: &[Expect::Nullified(1), Expect::ViewsWithin(400)],
    },
    Scenario {
        name: "withheld_body",
        what: "T15: bodies reach some only and are never repaired by their leader: pulled from those who have them",
        plan: |seed| with("withheld_body", seed, 6, Kind::BodyWithholder),
        expects: &[Expect::Blocks(15), Expect::ViewsWithin(400)],
    },
    Scenario {
        name: "malformed_code",
        what: "T16: slices that are no code words, blocks that do not end",
        plan: |seed| with("malformed_code", seed, 6, Kind::Miscoder),
        expects: &[Expect::Nullified(1), Expect::ViewsWithin(400)],
    },
    Scenario {
        name: "withheld_seats",
        what: "T16: a relay that relays nothing and repairs nothing, large blocks",
        plan: |seed| {
            let mut plan = with("withheld_seats", seed, 6, Kind::SeatWithholder);
            (plan.load.per_second, plan.load.data_bytes_max) = (800, 1_000);
            plan
        },
        expects: &[Expect::Blocks(15), Expect::Acknowledged(100)],
    },
];
