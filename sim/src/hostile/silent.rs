//! Receives and never sends: a crashed machine that looks alive.

use crate::actor::Hostile;

/// See the module.
pub struct Silent;

impl Hostile for Silent {
    fn name(&self) -> &'static str {
        "silent"
    }
}
