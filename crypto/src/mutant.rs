//! Known bugs, to be planted by the simulator so that its checkers are seen to find them. Never by anything else.
//!
//! The switch is a value and no cargo feature: features unify over a workspace, so that a test of everything would build the `samara` binary
//! with the bugs in it. A planted bug travels with the [`crate::Roster`], which every room that could have it already holds; it costs a
//! comparison with `None`. [`crate::Roster::new`] plants nothing, [`crate::Roster::planted`] is called by `samara-sim` alone, and a test of
//! that crate reads the sources of all others to make sure.

/// A bug that somebody has had (reference, sections 3 and 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mutant {
    /// f+1 contradicting signers unlock a voter (Kairos 3).
    ContradictionAtFPlus1,
    /// Finality at S-2f votes.
    FinalityAtTwoFLess,
    /// M-notarization, nullification and contradiction at S-3f.
    QuorumAtThreeFLess,
    /// A vote in a view that was nullified.
    VoteAfterNullify,
    /// The timeout unlocks a voter.
    TimeoutAfterVote,
    /// No vote for a notarized block (l.20, D2).
    NoVote2,
    /// Views between a block and its parent need no nullification (iii, C2).
    NoGapCheck,
    /// A signer that repeats itself counts again towards contradiction (Kairos 3).
    RepeatedSigner,
    /// The view is not under the signature of votes, nullifies and certificates (Kairos 5).
    CrossViewReplay,
    /// What the log remembers is not replayed at a restart (Kairos 9).
    ForgetsAtRestart,
    /// Votes, nullifies and proposals leave before they are durable (Kairos 9).
    SendsBeforeSync,
    /// Voted and nullified are kept for the current view only (paper, section 1.3 of the reference).
    CurrentViewFlags,
    /// Only the first notarization of a view is forwarded (commonware's engine).
    FirstCertificateOnly,
    /// Whether a slice is the last one is not under its signature: a shred's type is what the sender says.
    UnsignedLastSlice,
    /// A relay sends on what it has sent on before.
    RelaysDuplicates,
    /// A slice is taken as decoded from whichever shreds came first, without comparing the code word with its root.
    VerdictByArrivals,
    /// A validator without its log speaks again once it has listened, though nothing is final above what was proven.
    SpeaksTooEarly,
    /// Transactions of final blocks are not remembered at a restart.
    ForgetsTransactions,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Mutant; 18] = [
        Self::ContradictionAtFPlus1,
        Self::FinalityAtTwoFLess,
        Self::QuorumAtThreeFLess,
        Self::VoteAfterNullify,
        Self::TimeoutAfterVote,
        Self::NoVote2,
        Self::NoGapCheck,
        Self::RepeatedSigner,
        Self::CrossViewReplay,
        Self::ForgetsAtRestart,
        Self::SendsBeforeSync,
        Self::CurrentViewFlags,
        Self::FirstCertificateOnly,
        Self::UnsignedLastSlice,
        Self::RelaysDuplicates,
        Self::VerdictByArrivals,
        Self::SpeaksTooEarly,
        Self::ForgetsTransactions,
    ];

    /// Name on the command line and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ContradictionAtFPlus1 => "contradiction_at_f_plus_1",
            Self::FinalityAtTwoFLess => "finality_at_n_minus_2f",
            Self::QuorumAtThreeFLess => "quorum_at_n_minus_3f",
            Self::VoteAfterNullify => "vote_after_nullify",
            Self::TimeoutAfterVote => "timeout_after_vote",
            Self::NoVote2 => "no_vote2",
            Self::NoGapCheck => "no_gap_check",
            Self::RepeatedSigner => "repeated_signer",
            Self::CrossViewReplay => "cross_view_replay",
            Self::ForgetsAtRestart => "forgets_at_restart",
            Self::SendsBeforeSync => "sends_before_sync",
            Self::CurrentViewFlags => "current_view_flags",
            Self::FirstCertificateOnly => "first_certificate_only",
            Self::UnsignedLastSlice => "unsigned_last_slice",
            Self::RelaysDuplicates => "relays_duplicates",
            Self::VerdictByArrivals => "verdict_by_arrivals",
            Self::SpeaksTooEarly => "speaks_too_early",
            Self::ForgetsTransactions => "forgets_transactions",
        }
    }

    /// From its name.
    pub fn find(name: &str) -> Option<Mutant> {
        Self::ALL.into_iter().find(|mutant| mutant.as_str() == name)
    }
}
