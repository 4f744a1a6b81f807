//! Own votes, nullifies and proposals: decided, recorded, and only then counted and sent.

use super::{Consensus, Output, To};
use crate::app::Application;
use samara_crypto::Mutant;
use samara_types::message::{Nullify, Vote};
use samara_types::{Block, Digest, Record, Subject, View};
use std::collections::VecDeque;
use std::sync::Arc;

/// Records on their way to disk, oldest first.
#[derive(Default)]
pub(super) struct Unsigned {
    queue: VecDeque<(Record, Option<[u8; 96]>)>,
    durable: u64,
}

impl<A: Application> Consensus<A> {
    /// l.11, l.20, D2. `body` is the block when we judged it ourselves: it is made durable with the vote, so that what f+1 correct
    /// validators notarized survives a power failure of all.
    pub(super) fn vote(&mut self, view: View, digest: Digest, body: Option<Arc<Block>>) {
        if self.amnesia.is_some() {
            return;
        }
        let late = self.roster.has(Mutant::VoteAfterNullify);
        let state = self.state(view);
        assert!(state.voted.is_none() && (!state.nullified || late), "one vote a view, none after a nullify");
        state.voted = Some(digest);
        self.touched.insert(view);
        self.record(Record::Vote(view, digest), body);
    }

    pub(super) fn nullify(&mut self, view: View) {
        if self.amnesia.is_some() {
            return;
        }
        let state = self.state(view);
        assert!(!state.nullified, "one nullify a view");
        state.nullified = true;
        self.touched.insert(view);
        self.record(Record::Nullify(view), None);
    }

    /// Our own block: recorded as proposal and as vote, sent when both are durable.
    pub(super) fn on_proposed(&mut self, block: Arc<Block>) {
        let (view, digest) = (block.header().view, block.digest());
        let current = self.view;
        let state = self.state(view);
        if view != current || state.voted.is_some() || state.nullified {
            return;
        }
        self.chain.insert(Arc::clone(&block));
        // The body goes with the first of the two records: once anybody else has the block, its leader has it durably, and a
        // vote that is sent again after a restart never speaks for a block that is on no disk.
        self.record(Record::Proposal(view, digest), Some(block));
        self.vote(view, digest, None);
    }

    fn record(&mut self, record: Record, body: Option<Arc<Block>>) {
        let signature = self.sign(&record);
        self.unsigned.queue.push_back((record, signature));
        self.outputs.push_back(Output::Persist(record, body));
        if self.roster.has(Mutant::SendsBeforeSync) {
            self.on_persisted(self.unsigned.durable + self.unsigned.queue.len() as u64);
        }
    }

    /// The signature is made while the disk works; it stays here until the record is durable.
    fn sign(&self, record: &Record) -> Option<[u8; 96]> {
        let subject = match record {
            Record::Vote(view, digest) => Subject::Vote(*view, *digest),
            Record::Nullify(view) => Subject::Nullify(*view),
            Record::Proposal(..) => return None,
        };
        Some(self.secret.sign(self.roster.domain(), &self.roster.signed(&subject)))
    }

    pub(super) fn on_persisted(&mut self, records: u64) {
        while self.unsigned.durable < records {
            let Some((record, signature)) = self.unsigned.queue.pop_front() else {
                unreachable!("{records} records reported durable, {} were written", self.unsigned.durable);
            };
            self.unsigned.durable += 1;
            match (record, signature) {
                (Record::Proposal(view, digest), _) => self.outputs.push_back(Output::Disseminate(view, digest)),
                (Record::Vote(..) | Record::Nullify(..), Some(signature)) => self.release(record, signature),
                (Record::Vote(..) | Record::Nullify(..), None) => unreachable!("votes and nullifies are signed when recorded"),
            }
        }
    }

    /// A durable vote or nullify counts here and leaves, also if its view was finalized meanwhile: others may still need it.
    pub(super) fn release(&mut self, record: Record, signature: [u8; 96]) {
        let (view, me) = (record.view(), self.config.me);
        let alive = view > self.chain.tip().view;
        match record {
            Record::Vote(view, digest) => {
                if alive {
                    let state = self.state(view);
                    state.own_vote = Some(signature);
                    state.book.add_own(Subject::Vote(view, digest), me, signature);
                }
                let vote = Vote { view: view.0, digest: digest.0, signature };
                self.outputs.push_back(Output::SendVote(To::All, vote));
            }
            Record::Nullify(view) => {
                if alive {
                    let state = self.state(view);
                    state.own_nullify = Some(signature);
                    state.book.add_own(Subject::Nullify(view), me, signature);
                }
                self.outputs.push_back(Output::SendNullify(To::All, Nullify { view: view.0, signature }));
            }
            Record::Proposal(..) => unreachable!("a proposal carries no vote signature"),
        }
        if alive {
            self.touched.insert(view);
        }
    }

    /// Own vote of a view as it went out, byte for byte.
    pub(super) fn own_vote(&self, view: View) -> Option<Vote> {
        let state = self.states.get(&view)?;
        let (digest, signature) = (state.voted?, state.own_vote?);
        Some(Vote { view: view.0, digest: digest.0, signature })
    }

    /// Own nullify of a view as it went out.
    pub(super) fn own_nullify(&self, view: View) -> Option<Nullify> {
        let signature = self.states.get(&view)?.own_nullify?;
        Some(Nullify { view: view.0, signature })
    }
}
