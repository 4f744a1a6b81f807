//! Which implementation of the code runs. All give the same bytes; they differ in speed and in what they ask of the CPU.
//!
//! | choice | needs | does |
//! |---|---|---|
//! | `gfni` | AVX-512 F/BW/VL and GFNI | whole transforms of 128 B columns, multiplication by bit matrices (`simd`) |
//! | `library` | any CPU | the library's fastest engine: AVX2, SSSE3, NEON or none |
//! | `portable` | any CPU | the library's engine without vector instructions |
//!
//! The process that is built around this crate may name a choice once, with [`set_engine`], before the first coder is made;
//! [`crate::Coder::new`] takes that choice, or the best this CPU can run. What the CPU offers is for [`crate::AVX512_VARIABLE`] to restrict.

use crate::simd;
use std::fmt::{self, Display};
use std::str::FromStr;
use std::sync::OnceLock;

/// An implementation of the code, from the slowest to the fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// `reed-solomon-simd` without vector instructions.
    Portable,
    /// The fastest engine of `reed-solomon-simd` for this CPU.
    Library,
    /// AVX-512 and GFNI.
    Gfni,
}

/// A choice that this process cannot follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// No engine has this name.
    #[error("no such erasure engine: allowed is auto, gfni, library, portable")]
    Unknown,
    /// The CPU lacks what the engine needs.
    #[error("the erasure engine gfni needs AVX-512 (F, BW, VL) and GFNI, which this CPU does not offer or SAMARA_AVX512 = off forbids")]
    Unsupported,
    /// Another engine was chosen, or a coder was made, before.
    #[error("the erasure engine is chosen once, before the first coder is made")]
    Late,
}

static CHOSEN: OnceLock<Engine> = OnceLock::new();

/// Makes this the engine of every coder of the process that does not name one. Call it once, early.
pub fn set_engine(engine: Engine) -> Result<(), EngineError> {
    if !engine.is_available() {
        return Err(EngineError::Unsupported);
    }
    if *CHOSEN.get_or_init(|| engine) == engine { Ok(()) } else { Err(EngineError::Late) }
}

impl Engine {
    /// The one set for the process, or the best for this CPU.
    pub fn chosen() -> Engine {
        *CHOSEN.get_or_init(Engine::best)
    }

    /// The fastest that this CPU can run.
    pub fn best() -> Engine {
        if Engine::Gfni.is_available() { Engine::Gfni } else { Engine::Library }
    }

    /// Every engine that this CPU can run.
    pub fn available() -> impl Iterator<Item = Engine> {
        [Engine::Portable, Engine::Library, Engine::Gfni].into_iter().filter(|engine| engine.is_available())
    }

    /// Whether this CPU can run it.
    pub fn is_available(self) -> bool {
        self != Engine::Gfni || simd::is_available()
    }

    /// As in configuration and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Engine::Portable => "portable",
            Engine::Library => "library",
            Engine::Gfni => "gfni",
        }
    }
}

impl Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Engine {
    type Err = EngineError;

    /// `auto` is the best for this CPU.
    fn from_str(name: &str) -> Result<Engine, EngineError> {
        match name {
            "auto" => Ok(Engine::best()),
            "portable" => Ok(Engine::Portable),
            "library" => Ok(Engine::Library),
            "gfni" => Ok(Engine::Gfni),
            _ => Err(EngineError::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back_and_another_name_is_refused() {
        for engine in [Engine::Portable, Engine::Library, Engine::Gfni] {
            assert_eq!(engine.as_str().parse(), Ok(engine));
        }
        assert_eq!("auto".parse(), Ok(Engine::best()));
        assert_eq!("avx9".parse::<Engine>(), Err(EngineError::Unknown));
        assert!(Engine::available().any(|engine| engine == Engine::best()));
    }

    #[test]
    fn the_process_keeps_its_first_choice() {
        let first = Engine::chosen();
        assert_eq!(set_engine(first), Ok(()));
        let other = Engine::available().find(|engine| *engine != first).expect("portable and library at least");
        assert_eq!(set_engine(other), Err(EngineError::Late));
        assert_eq!(Engine::chosen(), first);
    }
}
