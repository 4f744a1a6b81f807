//! `samara bench dataplane`: what each rung of the dataplane costs and buys, measured side by side on a wire of its own.
//!
//! ```text
//! net (two namespaces, veth | loopback) ─ for each case, for each round, for each rung and the C floor in turn ─> Series
//!   ends (two pinned threads) ─ wire (port | tokio | blocking) ─ talk (bare | sealed)
//!   closed (round trips) · oneway (rates, set pace, wake-ups) · fanout (relay)                     ─> rows, .hgrm, plots
//! ```
//! Rounds of all rungs alternate, and a ratio is the median of the ratios within a round: a slow minute of the machine, or an unlucky place of its
//! virtual cores, falls on both sides of the division.

pub mod cases;
mod closed;
mod ends;
mod fanout;
mod floor;
mod net;
mod oneway;
pub mod report;
pub mod stretch;
mod talk;
mod wire;

use crate::exit::Exit;
use crate::keys::make_directory;
use crate::units::parse_duration;
use cases::{Case, Rung};
use clap::Args;
use ends::{Measured, Setup};
use floor::{Figures, Floor};
use net::{Net, Side};
use report::{Document, HostFacts, Row, Series, Skipped, median};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use stretch::Gaps;
use wire::Ask;

/// Arguments of `bench dataplane`.
#[derive(Args, Clone, Debug)]
pub struct DataplaneArgs {
    /// Rungs to measure: xdp-native, xdp-skb, uring, udp, tokio, blocking; all that work here if not given.
    #[arg(long, value_name = "A,B,..", value_delimiter = ',')]
    pub rungs: Vec<String>,
    /// Cases to measure, such as rtt_64_raw; all if not given.
    #[arg(long, value_name = "A,B,..", value_delimiter = ',')]
    pub cases: Vec<String>,
    /// Directory of the C floor (xdp.c, or xdp compiled): adds rows with it as rival.
    #[arg(long, value_name = "DIR")]
    pub floor: Option<PathBuf>,
    /// Time of one measurement, 10ms to 10m; a row is `--rounds` of them.
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = parse_time)]
    pub time: Duration,
    /// Rounds in which all rungs take turns.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub rounds: u16,
    /// Report directory; `samara-report-<time>` if not given.
    #[arg(long)]
    pub report: Option<PathBuf>,
    /// One round of 50 ms each: shows that everything runs, the figures mean nothing.
    #[arg(long)]
    pub smoke: bool,
    /// Print one JSON document on stdout instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// `--time`: long enough for a figure, and short enough that it comes.
fn parse_time(text: &str) -> Result<Duration, String> {
    let range = Duration::from_millis(10)..=Duration::from_secs(600);
    parse_duration(text).ok().filter(|time| range.contains(time)).ok_or_else(|| "10ms to 10m".into())
}

/// The command.
pub fn command(args: &DataplaneArgs) -> Result<(), Exit> {
    let (rungs, cases) = (named(&args.rungs, "--rungs", Rung::ALL.to_vec())?, named(&args.cases, "--cases", Case::all())?);
    if !args.rungs.is_empty() && !args.cases.is_empty() {
        check_pairs(&rungs, &cases)?;
    }
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let directory = args.report.clone().unwrap_or_else(|| PathBuf::from(format!("samara-report-{seconds}")));
    check_report(&directory)?;
    let mut bench = Bench::prepare(args, rungs, &directory)?;
    for case in cases {
        bench.measure(case)?;
    }
    let document = bench.document()?;
    make_directory("--report", &directory)?;
    document.write(&directory, &bench.series)?;
    if args.json {
        println!("{}", serde_json::to_string(&document).expect("rows are plain data"));
    } else {
        println!("{}\nreport: {}", document.table(), directory.display());
    }
    Ok(())
}

/// The values of a list argument; `all` if none is given.
fn named<T: std::str::FromStr<Err = String>>(names: &[String], flag: &str, all: Vec<T>) -> Result<Vec<T>, Exit> {
    let parse = |name: &String| name.parse().map_err(|allowed| Exit::bad(flag, name, allowed));
    let given: Vec<T> = names.iter().map(parse).collect::<Result<_, _>>()?;
    Ok(if given.is_empty() { all } else { given })
}

