//! T13, T14, T16, T22, T23: an honest machine whose words reach only some, too late, or under another epoch.
//!
//! | habit | what it does |
//! |---|---|
//! | `votes_to_half` | votes and nullifies go to a half drawn for every view |
//! | `certificates_to_one` | certificates go to one seat only |
//! | `seat_withholder` | relays nothing, and answers no request |
//! | `body_withholder` | its own proposals reach a random part, from nobody to everybody but one; answers no request |
//! | `late` | its proposals leave just before or just after the others' timers |
//! | `wrong_epoch` | signs votes, nullifies and slices for the next epoch |

use super::led::Manner;
use super::proposals::{everybody, members, say_to, send_block, shred_in, some};
use super::puppet::Words;
use crate::actor::Stage;
use crate::trace::Target;
use samara_types::message::{ArchivedNullify, ArchivedVote, Nullify, Vote, access, encode};
use samara_types::{Digest, Epoch, MessageKind, Nanos, SigningDomain, Subject, View};
use std::collections::VecDeque;
use std::sync::Arc;

/// Messages that wait to be late; more leave at once.
const WAITING_MAX: usize = 4_096;

/// What it does with its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// See the table.
    VotesToHalf,
    /// See the table.
    CertificatesToOne,
    /// See the table.
    SeatWithholder,
    /// See the table.
    BodyWithholder,
    /// A proposal to so many seats exactly: a scenario's.
    ProposalTo(u8),
    /// See the table.
    Late,
    /// See the table.
    WrongEpoch,
}

/// See the module.
pub struct Muzzle {
    habit: Habit,
    half: (View, Vec<bool>),
    waiting: VecDeque<(Nanos, Target, MessageKind, Arc<[u8]>)>,
}

impl Muzzle {
    /// Nothing said.
    pub fn new(habit: Habit) -> Muzzle {
        Muzzle { habit, half: (View(0), Vec::new()), waiting: VecDeque::new() }
    }

    /// The half of this view.
    fn half(&mut self, view: View, stage: &mut Stage<'_>) -> &[bool] {
        if self.half.1.is_empty() || self.half.0 != view {
            self.half = (view, some(stage.cluster.len() / 2, stage));
        }
        &self.half.1
    }

    /// A proposal to some only.
    fn propose(&mut self, words: Words, stage: &mut Stage<'_>) {
        let others = stage.cluster.len() as u64 - 1;
        match self.habit {
            Habit::BodyWithholder => {
                let count = stage.dice.below(others) as usize;
                let seats = some(count, stage);
                say_to(words, &seats, stage);
            }
            Habit::ProposalTo(count) => {
                // The vote goes to all, as in the scenario: the body does not.
                let seats: Vec<bool> = (0..stage.cluster.len())
                    .map(|seat| (seat + stage.cluster.len() - stage.me - 1) % stage.cluster.len() < usize::from(count))
                    .collect();
                say_to(words, &seats, stage);
            }
            Habit::Late => {
                // 2Δ less what a message may take, or a little more than 2Δ.
                let timeout = stage.params.view_timeout.0;
                let late = Nanos(stage.dice.range(timeout * 9 / 10, timeout * 11 / 10));
                for (target, kind, bytes) in words.sends {
                    if self.waiting.len() < WAITING_MAX {
                        self.waiting.push_back((stage.now.after(late), target, kind, bytes));
                    }
                }
            }
            Habit::WrongEpoch => {
                let block = words.proposals.first().cloned();
                let everybody = everybody(stage);
                let domain = next_epoch(stage);
                let block = block.and_then(|block| shred_in(domain, *block.header(), block.payload().to_vec(), stage));
                if let Some(block) = block {
                    send_block(&block, &everybody, stage);
                }
            }
            _ => self.pass(words, stage),
        }
    }

    /// Everything else.
    fn pass(&mut self, words: Words, stage: &mut Stage<'_>) {
        for (target, kind, bytes) in words.sends {
            match (self.habit, kind) {
                (Habit::VotesToHalf, MessageKind::Vote | MessageKind::Nullify) => {
                    let half: Vec<bool> = self.half(view_of(kind, &bytes), stage).to_vec();
                    match target {
                        Target::All => members(&half).for_each(|to| stage.send(to, kind, &bytes)),
                        Target::One(to) if half[to.at()] => stage.sends.push((target, kind, bytes)),
                        Target::One(_) => {}
                    }
                }
                (Habit::CertificatesToOne, MessageKind::Certificate) => {
                    let to = (stage.me + 1) % stage.cluster.len();
                    stage.send(to, kind, &bytes);
                }
                (Habit::SeatWithholder, MessageKind::Shred | MessageKind::Manifest | MessageKind::RepairShred) => {}
                (Habit::BodyWithholder | Habit::ProposalTo(_), MessageKind::Manifest | MessageKind::RepairShred) => {}
                (Habit::WrongEpoch, MessageKind::Vote | MessageKind::Nullify) => {
                    let bytes = resign(kind, &bytes, stage).unwrap_or(bytes);
                    stage.sends.push((target, kind, bytes));
                }
                _ => stage.sends.push((target, kind, bytes)),
            }
        }
    }
}

impl Manner for Muzzle {
    fn name(&self) -> &'static str {
        match self.habit {
            Habit::VotesToHalf => "votes_to_half",
            Habit::CertificatesToOne => "certificates_to_one",
            Habit::SeatWithholder => "seat_withholder",
            Habit::BodyWithholder => "body_withholder",
            Habit::ProposalTo(_) => "proposal_to",
            Habit::Late => "late",
            Habit::WrongEpoch => "wrong_epoch",
        }
    }

    fn speak(&mut self, words: Words, stage: &mut Stage<'_>) {
        while self.waiting.front().is_some_and(|(at, ..)| *at <= stage.now)
            && let Some((_, target, kind, bytes)) = self.waiting.pop_front()
        {
            stage.sends.push((target, kind, bytes));
        }
        if words.proposals.is_empty() {
            self.pass(words, stage);
        } else {
            self.propose(words, stage);
        }
    }

    fn next_deadline(&self) -> Option<Nanos> {
        self.waiting.front().map(|(at, ..)| *at)
    }
}

fn view_of(kind: MessageKind, bytes: &[u8]) -> View {
    let view = match kind {
        MessageKind::Vote => access::<ArchivedVote>(bytes).map(|vote| vote.view.to_native()),
        _ => access::<ArchivedNullify>(bytes).map(|nullify| nullify.view.to_native()),
    };
    View(view.unwrap_or_default())
}

fn next_epoch(stage: &Stage<'_>) -> SigningDomain {
    let domain = stage.cluster.roster.domain();
    SigningDomain { epoch: Epoch(domain.epoch.0 + 1), ..*domain }
}

/// The same subject under the next epoch.
fn resign(kind: MessageKind, bytes: &[u8], stage: &Stage<'_>) -> Option<Arc<[u8]>> {
    let secret = &stage.cluster.keys[stage.me].vote;
    let sign = |subject| secret.sign(&next_epoch(stage), &subject);
    let bytes = match kind {
        MessageKind::Vote => {
            let vote = access::<ArchivedVote>(bytes)?;
            let (view, digest) = (View(vote.view.to_native()), Digest(vote.digest));
            encode(&Vote { view: view.0, digest: digest.0, signature: sign(Subject::Vote(view, digest)) })
        }
        _ => {
            let view = View(access::<ArchivedNullify>(bytes)?.view.to_native());
            encode(&Nullify { view: view.0, signature: sign(Subject::Nullify(view)) })
        }
    };
    Some(bytes.as_slice().into())
}
