//! Which erasure engine this process uses: the best for the CPU, or the one `SAMARA_ERASURE_ENGINE` names (`auto`, `gfni`, `library`,
//! `portable`). Read once, at start; the crates below read no environment. All engines give the same bytes, so members of one
//! cluster may differ.

use crate::exit::Exit;
use samara_erasure::{EngineError, set_engine};
use std::ffi::OsStr;

/// The variable.
pub const ENGINE_VARIABLE: &str = "SAMARA_ERASURE_ENGINE";

/// Follows the variable, if it is set.
pub fn choose_engine() -> Result<(), Exit> {
    std::env::var_os(ENGINE_VARIABLE).map_or(Ok(()), |name| choose(&name))
}

fn choose(name: &OsStr) -> Result<(), Exit> {
    let engine = name.to_str().unwrap_or_default().parse();
    engine.and_then(set_engine).map_err(|error| match error {
        EngineError::Unknown => Exit::bad(ENGINE_VARIABLE, name.display(), "auto, gfni, library, portable"),
        EngineError::Unsupported | EngineError::Late => Exit::Host(format!("{ENGINE_VARIABLE} = {}: {error}", name.display())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_engine_has_is_refused_in_one_line() {
        let Err(exit) = choose(OsStr::new("avx9")) else { panic!("no engine has this name") };
        assert_eq!(exit.to_string(), "SAMARA_ERASURE_ENGINE = avx9: allowed is auto, gfni, library, portable");
        assert_eq!(exit.code(), 2);
    }
}