/// What is asked for by name is measured: each rung has one of the cases, each case is had by one of the rungs.
fn check_pairs(rungs: &[Rung], cases: &[Case]) -> Result<(), Exit> {
    let list = |names: Vec<String>| names.join(", ");
    if let Some(rung) = rungs.iter().find(|rung| !cases.iter().any(|case| case.applies(**rung))) {
        let has = Case::all().iter().filter(|case| case.applies(*rung)).map(Case::to_string).collect();
        return Err(Exit::bad("--cases", list(cases.iter().map(Case::to_string).collect()), format!("with --rungs {rung}: {}", list(has))));
    }
    if let Some(case) = cases.iter().find(|case| !rungs.iter().any(|rung| case.applies(*rung))) {
        let have = Rung::ALL.iter().filter(|rung| case.applies(**rung)).map(Rung::to_string).collect();
        return Err(Exit::bad(
            "--rungs",
            list(rungs.iter().map(Rung::to_string).collect()),
            format!("with --cases {case}: {}", list(have)),
        ));
    }
    Ok(())
}

/// Whether the report can be written, before anything is measured. A directory that is made for this look goes again: it stays when there is
/// something in it.
fn check_report(directory: &Path) -> Result<(), Exit> {
    let was_there = directory.exists();
    make_directory("--report", directory)?;
    if was_there {
        return Ok(());
    }
    std::fs::remove_dir(directory).map_err(|error| Exit::failed(format!("{}: {error}", directory.display())))
}

/// A run: where, what, and what was found.
struct Bench {
    net: Net,
    rungs: Vec<Rung>,
    skipped: Vec<Skipped>,
    floor: Option<Floor>,
    time: Duration,
    rounds: usize,
    series: Vec<Series>,
    floor_figures: Vec<(Case, Vec<Figures>)>,
    capacities: BTreeMap<Rung, f64>,
}

impl Bench {
    fn prepare(args: &DataplaneArgs, rungs: Vec<Rung>, directory: &Path) -> Result<Bench, Exit> {
        let cores = net::cores();
        let (net, mut skipped) = match Net::veth(cores) {
            Ok(net) => (net, Vec::new()),
            // Asked for by name, a rung that cannot be had ends the command; otherwise the others are measured without it.
            Err(why) if args.floor.is_some() || (!args.rungs.is_empty() && rungs.iter().any(|rung| rung.is_xdp())) => return Err(why),
            Err(why) => {
                let of = |rung: &Rung| Skipped { rung: rung.as_str(), reason: why.to_string() };
                (Net::loopback(cores)?, rungs.iter().filter(|rung| rung.is_xdp()).map(of).collect())
            }
        };
        let mut usable = Vec::new();
        for rung in rungs.into_iter().filter(|rung| net.has_interfaces() || !rung.is_xdp()) {
            match probe(&net, rung) {
                Ok(()) => usable.push(rung),
                Err(why) if args.rungs.is_empty() => skipped.push(Skipped { rung: rung.as_str(), reason: why.to_string() }),
                Err(why) => return Err(why),
            }
        }
        skipped.iter().for_each(|skipped| eprintln!("rung {} is not measured: {}", skipped.rung, skipped.reason));
        let floor = args.floor.as_deref().map(|floor| Floor::prepare(floor, directory)).transpose()?;
        let (time, rounds) = if args.smoke { (Duration::from_millis(50), 1) } else { (args.time, usize::from(args.rounds)) };
        let (series, floor_figures, capacities) = (Vec::new(), Vec::new(), BTreeMap::new());
        Ok(Bench { net, rungs: usable, skipped, floor, time, rounds, series, floor_figures, capacities })
    }

    /// All rounds of one case.
    fn measure(&mut self, case: Case) -> Result<(), Exit> {
        let rungs: Vec<Rung> = self.rungs.iter().copied().filter(|rung| case.applies(*rung)).collect();
        let rival = self.floor.as_ref().and_then(|_| Floor::rival_of(case)).filter(|_| !rungs.is_empty());
        let mut found: Vec<Series> = rungs.iter().map(|rung| Series { rung: *rung, case, rounds: Vec::new() }).collect();
        let mut floor = Vec::new();
        for round in 0..self.rounds {
            if let (Some(rival), Some(programs)) = (rival, &self.floor) {
                floor.push(programs.run(&self.net, rival)?);
            }
            for turn in 0..rungs.len() {
                // Nobody goes first every time.
                let at = (turn + round) % rungs.len();
                let measured = self.one(rungs[at], case)?;
                found[at].rounds.push(measured);
            }
        }
        if case == Case::CAPACITY {
            let capacity = |series: &Series| (series.rung, median(series.merits()).unwrap_or_default() * 1e6);
            self.capacities.extend(found.iter().map(capacity));
        }
        eprintln!("{case}: {} rounds of {} rungs", self.rounds, rungs.len());
        self.series.extend(found);
        self.floor_figures.push((case, floor));
        Ok(())
    }

