//! The bare code: parity from data, and lost data from any sufficient chunks. No tree, no verdict; [`crate::Coder`] adds both.

use crate::engine::Engine;
use crate::library::Library;
use crate::plan::{Layout, Place, Plan};
use crate::simd::Gfni;
use reed_solomon_simd::engine::{DefaultEngine, NoSimd};
use samara_types::CHUNK_BYTES;

/// One chunk of a code word.
pub type Chunk = [u8; CHUNK_BYTES];

/// Code id 0, byte for byte the code of `reed-solomon-simd` on chunks of 1,024 B, with its working memory (64 KiB for 256 + 256 chunks;
/// less for less). It allocates only when a code is larger than all before.
pub struct Code {
    engine: Engine,
    executor: Executor,
    plan: Plan,
}

/// Who carries a plan out.
enum Executor {
    Library(Library),
    Gfni(Gfni),
}

/// Fewer different chunks than the code word has data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fewer chunks than the code word has data")]
pub struct TooFew;

impl Default for Code {
    fn default() -> Self {
        Code::new(Engine::chosen())
    }
}

impl Code {
    /// With this engine. Panics if the CPU cannot run it (see [`Engine::is_available`]).
    pub fn new(engine: Engine) -> Code {
        let executor = match engine {
            Engine::Portable => Executor::Library(Library::new(Box::new(NoSimd::new()))),
            Engine::Library => Executor::Library(Library::new(Box::new(DefaultEngine::new()))),
            Engine::Gfni => Executor::Gfni(Gfni::new().expect("the caller asked whether this CPU can run the engine")),
        };
        Code { engine, executor, plan: Plan::default() }
    }

    /// The engine in use.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Writes the parity of `data`. Panics unless both are 1 to [`crate::CODE_CHUNKS_MAX`] chunks.
    pub fn encode(&mut self, data: &[Chunk], parity: &mut [Chunk]) {
        let layout = Layout::new(data.len(), parity.len());
        if let [only] = data {
            // A polynomial of degree 0.
            return parity.fill(*only);
        }
        match &mut self.executor {
            Executor::Library(library) => library.encode(layout, data, parity),
            Executor::Gfni(gfni) => gfni.encode(layout, data, parity),
        }
    }

    /// Restores in place the data chunks that are not there, from those that are and from parity chunks: at least as many together as there
    /// are data chunks. Panics unless there are 1 to [`crate::CODE_CHUNKS_MAX`] places for data, and as many for parity if any data is
    /// lost.
    pub fn restore(&mut self, data: &mut [Chunk], is_there: impl Fn(usize) -> bool, parity: &[Option<&Chunk>]) -> Result<(), TooFew> {
        if (0..data.len()).all(&is_there) {
            return Ok(());
        }
        let layout = Layout::new(data.len(), parity.len());
        let received = |index: usize| if index < layout.data { is_there(index) } else { parity[index - layout.data].is_some() };
        if !self.plan.make(layout, received) {
            return Err(TooFew);
        }
        match &mut self.executor {
            Executor::Library(library) => library.restore(layout, &self.plan, data, parity),
            Executor::Gfni(gfni) => gfni.restore(layout, &self.plan, data, parity),
        }
        Ok(())
    }
}

/// A chunk that a plan uses.
#[inline]
pub(crate) fn known_chunk<'a>(place: &Place, data: &'a [Chunk], parity: &[Option<&'a Chunk>]) -> &'a Chunk {
    match data.get(place.index) {
        Some(chunk) => chunk,
        None => parity[place.index - data.len()].expect("a plan uses chunks that are there"),
    }
}
