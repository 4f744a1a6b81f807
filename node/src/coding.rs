//! What this process codes and hashes slices with: the best for the CPU, or the engine that `SAMARA_ERASURE_ENGINE` names (`auto`, `gfni`,
//! `library`, `portable`); and `SAMARA_AVX512` = `off` takes AVX-512 away from both, whatever the engine (`auto` does not). Read once, at
//! start. All engines give the same bytes, so members of one cluster may differ.

use crate::exit::Exit;
use samara_erasure::{AVX512_VARIABLE, EngineError, set_engine};
use std::ffi::OsStr;

/// The variable that names an engine.
pub const ENGINE_VARIABLE: &str = "SAMARA_ERASURE_ENGINE";

/// Follows the variables that are set.
pub fn choose_engine() -> Result<(), Exit> {
    std::env::var_os(AVX512_VARIABLE).map_or(Ok(()), |value| check_avx512(&value))?;
    std::env::var_os(ENGINE_VARIABLE).map_or(Ok(()), |name| choose(&name))
}

/// [`samara_erasure`] follows this variable by itself and knows one value of it.
fn check_avx512(value: &OsStr) -> Result<(), Exit> {
    if value == "off" || value == "auto" { Ok(()) } else { Err(Exit::bad(AVX512_VARIABLE, value.display(), "auto, off")) }
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

    #[test]
    fn avx512_is_off_or_auto() {
        assert!(check_avx512(OsStr::new("off")).is_ok() && check_avx512(OsStr::new("auto")).is_ok());
        let Err(exit) = check_avx512(OsStr::new("0")) else { panic!("0 says nothing") };
        assert_eq!((exit.to_string().as_str(), exit.code()), ("SAMARA_AVX512 = 0: allowed is auto, off", 2));
    }
}
