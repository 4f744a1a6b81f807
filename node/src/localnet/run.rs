//! The course of a localnet run.

use super::cluster::Cluster;
use super::lan::{self, Lan};
use super::progress::Progress;
use super::report::Report;
use super::schedule::{Event, Schedule};
use super::verify::{self, Findings};
use crate::bridge::NodeSnapshot;
use crate::cli::{LocalnetArgs, TransportArg};
use crate::config::Layout;
use crate::exit::Exit;
use crate::genesis::{Create, GENESIS_FILE, Genesis, validator_directory};
use crate::inspect::open_store;
use crate::load::engine::{Engine, Gauges, Plan};
use crate::load::outcome::{Door, Outcome};
use crate::load::source::{Content, check_size};
use crate::run::newest;
use samara_types::digest::hex;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

pub(super) const VALIDATORS: usize = 6;
const DURATION: Duration = Duration::from_secs(20);
/// How long transactions that were offered may take to become final after the last offer.
const DRAIN: Duration = Duration::from_secs(20);
/// Longest run with `--blocks`.
const BLOCKS_TIMEOUT: Duration = Duration::from_secs(3600);
/// In the data directory, locked by the localnet that uses it, whose process id it holds.
const LOCK_FILE: &str = "localnet.lock";
const LOOK_EVERY: Duration = Duration::from_millis(20);
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// The command.
pub fn command(args: &LocalnetArgs) -> Result<(), Exit> {
    let course = Course { interrupted: on_interrupt()? };
    if !args.compare.is_empty() {
        return super::compare::command(args, &course);
    }
    let (report, place) = course.run(args, None)?;
    report.write(&place.report)?;
    if args.json {
        println!("{}", report.json());
    } else {
        println!("{}\nreport: {}", report.table(), place.report.display());
    }
    if !report.failed.is_empty() {
        return Err(Exit::failed(format!("{} (data and logs: {})", report.failed.join("; "), place.data.display())));
    }
    place.remove_temporary();
    Ok(())
}

/// What runs of one command share.
pub(super) struct Course {
    interrupted: Arc<AtomicBool>,
}

impl Course {
    /// One run, on `lan` if the chain lives on such a network, or on one made for it. This thread stays where clients are.
    pub(super) fn run(&self, args: &LocalnetArgs, lan: Option<&Lan>) -> Result<(Report, Place), Exit> {
        let tx_size = check_size(args.tx_size)?;
        let mut place = Place::choose(args);
        let chain = Chain::choose(args, &place)?;
        let duration = if args.blocks.is_some() { None } else { Some(args.duration.unwrap_or(DURATION)) };
        let schedule = Schedule::new(&args.kill, &args.restart, chain.validators(), duration)?;
        // All arguments and privileges are there: from here on files are made.
        let made = (lan.is_none() && chain.is_on_lan()).then(|| Lan::new(chain.validators())).transpose()?;
        place.lock()?;
        crate::keys::make_directory("--report", &place.report)?;
        let genesis = chain.begin(&place)?;
        made.iter().try_for_each(Lan::enter)?;
        let lan = lan.or(made.as_ref());
        let run = Run { args, tx_size, place: &place, genesis: &genesis, duration, interrupted: &self.interrupted, lan };
        let report = run.execute(schedule)?;
        Ok((report, place))
    }

    /// Whether SIGINT or SIGTERM came.
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// The report directory of the whole command.
    pub(super) fn report_directory(&self, args: &LocalnetArgs) -> PathBuf {
        Place::choose(args).report
    }
}

/// SIGINT and SIGTERM end the load; a second one ends us at once (the kernel takes the validators along).
fn on_interrupt() -> Result<Arc<AtomicBool>, Exit> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, flag.clone())
            .and_then(|_| signal_hook::flag::register(signal, flag.clone()))
            .map_err(|error| Exit::failed(format!("signal handler: {error}")))?;
    }
    Ok(flag)
}

/// Where data and report go. Without `--dir` the data lies in the report directory and goes when all checks hold: the disk it is
/// on decides what a synced write costs, so a memory file system would flatter the figures.
pub(super) struct Place {
    /// Report directory.
    pub(super) report: PathBuf,
    data: PathBuf,
    temporary: bool,
    /// Held while this localnet uses the data.
    lock: Option<File>,
}

