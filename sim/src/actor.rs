//! Who sits in a seat of the cluster: an honest validator, or a hostile module with the same keys that may send anything.
//!
//! A hostile module sees every message its seat receives, knows all public data, and holds the secrets of its own seat (and of its allies').
//! It may send any bytes to anybody, but only under its own session: the network authenticates seats, as production's sessions do. To add
//! one: a file in `hostile/`, `impl Hostile`, a line in [`crate::hostile::Kind`].

use crate::catch_up::Answer;
use crate::dice::Dice;
use crate::kit::Cluster;
use crate::node::Node;
use crate::trace::Target;
use samara_types::{Height, MessageKind, Nanos, Params};
use std::sync::Arc;

/// What sits in one seat.
pub enum Actor {
    /// The code of production.
    Honest(Box<Node>),
    /// Anything.
    Hostile(Box<dyn Hostile>),
}

impl Actor {
    /// The honest node, if it is one.
    pub fn honest(&self) -> Option<&Node> {
        match self {
            Actor::Honest(node) => Some(node),
            Actor::Hostile(_) => None,
        }
    }

    /// The same, to change it.
    pub fn honest_mut(&mut self) -> Option<&mut Node> {
        match self {
            Actor::Honest(node) => Some(node),
            Actor::Hostile(_) => None,
        }
    }
}

/// What a hostile module may see and do in one call.
pub struct Stage<'a> {
    /// World time.
    pub now: Nanos,
    /// Its seat.
    pub me: usize,
    /// All hostile seats; their secrets may be used.
    pub allies: &'a [usize],
    /// Public data, and everybody's secrets: a module uses its own and its allies' only.
    pub cluster: &'a Cluster,
    /// The chain's parameters.
    pub params: &'a Params,
    /// Its own chance.
    pub dice: &'a mut Dice,
    /// What it sends, in order.
    pub sends: Vec<(Target, MessageKind, Arc<[u8]>)>,
    /// Call [`Hostile::wake`] at this time.
    pub wake: Option<Nanos>,
}

impl Stage<'_> {
    /// Sends to one seat.
    pub fn send(&mut self, to: usize, kind: MessageKind, bytes: &[u8]) {
        self.sends.push((Target::One(samara_types::ValidatorIndex(to as u16)), kind, bytes.into()));
    }

    /// Sends to everybody else.
    pub fn broadcast(&mut self, kind: MessageKind, bytes: &[u8]) {
        self.sends.push((Target::All, kind, bytes.into()));
    }
}

/// A hostile validator. It may keep any state, must be deterministic in what it sees and its dice, and must not work without bound.
pub trait Hostile {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// The run begins.
    fn start(&mut self, _stage: &mut Stage<'_>) {}

    /// A message arrived at its seat.
    fn deliver(&mut self, _from: usize, _kind: MessageKind, _bytes: &[u8], _stage: &mut Stage<'_>) {}

    /// The time it asked for.
    fn wake(&mut self, _stage: &mut Stage<'_>) {}

    /// A peer wants blocks from its store. None: no connection.
    fn serve(&mut self, _from: Height) -> Option<Answer> {
        None
    }
}
