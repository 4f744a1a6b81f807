//! What the run looks like while it runs: a bar on a terminal, a plain line every two seconds otherwise; always on stderr.

use crate::load::engine::Gauges;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const PLAIN_EVERY: Duration = Duration::from_secs(2);

/// Progress of a run whose length is a time or a number of blocks.
pub struct Progress {
    bar: Option<ProgressBar>,
    next_line: Instant,
}

impl Progress {
    /// `length` in steps of the caller.
    pub fn new(length: u64) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:40.cyan} {percent:>3}%  {msg}").expect("a constant template");
            ProgressBar::new(length).with_style(style)
        });
        Progress { bar, next_line: Instant::now() + PLAIN_EVERY }
    }

    /// A line of its own.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// Where the run stands.
    pub fn update(&mut self, position: u64, elapsed: Duration, gauges: &Gauges) {
        let text = line(elapsed, gauges);
        match &self.bar {
            Some(bar) => {
                bar.set_position(position);
                bar.set_message(text);
            }
            None if Instant::now() >= self.next_line => {
                self.next_line += PLAIN_EVERY;
                eprintln!("{text}");
            }
            None => {}
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(elapsed: Duration, gauges: &Gauges) -> String {
    let read = |gauge: &std::sync::atomic::AtomicU64| gauge.load(Ordering::Relaxed);
    format!(
        "{:5.1} s  height {}  view {}  offered {}  final {}  waiting {}  rejected {}",
        elapsed.as_secs_f64(),
        read(&gauges.height),
        // Views are told once a second, blocks at once; a block of height h is of view h or a later one.
        read(&gauges.view).max(read(&gauges.height)),
        read(&gauges.offered),
        read(&gauges.finalized),
        read(&gauges.pending),
        read(&gauges.rejected)
    )
}
