//! Stands where the engine cannot exist: nobody can make one.

use crate::code::Chunk;
use crate::plan::{Layout, Plan};
use std::convert::Infallible;

/// Has no values.
pub(crate) struct Gfni(Infallible);

impl Gfni {
    pub fn new() -> Option<Gfni> {
        None
    }

    pub fn encode(&mut self, _layout: Layout, _data: &[Chunk], _parity: &mut [Chunk]) {
        match self.0 {}
    }

    pub fn restore(&mut self, _layout: Layout, _plan: &Plan, _data: &mut [Chunk], _parity: &[Option<&Chunk>]) {
        match self.0 {}
    }
}