impl Place {
    fn choose(args: &LocalnetArgs) -> Place {
        let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let report = args.report.clone().unwrap_or_else(|| PathBuf::from(format!("samara-report-{seconds}")));
        let data = args.dir.clone().unwrap_or_else(|| report.join("data"));
        Place { temporary: args.dir.is_none(), report, data, lock: None }
    }

    /// A data directory that cannot be used, by the argument that chose it.
    fn bad(&self, allowed: impl std::fmt::Display) -> Exit {
        if self.temporary {
            Exit::bad("--report", self.report.display(), format!("a directory whose data/ is {allowed}"))
        } else {
            Exit::bad("--dir", self.data.display(), allowed)
        }
    }

    /// Makes the data directory, and keeps other localnets out of it until this value goes or the process ends, however it does.
    fn lock(&mut self) -> Result<(), Exit> {
        let key = if self.temporary { "--report" } else { "--dir" };
        crate::keys::make_directory(key, &self.data)?;
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(self.data.join(LOCK_FILE));
        let mut file = opened.map_err(|error| self.bad(format!("a directory that can be written to ({error})")))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = std::io::read_to_string(&file).unwrap_or_default();
                return Err(self.bad(format!("a directory of its own: this one is in use by another localnet (pid {})", holder.trim())));
            }
            Err(TryLockError::Error(error)) => return Err(self.bad(format!("a directory whose files can be locked ({error})"))),
        }
        // For the other one's error only.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        self.lock = Some(file);
        Ok(())
    }

    /// Logs stay in the report directory when the data goes.
    fn logs(&self, validators: usize) -> Vec<PathBuf> {
        let log = |index| {
            let log = validator_directory(&self.data, index).join("log");
            let kept = self.report.join(format!("validator-{index}.log"));
            if self.temporary && std::fs::copy(&log, &kept).is_ok() { kept } else { log }
        };
        (0..validators).map(log).collect()
    }

    /// Removes data that nobody asked to keep.
    pub(super) fn remove_temporary(&self) {
        if self.temporary {
            // Left-over data is a nuisance, not a failure of the run.
            let _ = std::fs::remove_dir_all(&self.data);
        }
    }
}

/// The chain of the data directory.
enum Chain {
    /// There is none yet.
    New(Create),
    There(Genesis),
}

impl Chain {
    /// Checks all that is known before anything is made or changed.
    fn choose(args: &LocalnetArgs, place: &Place) -> Result<Chain, Exit> {
        let path = place.data.join(GENESIS_FILE);
        if !path.exists() {
            let validators = args.validators.unwrap_or(VALIDATORS);
            let mut create = Create::new(validators, &args.stakes, &args.params, args.base_port.unwrap_or(1))?;
            if args.transport == TransportArg::Xdp || args.namespaces {
                create.hosts = (0..validators).map(Lan::host).collect();
                create.base_port = args.base_port.unwrap_or(lan::BASE_PORT);
            } else if args.base_port.is_none() {
                create.base_port = free_ports(validators)?;
            }
            create.transport = args.transport;
            create.name = "localnet".into();
            create.check_stakes()?;
            return Ok(Chain::New(create));
        }
        let genesis = Genesis::load(&path)?;
        if let Some(validators) = args.validators.filter(|validators| *validators != genesis.set.len()) {
            return Err(Exit::bad("--validators", validators, format!("{}, the number in {}", genesis.set.len(), path.display())));
        }
        let fixed = args.params.any() || !args.stakes.is_empty() || args.base_port.is_some();
        if fixed {
            let allowed = "a directory without a chain when stakes, ports or parameters are given: genesis.toml fixes them";
            return Err(place.bad(allowed));
        }
        if args.transport == TransportArg::Xdp && !Lan::is_of(&genesis) {
            return Err(place.bad("a chain begun with --transport xdp or --namespaces: the addresses are in its genesis"));
        }
        Ok(Chain::There(genesis))
    }

    fn validators(&self) -> usize {
        match self {
            Chain::New(create) => create.stakes.len(),
            Chain::There(genesis) => genesis.set.len(),
        }
    }

    /// Whether each validator has a host of its own.
    fn is_on_lan(&self) -> bool {
        match self {
            Chain::New(create) => create.hosts.len() > 1,
            Chain::There(genesis) => Lan::is_of(genesis),
        }
    }

