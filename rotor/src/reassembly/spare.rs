//! Memory for slices to come: no page of it is touched for the first time in the middle of a burst.
//!
//! A buffer is used again only for a slice that needs exactly it, so what a slice is charged is what it holds. Most slices of a chain are
//! alike: all but the last of a large block are full.

use samara_types::CHUNK_BYTES;
use samara_types::block::SLICES_MAX;
use std::collections::VecDeque;

/// Buffers kept, a block's worth: 1.1 MiB beside what is charged.
const SPARE_MAX: usize = SLICES_MAX;

/// Buffers of slices that became part of a block. When there are too many the one that lay longest goes.
#[derive(Default)]
pub(super) struct Spares(VecDeque<Vec<[u8; CHUNK_BYTES]>>);

impl Spares {
    /// A buffer for exactly `chunks`, used before if there is one; what is in it means nothing.
    pub(super) fn take(&mut self, chunks: usize) -> Vec<[u8; CHUNK_BYTES]> {
        let at = self.0.iter().rposition(|buffer| buffer.capacity() == chunks);
        at.and_then(|at| self.0.remove(at)).unwrap_or_else(|| Vec::with_capacity(chunks))
    }

    /// Keeps a buffer that is not needed any more.
    pub(super) fn put(&mut self, buffer: Vec<[u8; CHUNK_BYTES]>) {
        if self.0.len() == SPARE_MAX {
            self.0.pop_front();
        }
        self.0.push_back(buffer);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_serves_slices_of_its_own_size_only() {
        let mut spares = Spares::default();
        spares.put(vec![[1; CHUNK_BYTES]; 32]);
        assert_eq!(spares.take(5).capacity(), 5);
        assert_eq!((spares.len(), spares.take(32).len(), spares.len()), (1, 32, 0));
        assert_eq!(spares.take(32).len(), 0, "a fresh one");
    }

    #[test]
    fn the_buffer_that_lay_longest_makes_room() {
        let mut spares = Spares::default();
        for chunks in [3; SPARE_MAX].into_iter().chain([7]) {
            spares.put(vec![[0; CHUNK_BYTES]; chunks]);
        }
        assert_eq!((spares.len(), spares.take(7).len()), (SPARE_MAX, 7));
    }
}
