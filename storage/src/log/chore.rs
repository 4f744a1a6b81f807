//! Chores beside the votes: the next segment is prepared before it is needed ([`crate::segment`]), and pruned ones are deleted.
//!
//! ```text
//! unlink ─► fsync directory ─► done
//! ```

use crate::io::{Lane, Operation, Ring, Value};
use crate::segment::{Preparation, VOTES, c_name};
use std::fs::File;
use std::io;
use std::sync::Arc;

/// What is being done.
pub enum Chore {
    /// Makes a segment.
    Prepare(Preparation),
    /// Deletes a segment.
    Delete { index: u64, unlinked: bool },
}

impl Chore {
    /// Starts the step this chore stands at.
    pub fn start(&self, ring: &mut Ring, directory: &Arc<File>) -> io::Result<()> {
        let operation = match self {
            Chore::Prepare(preparation) => return preparation.start(ring, directory),
            Chore::Delete { index, unlinked: false } => {
                Operation::Unlink { directory: Arc::clone(directory), name: c_name(&VOTES.name(*index)) }
            }
            Chore::Delete { unlinked: true, .. } => Operation::Sync { file: Arc::clone(directory) },
        };
        ring.start(Lane::Chore, operation)
    }

    /// The chore after its step succeeded; None if it was the last step of a deletion.
    pub fn advance(self, value: Value) -> Option<Chore> {
        match self {
            Chore::Prepare(preparation) => Some(Chore::Prepare(preparation.advance(value))),
            Chore::Delete { unlinked: true, .. } => None,
            Chore::Delete { index, .. } => Some(Chore::Delete { index, unlinked: true }),
        }
    }

    /// What it was doing, for errors.
    pub fn action(&self) -> (&'static str, String) {
        match self {
            Chore::Prepare(preparation) => ("prepare", preparation.file_name()),
            Chore::Delete { index, .. } => ("delete", VOTES.name(*index)),
        }
    }
}