    /// The chain itself, made if it is new. Only whoever holds the directory's lock may change anything in it.
    fn begin(self, place: &Place) -> Result<Genesis, Exit> {
        assert!(place.lock.is_some(), "the caller locked the directory");
        let genesis = match self {
            Chain::New(create) => return create.write(&place.data),
            Chain::There(genesis) => genesis,
        };
        let votes: Vec<PathBuf> =
            (0..genesis.set.len()).map(|index| Layout::new(&validator_directory(&place.data, index).join("data")).votes).collect();
        newest::trust_all_or_none(votes.iter().map(PathBuf::as_path)).map_err(Exit::failed)?;
        Ok(genesis)
    }
}

/// Addresses for the metrics endpoints: the ports behind those of the chain, or, where one is in use, whatever the kernel gives.
fn metrics_addresses(genesis: &Genesis, lan: bool) -> Vec<SocketAddr> {
    if lan {
        return genesis.addresses.iter().map(|addresses| SocketAddr::new(addresses.client.ip(), lan::METRICS_PORT)).collect();
    }
    let last = genesis.addresses.iter().flat_map(|each| [each.datagram, each.client, each.sync]).map(|address| address.port()).max();
    let first = last.unwrap_or(0).saturating_add(1);
    let address = |at: usize| {
        let port = first.saturating_add(at as u16);
        let free = TcpListener::bind(("127.0.0.1", port)).is_ok();
        SocketAddr::from(([127, 0, 0, 1], if free { port } else { 0 }))
    };
    (0..genesis.set.len()).map(address).collect()
}

/// Says where the endpoints are, and leaves the list where Prometheus reads it (`file_sd_configs`).
fn announce_metrics(cluster: &Cluster, data: &Path, validators: usize, lan: bool) {
    let urls: Vec<(usize, String)> = (0..validators).filter_map(|index| Some((index, cluster.metrics_url(index)?))).collect();
    let target = |(index, url): &(usize, String)| {
        let address = url.trim_start_matches("http://").trim_end_matches("/metrics");
        serde_json::json!({ "targets": [address], "labels": { "validator": index.to_string() } })
    };
    if let (Some((_, first)), Some((_, last))) = (urls.first(), urls.last()) {
        // Where clients are on a network of its own, this process is too.
        let there = if lan { format!("nsenter --net=/proc/{}/ns/net ", std::process::id()) } else { String::new() };
        eprintln!("samara: metrics at {first} .. {last}; watch with: {there}samara monitor --dir {}", data.display());
        let targets: Vec<_> = urls.iter().map(target).collect();
        // A convenience for whoever runs Prometheus beside the localnet.
        let _ = std::fs::write(data.join("prometheus-targets.json"), format!("{:#}\n", serde_json::Value::from(targets)));
    }
}

/// A base port whose whole range is free at the moment, below the ports the kernel hands out by itself: three per validator for the chain,
/// and behind them one for its metrics.
fn free_ports(validators: usize) -> Result<u16, Exit> {
    let span = 4 * validators as u16;
    let (low, high) = (20_000u16, 32_000 - span);
    let start = (std::process::id() % u32::from((high - low) / span)) as u16;
    let candidates = (0..(high - low) / span).map(|step| low + (start + step) % ((high - low) / span) * span);
    let free = |base: &u16| {
        (0..3 * validators as u16).step_by(3).all(|at| {
            let tcp = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
            UdpSocket::bind(("127.0.0.1", base + at)).is_ok() && tcp(base + at + 1) && tcp(base + at + 2)
        })
    };
    candidates
        .into_iter()
        .find(free)
        .ok_or_else(|| Exit::Host(format!("no {span} free ports in a row from {low} to 32000: use --base-port")))
}

struct Run<'a> {
    args: &'a LocalnetArgs,
    tx_size: usize,
    place: &'a Place,
    genesis: &'a Genesis,
    /// None: until enough blocks are final.
    duration: Option<Duration>,
    interrupted: &'a AtomicBool,
    lan: Option<&'a Lan>,
}

