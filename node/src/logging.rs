//! Structured logs of one validator on stderr.

use crate::config::{Log, LogFormat};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Installs the process's subscriber. The filter was checked with the configuration; a second call changes nothing.
pub fn init(log: &Log) {
    let filter = EnvFilter::try_new(&log.level).expect("the filter was checked with the configuration");
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // It would say on stderr, by a macro that panics, that stderr cannot be written: a validator does not die of its log's reader.
        .log_internal_errors(false);
    // Another subscriber (of a test) may be there already; its owner wants it.
    let _ = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