    /// One measurement.
    fn one(&mut self, rung: Rung, case: Case) -> Result<Measured, Exit> {
        if matches!(case, Case::Load(_)) && !self.capacities.contains_key(&rung) {
            let capacity = self.one(rung, Case::CAPACITY)?.mpps() * 1e6;
            self.capacities.insert(rung, capacity);
        }
        let gather = matches!(case, Case::Rate { gather: true, .. });
        let setup = Setup { net: &self.net, ask: Ask { rung, side: Side::Near, any: false, gather }, far_any: false };
        let time = self.time;
        match case {
            Case::Rtt(dress) => closed::round_trips(setup, dress, time),
            Case::RttReactor => closed::reactor_round_trips(setup, time),
            Case::Rate { size, dress, .. } => oneway::rate(setup, size, dress, time),
            Case::Fanout(peers) => fanout::fan_out(setup, peers, time),
            Case::Load(percent) => oneway::paced(setup, (self.capacities[&rung] * f64::from(percent) / 100.0).max(1.0), time),
            Case::Wakeup => oneway::wake_ups(setup, time),
        }
        .map_err(|exit| with_place(exit, rung, case))
    }

    fn document(&self) -> Result<Document, Exit> {
        let gaps = |side| {
            let spin = || self.net.enter(side).map(|()| Gaps::measure(self.time.min(Duration::from_millis(200))));
            net::on_a_thread(spin)
        };
        let host = HostFacts {
            host: crate::bench::measure::Host::read(None),
            network: self.net.kind(),
            end_cores: Side::BOTH.map(|side| self.net.core(side)),
            gaps: [gaps(Side::Near)?, gaps(Side::Far)?],
        };
        let mut rows: Vec<Row> = self.series.iter().flat_map(|series| self.rows(series)).collect();
        let floors = self.floor_figures.iter().filter(|(_, figures)| !figures.is_empty());
        rows.extend(floors.map(|(case, figures)| {
            let udp = self.merits(Rung::Udp, *case);
            Row::of_floor(*case, figures, udp.as_ref().map(|merits| (Rung::Udp.as_str(), merits.as_slice())))
        }));
        Ok(Document { rows, host, skipped: self.skipped.clone() })
    }

    fn merits(&self, rung: Rung, case: Case) -> Option<Vec<f64>> {
        self.series.iter().find(|series| series.rung == rung && series.case == case).map(Series::merits)
    }

    /// Beside the kernel UDP rung (which itself stands beside the blocking socket), and beside the C floor.
    fn rows(&self, series: &Series) -> Vec<Row> {
        let rival = if series.rung == Rung::Udp { Rung::Blocking } else { Rung::Udp };
        let merits = self.merits(rival, series.case);
        let mut rows = vec![series.row(merits.as_ref().map(|merits| (rival.as_str(), merits.as_slice())))];
        let floor = self.floor_figures.iter().find(|(case, figures)| *case == series.case && !figures.is_empty());
        if let Some((_, figures)) = floor {
            let merits: Vec<f64> = figures.iter().map(Figures::merit).collect();
            rows.push(series.row(Some((floor::NAME, &merits))));
        }
        rows
    }
}

/// Whether both ends of a rung open here.
fn probe(net: &Net, rung: Rung) -> Result<(), Exit> {
    let setup = Setup { net, ask: Ask { rung, side: Side::Near, any: false, gather: false }, far_any: false };
    setup.run(|_, _| (), |_, _| ()).map(|_| ())
}

fn with_place(exit: Exit, rung: Rung, case: Case) -> Exit {
    match exit {
        Exit::Failed(text) => Exit::Failed(format!("{rung} {case}: {text}")),
        other => other,
    }
}