impl Run<'_> {
    fn execute(&self, schedule: Schedule) -> Result<Report, Exit> {
        let transport = ("SAMARA_NETWORK__TRANSPORT", self.args.transport.as_str().to_string());
        let program = std::env::current_exe().map_err(|error| Exit::failed(format!("cannot find our own program: {error}")))?;
        let metrics = if self.args.no_metrics { Vec::new() } else { metrics_addresses(self.genesis, self.lan.is_some()) };
        let mut cluster = Cluster::new(program, &self.place.data, self.genesis, vec![transport]).on(self.lan).with_metrics(metrics);
        eprintln!("samara: starting {} validators in {}", self.genesis.set.len(), self.place.data.display());
        let start_height = cluster.start_all(|| self.interrupted.load(Ordering::Relaxed))?;
        announce_metrics(&cluster, &self.place.data, self.genesis.set.len(), self.lan.is_some());
        cluster.begin_measuring();

        let started = Instant::now();
        let (outcome, duration) = self.drive(&mut cluster, schedule.clone(), start_height)?;
        let answered_s = started.elapsed().as_secs_f64();
        let unclean = cluster.stop();

        let findings = self.verify(start_height, &outcome)?;
        let mut failed = failed_checks(&findings, &outcome);
        failed.extend(failed_under_kills(&schedule, self.genesis, &outcome.doors));
        failed.extend(unclean.into_iter().map(|text| format!("clean end: {text}")));
        if self.interrupted.load(Ordering::Relaxed) {
            failed.push("interrupted".into());
        }
        Ok(Report {
            chain: hex(&self.genesis.chain.0),
            transport: self.args.transport.as_str(),
            offered: (self.args.tps, self.args.tx_size),
            duration_s: duration.as_secs_f64(),
            answered_s,
            start_height,
            findings,
            outcome,
            snapshots: (0..self.genesis.set.len()).map(|index| self.snapshot(index)).collect(),
            usage: cluster.usage(),
            rss_kib: cluster.rss_kib().clone(),
            failed,
            logs: self.place.logs(self.genesis.set.len()),
            git_commit: git_commit(),
        })
    }

    /// Runs the load on a thread of its own; this thread, which started the validators, kills and restarts them.
    fn drive(&self, cluster: &mut Cluster, schedule: Schedule, start_height: u64) -> Result<(Outcome, Duration), Exit> {
        let plan = Plan {
            chain: self.genesis.chain,
            doors: self.genesis.addresses.iter().map(|addresses| addresses.client).collect(),
            tps: self.args.tps,
            count: None,
            content: Content::Random { tx_size: self.tx_size, seed: self.args.seed },
            senders: self.args.senders as usize,
        };
        let gauges = Arc::new(Gauges::default());
        let offering = Arc::new(AtomicBool::new(true));
        let engine = Engine::new(plan, gauges.clone());
        let offer = offering.clone();
        let load = std::thread::Builder::new()
            .name("load".into())
            .spawn(move || engine.run(|| offer.load(Ordering::Relaxed), DRAIN))
            .map_err(|error| Exit::failed(format!("load thread: {error}")))?;
        let started = Instant::now();
        let outcome = self.supervise(cluster, schedule, start_height, &gauges, started);
        let duration = started.elapsed();
        offering.store(false, Ordering::Relaxed);
        outcome?;
        while !load.is_finished() {
            cluster.check_alive()?;
            std::thread::sleep(LOOK_EVERY);
        }
        let outcome = load.join().map_err(|_| Exit::failed("the load generator panicked"))?;
        Ok((outcome, duration))
    }

    /// Until the time is over or the blocks are final.
    fn supervise(
        &self,
        cluster: &mut Cluster,
        mut schedule: Schedule,
        start_height: u64,
        gauges: &Gauges,
        started: Instant,
    ) -> Result<(), Exit> {
        let blocks = self.args.blocks.unwrap_or(u64::MAX);
        let length = self.duration.map_or(blocks, |duration| duration.as_millis() as u64);
        let mut progress = Progress::new(length);
        let mut next_sample = started;
        loop {
            let elapsed = started.elapsed();
            while let Some(event) = schedule.due(elapsed) {
                apply(cluster, event, elapsed, &progress)?;
            }
            cluster.check_alive()?;
            if elapsed >= next_sample.duration_since(started) {
                next_sample += SAMPLE_EVERY;
                cluster.sample();
            }
            let grown = gauges.height.load(Ordering::Relaxed).saturating_sub(start_height);
            progress.update(if self.duration.is_some() { elapsed.as_millis() as u64 } else { grown }, elapsed, gauges);
            let over = elapsed >= self.duration.unwrap_or(BLOCKS_TIMEOUT) || grown >= blocks;
            if over || self.interrupted.load(Ordering::Relaxed) {
                progress.finish();
                return Ok(());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn verify(&self, start_height: u64, outcome: &Outcome) -> Result<Findings, Exit> {
        let kept = self.place.data.join("acknowledged");
        let mut acknowledged = verify::load_acknowledged(&kept)?;
        acknowledged.extend(&outcome.acknowledged);
        verify::save_acknowledged(&kept, &acknowledged)?;
        let stores: Result<Vec<_>, _> =
            (0..self.genesis.set.len()).map(|index| open_store(&validator_directory(&self.place.data, index))).collect();
        verify::check(&stores?, &self.genesis.chain, start_height, &acknowledged)
    }

    fn snapshot(&self, index: usize) -> Option<NodeSnapshot> {
        let path = validator_directory(&self.place.data, index).join("metrics.json");
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }
}

fn apply(cluster: &mut Cluster, event: Event, elapsed: Duration, progress: &Progress) -> Result<(), Exit> {
    let seconds = elapsed.as_secs_f64();
    match event {
        Event::Kill(index) => {
            progress.say(&format!("{seconds:.1} s: killing validator {index}"));
            cluster.kill(index);
            Ok(())
        }
        Event::Restart(index) => {
            progress.say(&format!("{seconds:.1} s: starting validator {index} again"));
            cluster.start(index)
        }
    }
}

/// Names every check that does not hold.
fn failed_checks(findings: &Findings, outcome: &Outcome) -> Vec<String> {
    let mut failed = Vec::new();
    if let Some(text) = &findings.disagreement {
        failed.push(format!("agreement: {text}"));
    }
    let mut none = |name: &str, count: u64| {
        if count > 0 {
            failed.push(format!("{name} = {count}: allowed is 0"));
        }
    };
    none("duplicates", findings.duplicates);
    none("lost_acknowledged", findings.lost_acknowledged);
    none("misplaced_acknowledged", findings.misplaced);
    none("unanswered", outcome.unanswered);
    if findings.blocks == 0 {
        failed.push("finalized_blocks = 0: allowed is 1 or more".into());
    }
    failed
}

/// What a cluster must do while some of it is down: the others go on, unless more than the fault bound is down, and who comes back is at the
/// tip again. A leader that is down costs a view timeout, as many as are down may lead one after the other; a second more is for a busy host.
fn failed_under_kills(schedule: &Schedule, genesis: &Genesis, doors: &[Door]) -> Vec<String> {
    let mut failed = Vec::new();
    let stake = |index: usize| genesis.set.entries()[index].stake.0;
    let tolerated = (1..=genesis.set.quorums().fault.0).contains(&schedule.down_max(stake));
    let allowed = Duration::from_nanos(genesis.params.view_timeout.0) * schedule.down_max(|_| 1) as u32 + Duration::from_secs(1);
    let highest = doors.iter().map(|door| door.height).max().unwrap_or(0);
    for (index, door) in doors.iter().enumerate() {
        let (gap, allowed_ms) = (door.gap_max.as_millis(), allowed.as_millis());
        let survivor = tolerated && !schedule.killed.contains(&index);
        if survivor && door.gap_max > allowed {
            failed.push(format!("liveness: validator {index} finalized nothing for {gap} ms: allowed is {allowed_ms} ms"));
        }
        if survivor && door.lost {
            failed.push(format!("liveness: validator {index}, which was not killed, closed its door"));
        }
        if schedule.restarted.contains(&index) && door.caught_up.is_none() {
            let height = door.height;
            failed.push(format!("catch-up: validator {index} is at height {height} when the load ends: allowed is the tip, {highest}"));
        }
    }
    failed
}

/// The commit of the checkout we run in, with `-dirty` when tracked files differ; `unknown` elsewhere.
pub(crate) fn git_commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok().map(|text| text.trim().to_string())
    };
    let ours = git(&["rev-parse", "--show-toplevel"]).is_some_and(|top| Path::new(&top).join("samara.example.toml").is_file());
    let Some(commit) = git(&["rev-parse", "HEAD"]).filter(|_| ours) else { return "unknown".into() };
    let clean = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| changes.is_empty());
    if clean { commit } else { format!("{commit}-dirty") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command as Sub};
    use crate::units::parse_at;
    use clap::Parser;

    fn chain(args: &LocalnetArgs, place: &mut Place) -> Result<Genesis, Exit> {
        let chain = Chain::choose(args, place)?;
        place.lock()?;
        chain.begin(place)
    }

    fn args(line: &str) -> LocalnetArgs {
        let Sub::Localnet(args) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else { panic!("localnet") };
        args
    }

    #[test]
    fn a_directory_with_a_chain_is_continued_and_contradictions_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let line = format!("samara localnet --dir {}", directory.path().display());
        let made = chain(&args(&format!("{line} --validators 7")), &mut Place::choose(&args(&line))).unwrap();
        assert_eq!(chain(&args(&line), &mut Place::choose(&args(&line))).unwrap(), made, "continued");
        for (more, expected) in [(" --validators 6", "--validators = 6: allowed is 7"), (" --block-size 64K", "genesis.toml fixes them")] {
            let exit = chain(&args(&(line.clone() + more)), &mut Place::choose(&args(&line))).unwrap_err();
            assert!(exit.code() == 2 && exit.to_string().contains(expected), "{exit}");
        }
    }

    #[test]
    fn a_directory_is_one_localnets_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let line = format!("samara localnet --dir {}", directory.path().display());
        let mut first = Place::choose(&args(&line));
        chain(&args(&line), &mut first).unwrap();
        let refused = chain(&args(&line), &mut Place::choose(&args(&line))).unwrap_err();
        let expected = format!("in use by another localnet (pid {})", std::process::id());
        assert!(refused.code() == 2 && refused.to_string().contains(&expected), "{refused}");
        drop(first);
        chain(&args(&line), &mut Place::choose(&args(&line))).expect("the lock goes with its holder");
        let (new, stakes) = (directory.path().join("new"), " --validators 6 --stakes 3,1,1,1,1,1");
        let line = format!("samara localnet --dir {}{stakes}", new.display());
        chain(&args(&line), &mut Place::choose(&args(&line))).unwrap_err();
        assert!(!new.exists(), "what is refused for its arguments makes nothing");
    }

    #[test]
    fn each_check_that_does_not_hold_is_named() {
        let good = Findings { tips: vec![3; 6], blocks: 3, ..Findings::default() };
        assert_eq!(failed_checks(&good, &Outcome::default()), Vec::<String>::new());
        let bad = Findings { duplicates: 1, lost_acknowledged: 2, disagreement: Some("fork".into()), ..Findings::default() };
        let failed = failed_checks(&bad, &Outcome { unanswered: 3, ..Outcome::default() }).join("|");
        for name in ["agreement: fork", "duplicates = 1", "lost_acknowledged = 2", "unanswered = 3", "finalized_blocks = 0"] {
            assert!(failed.contains(name), "{failed}");
        }
    }

    #[test]
    fn survivors_that_stop_and_a_return_without_catch_up_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let line = format!("samara localnet --dir {}", directory.path().display());
        let genesis = chain(&args(&line), &mut Place::choose(&args(&line))).unwrap();
        let at = |text| parse_at(text).unwrap();
        let kills = Schedule::new(&[at("2@8s")], &[at("2@16s")], 6, None).unwrap();
        let door = |gap_ms: u64, caught_up_ms: Option<u64>| {
            let mut door = Door::default();
            (door.height, door.gap_max) = (70, Duration::from_millis(gap_ms));
            door.caught_up = caught_up_ms.map(Duration::from_millis);
            door
        };
        let failed = |doors: [Door; 3]| failed_under_kills(&kills, &genesis, &doors);
        assert_eq!(failed([door(1_500, None), door(0, None), door(9_000, Some(300))]), Vec::<String>::new());
        let named = failed([door(1_501, None), door(0, None), door(9_000, None)]).join("|");
        assert!(named.contains("liveness: validator 0 finalized nothing for 1501 ms: allowed is 1500 ms"), "{named}");
        assert!(named.contains("catch-up: validator 2 is at height 70"), "{named}");
        let mut closed = door(0, None);
        closed.on_lost();
        let named = failed([closed, door(0, None), door(0, Some(1))]);
        assert_eq!(named, ["liveness: validator 0, which was not killed, closed its door"]);
        let unharmed = Schedule::new(&[], &[], 6, None).unwrap();
        let too_many = Schedule::new(&[at("1@1s"), at("2@1s")], &[], 6, None).unwrap();
        for schedule in [unharmed, too_many] {
            assert_eq!(failed_under_kills(&schedule, &genesis, &[door(9_000, None)]), Vec::<String>::new(), "{schedule:?}");
        }
    }

    #[test]
    fn a_port_range_in_use_is_passed_over() {
        let base = free_ports(6).unwrap();
        let _held = TcpListener::bind(("127.0.0.1", base + 4)).unwrap();
        let other = free_ports(6).unwrap();
        assert!(other.abs_diff(base) >= 18, "{base} {other}");
    }
}
