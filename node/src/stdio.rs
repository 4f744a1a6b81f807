//! Standard output and error. Rule: whoever listens may go (`samara tune apply | head -1`, a closed ssh session, a log daemon that died), and
//! no command panics or stops half-way because of it.
//!
//! The macros of the standard library panic when nobody reads. Those of the same names below are the ones this crate sees: they write what can
//! be written and remember the first failure of stdout. A reader that left is the reader's wish; anything else (a full disk behind `> file`)
//! ends the command with 1 when its work is done, see `lost`.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

/// Prints a line, as `std::println!` does, and never panics.
macro_rules! println {
    ($($what:tt)*) => { $crate::stdio::out(format_args!($($what)*), "\n") };
}

/// Prints, as `std::print!` does, and never panics.
macro_rules! print {
    ($($what:tt)*) => { $crate::stdio::out(format_args!($($what)*), "") };
}

/// Prints a line to stderr, as `std::eprintln!` does, and never panics.
macro_rules! eprintln {
    ($($what:tt)*) => { $crate::stdio::err(format_args!($($what)*)) };
}

/// The first failure of stdout.
static LOST: OnceLock<io::Error> = OnceLock::new();

pub(crate) fn out(what: Arguments<'_>, end: &str) {
    let mut stdout = io::stdout().lock();
    if let Err(error) = stdout.write_fmt(what).and_then(|()| stdout.write_all(end.as_bytes())) {
        let _ = LOST.set(error);
    }
}

pub(crate) fn err(what: Arguments<'_>) {
    // Nowhere is left to say that this failed.
    let _ = writeln!(io::stderr().lock(), "{what}");
}

/// Writes out what is left; why output was lost, unless its reader left.
pub(crate) fn lost() -> Option<&'static io::Error> {
    if let Err(error) = io::stdout().lock().flush() {
        let _ = LOST.set(error);
    }
    LOST.get().filter(|error| error.kind() != ErrorKind::BrokenPipe)
}
