//! Feeds the frames of an [`crate::input_log`] to a machine, and tells the first input before which it has decided something else.
//!
//! Signatures need no key that made the original's: a machine never checks its own, so with other keys the same happens except for the bytes of
//! what it signs. What clients and peers signed is checked again.

use crate::input_log::{Decisions, Frame, Recorded};
use crate::machine::{Input, Output, Validator};
use crate::outlet::Outlet;
use samara_crypto::{Certificate, Roster, VerifiedTransaction, verify_batch};
use samara_types::message::{ArchivedCertificate, access};
use samara_types::{Block, Received};
use std::sync::Arc;

/// Why a frame was not fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Astray {
    /// The machine has decided something else than the original before this input: another version of the code, or another start.
    #[error("the machine has decided something else before this input")]
    Decided,
    /// A transaction or certificate in the log does not verify: it was not written by a machine of this chain.
    #[error("a signature in the log does not verify")]
    Signature,
}

/// See the module.
pub struct Playback {
    validator: Validator<u64>,
    roster: Arc<Roster>,
    decisions: Decisions,
    tickets: u64,
}

impl Playback {
    /// Of a machine that was just made from what the log starts with.
    pub fn new(validator: Validator<u64>, roster: Arc<Roster>) -> Playback {
        Playback { validator, roster, decisions: Decisions::default(), tickets: 0 }
    }

    /// The machine.
    pub fn validator(&self) -> &Validator<u64> {
        &self.validator
    }

    /// Feeds one frame; what the machine wants done goes to `output`.
    pub fn step(&mut self, frame: Frame, out: &mut dyn Outlet, mut output: impl FnMut(Output<u64>)) -> Result<(), Astray> {
        if frame.decisions != self.decisions.sum() {
            return Err(Astray::Decided);
        }
        let now = frame.now;
        match frame.input {
            Recorded::Messages(messages, is_burst) => {
                let burst: Vec<_> = messages.iter().map(|(from, kind, bytes)| Received { from: *from, kind: *kind, bytes }).collect();
                match burst.as_slice() {
                    [one] if !is_burst => self.validator.handle(now, Input::Message(one.from, one.kind, one.bytes), out),
                    burst => self.validator.handle(now, Input::Burst(burst), out),
                }
            }
            Recorded::Persisted(records) => self.validator.handle(now, Input::Persisted(records), out),
            Recorded::Submit(raw) => {
                let transaction = self.verified(vec![raw])?.remove(0);
                self.tickets += 1;
                self.validator.handle(now, Input::Submit(self.tickets, transaction), out);
            }
            Recorded::Gossip(raw) => {
                let transactions = self.verified(raw)?;
                self.validator.handle(now, Input::Gossip(transactions), out);
            }
            Recorded::Synced(run, done) => {
                let run = run.into_iter().map(|part| self.certified(part)).collect::<Result<Vec<_>, _>>()?;
                self.validator.handle(now, Input::Synced(run, done), out);
            }
            Recorded::Tick => self.validator.handle(now, Input::Tick, out),
        }
        while let Some(one) = self.validator.poll() {
            self.decisions.note(&one);
            output(one);
        }
        Ok(())
    }

    fn verified(&self, raw: Vec<Vec<u8>>) -> Result<Vec<VerifiedTransaction>, Astray> {
        verify_batch(&self.roster.domain().chain, raw).into_iter().collect::<Result<_, _>>().map_err(|_| Astray::Signature)
    }

    fn certified(&self, (block, certificate): (Block, Option<Vec<u8>>)) -> Result<(Block, Option<Certificate>), Astray> {
        let read = |bytes: Vec<u8>| {
            let certificate = access::<ArchivedCertificate>(&bytes).ok_or(Astray::Signature)?;
            self.roster.verify_certificate(certificate).map_err(|_| Astray::Signature)
        };
        Ok((block, certificate.map(read).transpose()?))
    }
}
