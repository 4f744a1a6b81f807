//! How the command ends: 0 done, 1 a named check failed, 2 bad arguments or configuration, 3 the host lacks something.
//!
//! Every end but 0 is one line on stderr. For code 2 the line names the key, its value and what is allowed, so that the operator
//! can repair it without reading code.

use std::fmt::Display;

/// Why the command did not end with 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exit {
    /// The run failed a check, which the text names, or something broke on the way (code 1).
    #[error("{0}")]
    Failed(String),
    /// Bad arguments or configuration (code 2).
    #[error("{0}")]
    Usage(String),
    /// The host lacks something; the text says what and how to get it (code 3).
    #[error("{0}")]
    Host(String),
}

impl Exit {
    /// A bad value: `key = value: allowed is ...`.
    pub fn bad(key: impl Display, value: impl Display, allowed: impl Display) -> Exit {
        Exit::Usage(one_line(&format!("{key} = {value}: allowed is {allowed}")))
    }

    /// A check that failed.
    pub fn failed(text: impl Display) -> Exit {
        Exit::Failed(one_line(&text.to_string()))
    }

    /// The process exit code.
    pub fn code(&self) -> u8 {
        match self {
            Exit::Failed(_) => 1,
            Exit::Usage(_) => 2,
            Exit::Host(_) => 3,
        }
    }
}

impl From<anyhow::Error> for Exit {
    /// Keeps an `Exit` that travelled inside; anything else is a failure with its whole chain of causes.
    fn from(error: anyhow::Error) -> Exit {
        match error.downcast::<Exit>() {
            Ok(exit) => exit,
            Err(error) => Exit::failed(format!("{error:#}")),
        }
    }
}

/// Joins the lines of a foreign error text, so that one failure stays one line.
pub fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_keeps_its_code_through_anyhow() {
        let exit = Exit::bad("node.keys", "x", "a file");
        assert_eq!(Exit::from(anyhow::Error::from(exit.clone())), exit);
        assert_eq!(Exit::from(anyhow::anyhow!("a\nb").context("c")), Exit::Failed("c: a; b".into()));
        assert_eq!([exit.code(), Exit::failed("").code(), Exit::Host(String::new()).code()], [2, 1, 3]);
    }
}
