//! The C floor as a rival: plain C programs over the same kind of wire, run in turn with our own measurements.
//!
//! A round trip here moves by a factor of two with the places of the machine's virtual cores, so a figure of another run says nothing: each of our
//! figures is divided by the floor's of the same round, and the median of these ratios counts.

use super::cases::{Case, Dress, Size};
use super::net::{Net, Side, on_a_thread};
use crate::exit::{Exit, one_line};
use crate::keys::make_directory;
use crate::localnet::process::Process;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Name of the floor in rows.
pub const NAME: &str = "c-floor";
/// A peer program binds its socket within this time.
const START: Duration = Duration::from_millis(400);
/// Longest run of one program.
const LONGEST: Duration = Duration::from_secs(15);
/// Attempts of one run.
const TRIALS: usize = 5;

/// The compiled floor.
pub struct Floor {
    xdp: PathBuf,
    logs: PathBuf,
}

/// What the floor says about one case.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Median, 99th and 99.9th percentile of the round trip, ns.
    pub rtt_ns: Option<[u64; 3]>,
    /// One-way rate, millions of frames a second, and Gbit/s.
    pub rate: Option<(f64, f64)>,
}

impl Figures {
    /// The figure that ratios compare: larger is better, in the units of [`super::report::Series::merits`].
    pub fn merit(&self) -> f64 {
        match (self.rtt_ns, self.rate) {
            (Some([p50, ..]), _) => 1e9 / p50.max(1) as f64,
            (None, Some((mpps, _))) => mpps,
            (None, None) => f64::NAN,
        }
    }
}

impl Floor {
    /// Takes `xdp` from `directory` if it is compiled there, or compiles `xdp.c` of there into `work`.
    pub fn prepare(directory: &Path, work: &Path) -> Result<Floor, Exit> {
        let logs = work.to_path_buf();
        let (ready, source) = (directory.join("xdp"), directory.join("xdp.c"));
        if !ready.is_file() && !source.is_file() {
            return Err(Exit::bad("--floor", directory.display(), "a directory with xdp.c, or with xdp compiled"));
        }
        make_directory("--report", work)?;
        if ready.is_file() {
            return Ok(Floor { xdp: ready, logs });
        }
        let xdp = work.join("floor-xdp");
        let output = Command::new("cc").args(["-O2", "-pthread"]).arg(&source).arg("-o").arg(&xdp).args(["-lxdp", "-lbpf"]).output();
        let output = output.map_err(|error| Exit::Host(format!("cc compiles the C floor and cannot run: {error}")))?;
        if output.status.success() {
            return Ok(Floor { xdp, logs });
        }
        let text = one_line(&String::from_utf8_lossy(&output.stderr)).chars().take(300).collect::<String>();
        Err(Exit::Host(format!("the C floor does not compile (Debian: libxdp-dev libbpf-dev): {text}")))
    }

    /// The floor's case that one of ours is held against; None if it has none.
    pub fn rival_of(case: Case) -> Option<Case> {
        match case {
            Case::Rtt(_) | Case::RttReactor => Some(Case::Rtt(Dress::Raw)),
            Case::Rate { size: Size::Middle, .. } | Case::Rate { gather: true, .. } => None,
            Case::Rate { size, .. } => Some(Case::Rate { size, dress: Dress::Raw, gather: false }),
            _ => None,
        }
    }

    /// Runs the floor's programs for one of [`Self::rival_of`].
    pub fn run(&self, net: &Net, case: Case) -> Result<Figures, Exit> {
        let (peer, driver, bytes) = match case {
            Case::Rtt(_) => ("echo", "ping", "64"),
            Case::Rate { size: Size::Full, .. } => ("sink", "flood", "1400"),
            _ => ("sink", "flood", "64"),
        };
        let mut said = String::new();
        for _ in 0..TRIALS {
            said = on_a_thread(|| self.pair(net, peer, driver, bytes))?;
            let figures = Figures { rtt_ns: round_trip(&said), rate: rate(&said) };
            if figures != Figures::default() {
                return Ok(figures);
            }
            // The kernel releases the queue of the last socket some time after it is closed; until then it is busy.
            std::thread::sleep(START);
        }
        Err(Exit::failed(format!("the C floor gave no figure for {case}: {}", one_line(&said))))
    }

    /// One run of peer and driver on the calling thread, which must outlive both; returns what they printed.
    fn pair(&self, net: &Net, peer: &str, driver: &str, bytes: &str) -> Result<String, Exit> {
        let mut far = self.start(net, Side::Far, peer, bytes)?;
        std::thread::sleep(START);
        let mut near = self.start(net, Side::Near, driver, bytes)?;
        near.wait_until(Instant::now() + LONGEST);
        if peer == "sink" {
            far.wait_until(Instant::now() + LONGEST);
        }
        drop((near, far));
        let text = |mode: &str| std::fs::read_to_string(self.log(mode)).unwrap_or_default();
        Ok(text(peer) + &text(driver))
    }

    fn start(&self, net: &Net, side: Side, mode: &str, bytes: &str) -> Result<Process, Exit> {
        net.enter(side)?;
        let log = self.log(mode);
        std::fs::write(&log, "").map_err(|error| Exit::failed(format!("{}: {error}", log.display())))?;
        let core = net.core(side).to_string();
        let arguments = [side.floor_interface(), mode, core.as_str(), bytes].map(OsStr::new);
        Process::start(&self.xdp, &arguments, &[("LIBXDP_SKIP_DISPATCHER", "1".to_string())], &log)
    }

    fn log(&self, mode: &str) -> PathBuf {
        self.logs.join(format!("floor-{mode}.log"))
    }
}

/// `af_xdp_busy rtt_ns p50 1700 p99 3400 p99.9 9000`.
fn round_trip(said: &str) -> Option<[u64; 3]> {
    let line = said.lines().find(|line| line.starts_with("af_xdp_busy"))?;
    let [p50, p99, p999] = ["p50", "p99", "p99.9"].map(|name| word_after(line, name));
    Some([p50?, p99?, p999?].map(|ns: f64| ns as u64))
}

/// `af_xdp_rx bytes 64 mpps 0.770 gbps 0.39`.
fn rate(said: &str) -> Option<(f64, f64)> {
    let line = said.lines().find(|line| line.starts_with("af_xdp_rx"))?;
    Some((word_after(line, "mpps")?, word_after(line, "gbps")?))
}

fn word_after(line: &str, name: &str) -> Option<f64> {
    line.split_whitespace().skip_while(|word| *word != name).nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_floor_are_read() {
        let said = "libbpf: noise\naf_xdp_busy rtt_ns p50 1700 p99 3400 p99.9 9000\naf_xdp_rx bytes 64 mpps 0.770 gbps 0.39\n";
        assert_eq!(round_trip(said), Some([1_700, 3_400, 9_000]));
        assert_eq!(rate(said), Some((0.77, 0.39)));
        assert_eq!((round_trip("af_xdp_busy rtt_ns p50 x"), rate("")), (None, None));
    }
}
