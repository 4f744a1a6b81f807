//! Most hostile modules: a puppet follows the chain, a manner decides what becomes of its words.

use super::puppet::{Puppet, Words};
use crate::actor::{Hostile, Stage};
use crate::catch_up::Answer;
use samara_types::{Height, MessageKind, Nanos};

/// Ticks of a puppet are at least this far apart: its disk takes no time, so that nothing else holds it back.
const TICK: Nanos = Nanos(100_000);

/// What becomes of a puppet's words.
pub trait Manner {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// The puppet wants to say this.
    fn speak(&mut self, words: Words, stage: &mut Stage<'_>);

    /// A message arrived, before the puppet hears it. False keeps it from the puppet.
    fn hear(&mut self, _from: usize, _kind: MessageKind, _bytes: &[u8], _stage: &mut Stage<'_>) -> bool {
        true
    }

    /// When it wants to be called at the latest.
    fn next_deadline(&self) -> Option<Nanos> {
        None
    }

    /// A peer wants blocks.
    fn serve(&mut self, _from: Height) -> Option<Answer> {
        None
    }
}

/// A puppet and a manner.
pub struct Led<M> {
    puppet: Option<Puppet>,
    manner: M,
}

impl<M: Manner> Led<M> {
    /// Before the run.
    pub fn new(manner: M) -> Led<M> {
        Led { puppet: None, manner }
    }

    fn speak(&mut self, words: Words, stage: &mut Stage<'_>) {
        self.manner.speak(words, stage);
        let puppet = self.puppet.as_ref().and_then(Puppet::next_deadline).map(|at| at.max(stage.now.after(TICK)));
        stage.wake = [puppet, self.manner.next_deadline()].into_iter().flatten().min();
    }
}

impl<M: Manner> Hostile for Led<M> {
    fn name(&self) -> &'static str {
        self.manner.name()
    }

    fn start(&mut self, stage: &mut Stage<'_>) {
        self.puppet = Some(Puppet::new(stage));
        self.wake(stage);
    }

    fn deliver(&mut self, from: usize, kind: MessageKind, bytes: &[u8], stage: &mut Stage<'_>) {
        if !self.manner.hear(from, kind, bytes, stage) {
            return;
        }
        let Some(puppet) = &mut self.puppet else { return };
        let words = puppet.deliver(stage.now, from, kind, bytes);
        self.speak(words, stage);
    }

    fn wake(&mut self, stage: &mut Stage<'_>) {
        let Some(puppet) = &mut self.puppet else { return };
        let words = puppet.tick(stage.now);
        self.speak(words, stage);
    }

    fn serve(&mut self, from: Height) -> Option<Answer> {
        self.manner.serve(from)
    }
}
