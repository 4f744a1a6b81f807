//! The command line (DESIGN section 6: names and flags are a stable contract).

use crate::bench::{self, BenchArgs};
use crate::capture::{self, CaptureArgs};
use crate::config::Prepared;
use crate::doctor::{self, DoctorArgs};
use crate::exit::{Exit, one_line};
use crate::load::source::SENDERS_MAX;
use crate::manual::{self, ManualArgs};
use crate::monitor::{self, MonitorArgs};
use crate::replay::{self, ReplayArgs};
use crate::sim::{self, SimArgs};
use crate::tune::{self, TuneArgs};
use crate::units::{At, parse_address, parse_at, parse_duration, parse_size};
use crate::{genesis, inspect, keys, load, localnet};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Kernel-bypass validators: Rotor dissemination under Minimmit consensus.
#[derive(Parser, Debug)]
#[command(name = "samara", version, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Write a key file and print its public keys.
    Keygen(KeygenArgs),
    /// Write the genesis file, keys and configuration of a new chain.
    Genesis(GenesisArgs),
    /// Run one validator.
    Run(RunArgs),
    /// Run a whole cluster on this machine, drive load through it, check it and report.
    Localnet(LocalnetArgs),
    /// Send transactions to running validators and wait until they are final.
    Submit(SubmitArgs),
    /// Drive open-loop load at running validators and measure finality.
    Load(LoadArgs),
    /// Read the data of a stopped or running validator.
    Inspect(InspectArgs),
    /// Record what a running validator receives and sends, as pcapng.
    Capture(CaptureArgs),
    /// Play a capture once more, into a validator machine or at a port.
    Replay(ReplayArgs),
    /// Measure our code beside its rivals in the same run.
    Bench(BenchArgs),
    /// Watch running validators in a terminal.
    Monitor(MonitorArgs),
    /// Examine this host: what is, what should be, why, what it costs and what repairs it.
    Doctor(DoctorArgs),
    /// Show, apply, check and take back host settings.
    Tune(TuneArgs),
    /// Run whole clusters in the simulator, with faults and hostile validators, and check every promise.
    Sim(SimArgs),
    /// Write man pages and shell completions.
    #[command(hide = true)]
    Manual(ManualArgs),
}

/// Arguments of `keygen`.
#[derive(Args, Debug)]
pub struct KeygenArgs {
    /// Directory that receives the file `keys`; made if missing.
    #[arg(long)]
    pub out: PathBuf,
}

/// Cluster-wide parameters; what is not given takes the default of `samara_types::Params`.
#[derive(Args, Clone, Debug, Default)]
pub struct ParamArgs {
    /// From entering a view to giving it up, ms.
    #[arg(long, value_name = "MS")]
    pub view_timeout_ms: Option<u64>,
    /// Least time between entering a view and the next proposal, ms.
    #[arg(long, value_name = "MS")]
    pub block_interval_ms: Option<u64>,
    /// Wait of a leader without transactions before it proposes an empty block, ms; 200 unless the other two leave less or demand more.
    #[arg(long, value_name = "MS")]
    pub idle_interval_ms: Option<u64>,
    /// Most payload bytes of a block (suffixes K and M are powers of 1024).
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    pub block_size: Option<u64>,
    /// Code-word chunks per 100 data chunks, blocks above 64 KiB.
    #[arg(long, value_name = "PERCENT")]
    pub relay_redundancy_percent: Option<u16>,
    /// Code-word chunks per 100 data chunks, blocks up to 64 KiB.
    #[arg(long, value_name = "PERCENT")]
    pub hybrid_redundancy_percent: Option<u16>,
    /// Heights for which an included transaction is known as a duplicate.
    #[arg(long, value_name = "N")]
    pub dedup_heights: Option<u32>,
}

impl ParamArgs {
    /// Whether any is given.
    pub fn any(&self) -> bool {
        let times = [self.view_timeout_ms, self.block_interval_ms, self.idle_interval_ms, self.block_size];
        let redundancies = [self.relay_redundancy_percent, self.hybrid_redundancy_percent];
        times.iter().any(Option::is_some) || redundancies.iter().any(Option::is_some) || self.dedup_heights.is_some()
    }
}

/// Arguments of `genesis`.
#[derive(Args, Debug)]
pub struct GenesisArgs {
    /// Number of validators.
    #[arg(long, value_name = "N")]
    pub validators: usize,
    /// Stake of each validator; 1 each if not given.
    #[arg(long, value_name = "A,B,..", value_delimiter = ',')]
    pub stakes: Vec<u64>,
    /// Fault bound by stake; floor((S-1)/5) if not given.
    #[arg(long, value_name = "F")]
    pub fault_stake: Option<u64>,
    /// Name of the chain.
    #[arg(long, default_value = "samara")]
    pub name: String,
    /// Host all addresses are on; edit genesis.toml afterwards for a chain on many hosts.
    #[arg(long, default_value = "127.0.0.1")]
    pub host: std::net::IpAddr,
    /// First port; each validator takes the next three (datagrams, clients, sync).
    #[arg(long, value_name = "PORT", default_value_t = 27_000)]
    pub base_port: u16,
    /// Parameters.
    #[command(flatten)]
    pub params: ParamArgs,
    /// Directory to write.
    #[arg(long)]
    pub out: PathBuf,
}

/// Arguments of `run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Configuration file (`samara.example.toml` explains every key).
    #[arg(long)]
    pub config: PathBuf,
}

/// Datagram transport.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransportArg {
    /// The best rung this host offers (AF_XDP only with consent: see samara.example.toml).
    Auto,
    /// AF_XDP in the best mode that works; a localnet gives each validator a network namespace.
    Xdp,
    /// io_uring with provided buffers.
    Uring,
    /// recvmmsg and sendmmsg.
    Udp,
}

impl TransportArg {
    /// As in configuration and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            TransportArg::Auto => "auto",
            TransportArg::Xdp => "xdp",
            TransportArg::Uring => "uring",
            TransportArg::Udp => "udp",
        }
    }
}

/// Arguments of `localnet`.
#[derive(Args, Clone, Debug)]
pub struct LocalnetArgs {
    /// Number of validators; that of the genesis if `--dir` holds one.
    #[arg(long, value_name = "N")]
    pub validators: Option<usize>,
    /// Stake of each validator; 1 each if not given.
    #[arg(long, value_name = "A,B,..", value_delimiter = ',')]
    pub stakes: Vec<u64>,
    /// How long to drive load (default 20s).
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "blocks")]
    pub duration: Option<Duration>,
    /// Drive load until this many more blocks are final instead.
    #[arg(long, value_name = "N")]
    pub blocks: Option<u64>,
    /// Offered transactions per second; 0 offers none.
    #[arg(long, default_value_t = 1000)]
    pub tps: u64,
    /// Bytes of a transaction.
    #[arg(long, value_name = "BYTES", default_value = "512", value_parser = parse_size)]
    pub tx_size: u64,
    /// Keys that sign the transactions in turn. Validators remember the last 8,192 or so they met.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=SENDERS_MAX as i64))]
    pub senders: u32,
    /// Parameters of a new chain.
    #[command(flatten)]
    pub params: ParamArgs,
    /// Datagram transport.
    #[arg(long, value_enum, default_value = "auto")]
    pub transport: TransportArg,
    /// Give each validator of a new chain a network namespace of its own, as xdp always does; needs root.
    #[arg(long)]
    pub namespaces: bool,
    /// Run the cluster over each of these transports, all in the same namespaces, and print them side by side.
    #[arg(long, value_enum, value_name = "A,B,..", value_delimiter = ',', conflicts_with_all = ["dir", "transport", "blocks"])]
    pub compare: Vec<TransportArg>,
    /// Rounds of --compare in which the transports take turns.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100), requires = "compare")]
    pub rounds: u16,
    /// Kill validator I (SIGKILL) T after the load starts; repeatable.
    #[arg(long, value_name = "I@T", value_parser = parse_at)]
    pub kill: Vec<At>,
    /// Start validator I again T after the load starts; repeatable.
    #[arg(long, value_name = "I@T", value_parser = parse_at)]
    pub restart: Vec<At>,
    /// Keeps configuration and data here, and continues the chain that is here; a temporary directory if not given.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Report directory; `samara-report-<time>` if not given.
    #[arg(long)]
    pub report: Option<PathBuf>,
    /// First port of a new chain; a free range is looked for if not given.
    #[arg(long, value_name = "PORT")]
    pub base_port: Option<u16>,
    /// Seed of the generated transactions' content; keys are always random.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Give the validators no metrics endpoints.
    #[arg(long)]
    pub no_metrics: bool,
    /// Print one JSON document on stdout instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Where the validators are, for clients.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = true)]
pub struct TargetArgs {
    /// Genesis file: chain id and all client addresses come from it.
    #[arg(long, required = true)]
    pub genesis: PathBuf,
    /// Client addresses to use instead of all in the genesis; repeatable.
    #[arg(long, value_name = "IP:PORT", value_parser = parse_address)]
    pub to: Vec<SocketAddr>,
}

/// Arguments of `submit`.
#[derive(Args, Debug)]
pub struct SubmitArgs {
    /// Where.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Transactions to send.
    #[arg(long, default_value_t = 1)]
    pub count: u64,
    /// Bytes of a transaction.
    #[arg(long, value_name = "BYTES", default_value = "512", value_parser = parse_size)]
    pub tx_size: u64,
    /// Data of a single transaction, instead of generated bytes.
    #[arg(long, conflicts_with_all = ["count", "tx_size"])]
    pub data: Option<String>,
    /// Give up after this.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub timeout: Duration,
    /// Print one JSON document on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `load`.
#[derive(Args, Debug)]
pub struct LoadArgs {
    /// Where.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Offered transactions per second.
    #[arg(long, default_value_t = 1000)]
    pub tps: u64,
    /// Bytes of a transaction.
    #[arg(long, value_name = "BYTES", default_value = "512", value_parser = parse_size)]
    pub tx_size: u64,
    /// Keys that sign the transactions in turn. Validators remember the last 8,192 or so they met.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=SENDERS_MAX as i64))]
    pub senders: u32,
    /// How long to offer.
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = parse_duration)]
    pub duration: Duration,
    /// Seed of the transactions' content.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print one JSON document on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `inspect`.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// What to read.
    #[command(subcommand)]
    pub what: InspectWhat,
}

/// A validator's directory.
#[derive(Args, Clone, Debug)]
pub struct DirArgs {
    /// The validator's directory (the one with `samara.toml`).
    #[arg(long)]
    pub dir: PathBuf,
    /// Print one JSON document on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Certificate kinds on the command line.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum KindArg {
    /// 2f+1 nullifies.
    Nullification,
    /// 2f+1 votes.
    M,
    /// S-f votes.
    L,
}

/// What `inspect` reads.
#[derive(Subcommand, Debug)]
pub enum InspectWhat {
    /// Every final block, in height order.
    Chain {
        /// Whose.
        #[command(flatten)]
        dir: DirArgs,
    },
    /// One block.
    Block {
        /// Whose.
        #[command(flatten)]
        dir: DirArgs,
        /// By height.
        #[arg(long, required_unless_present = "digest")]
        height: Option<u64>,
        /// By digest.
        #[arg(long, conflicts_with = "height")]
        digest: Option<String>,
    },
    /// Certificates, all or those of a view or kind.
    Certificate {
        /// Whose.
        #[command(flatten)]
        dir: DirArgs,
        /// Of this view only.
        #[arg(long)]
        view: Option<u64>,
        /// Of this kind only.
        #[arg(long, value_enum)]
        kind: Option<KindArg>,
    },
    /// Every durable record of the vote log, in log order.
    Votes {
        /// Whose.
        #[command(flatten)]
        dir: DirArgs,
    },
    /// What this validator holds against others.
    Evidence {
        /// Whose.
        #[command(flatten)]
        dir: DirArgs,
    },
}

/// Parses the process arguments, runs the command and turns its end into an exit code.
pub fn main() -> ExitCode {
    let outcome = match Cli::try_parse() {
        Ok(cli) => crate::coding::choose_engine().and_then(|()| dispatch(cli.command)),
        Err(error) if !error.use_stderr() => {
            print!("{error}");
            return ExitCode::SUCCESS;
        }
        Err(error) => Err(Exit::Usage(usage_line(&error))),
    };
    let outcome = outcome.and_then(|()| match crate::stdio::lost() {
        None => Ok(()),
        Some(error) => Err(Exit::failed(format!("stdout: {error}"))),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => {
            eprintln!("samara: {exit}");
            ExitCode::from(exit.code())
        }
    }
}

fn dispatch(command: Command) -> Result<(), Exit> {
    match command {
        Command::Keygen(args) => keys::keygen(&args),
        Command::Genesis(args) => genesis::command(&args),
        Command::Run(args) => run_validator(&args),
        Command::Localnet(args) => localnet::command(&args),
        Command::Submit(args) => load::submit::command(&args),
        Command::Load(args) => load::command(&args),
        Command::Inspect(args) => inspect::command(&args.what),
        Command::Capture(args) => capture::command(&args),
        Command::Replay(args) => replay::command(&args),
        Command::Bench(args) => bench::command(&args),
        Command::Monitor(args) => monitor::command(&args),
        Command::Doctor(args) => doctor::command(&args),
        Command::Tune(args) => tune::command(&args.what),
        Command::Sim(args) => sim::command(&args),
        Command::Manual(args) => manual::command(&args),
    }
}

fn run_validator(args: &RunArgs) -> Result<(), Exit> {
    let prepared = Prepared::load(&args.config)?;
    crate::logging::init(&prepared.config.log);
    crate::run::command(prepared)
}

/// One line that names the argument, its value and what is allowed; clap's own text has many lines.
fn usage_line(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let argument = text(ContextKind::InvalidArg).map(|argument| argument.split(' ').next().unwrap_or_default().to_string());
    let allowed = text(ContextKind::ValidValue).or_else(|| std::error::Error::source(error).map(|source| source.to_string()));
    match (error.kind(), argument, text(ContextKind::InvalidValue)) {
        (ErrorKind::InvalidValue | ErrorKind::ValueValidation, Some(argument), Some(value)) => {
            let allowed = match allowed.as_deref().map(|text| text.strip_prefix(&format!("{value} is not in ")).unwrap_or(text)) {
                Some("invalid digit found in string" | "cannot parse integer from empty string") => "a whole number",
                Some(text) => text,
                None => "a value",
            };
            format!("{argument} = {value}: allowed is {}", one_line(allowed))
        }
        (ErrorKind::MissingRequiredArgument, Some(argument), _) => {
            format!("{argument} is missing: it is required (see `samara --help`)")
        }
        (ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand, ..) => {
            "a subcommand is missing: see `samara --help`".into()
        }
        (ErrorKind::UnknownArgument, Some(argument), _) => format!("{argument}: no such argument (see `samara --help`)"),
        _ => one_line(&error.render().to_string().replace("error: ", "")).chars().take(400).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_value_that_is_not_allowed_is_answered_in_one_line_with_what_is() {
        let line = |arguments: &str| usage_line(&Cli::try_parse_from(arguments.split_whitespace()).expect_err("a usage error"));
        assert_eq!(line("samara localnet --senders 0"), "--senders = 0: allowed is 1..=1000000");
        assert_eq!(line("samara localnet --validators x"), "--validators = x: allowed is a whole number");
        assert_eq!(line("samara sim --seeds="), "--seeds = : allowed is a whole number");
    }

    #[test]
    fn the_contract_flags_of_localnet_parse() {
        let line = "samara localnet --validators 6 --duration 30s --tps 2000 --tx-size 512 --block-size 64K --transport uring \
                    --kill 2@8s --restart 2@16s --dir d --json";
        let Command::Localnet(args) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else { panic!("localnet") };
        assert_eq!((args.validators, args.duration, args.tps, args.tx_size), (Some(6), Some(Duration::from_secs(30)), 2000, 512));
        assert_eq!(args.params.block_size, Some(65536));
        assert_eq!(args.kill, [At { validator: 2, after: Duration::from_secs(8) }]);
        assert_eq!(args.restart, [At { validator: 2, after: Duration::from_secs(16) }]);
        assert!(args.json);
        assert!(Cli::try_parse_from("samara localnet --duration 3s --blocks 4".split_whitespace()).is_err());
    }

    #[test]
    fn bad_arguments_become_one_line_with_key_value_and_what_is_allowed() {
        let line = |text: &str| usage_line(&Cli::try_parse_from(text.split_whitespace()).unwrap_err());
        assert_eq!(line("samara localnet --transport pigeon"), "--transport = pigeon: allowed is auto, xdp, uring, udp");
        assert_eq!(line("samara localnet --kill 2"), "--kill = 2: allowed is VALIDATOR@TIME, such as 2@8s");
        let number = line("samara localnet --tps many");
        assert!(number.starts_with("--tps = many: allowed is "), "{number}");
        assert_eq!(line("samara keygen"), "--out is missing: it is required (see `samara --help`)");
        assert_eq!(line("samara run --confg x"), "--confg: no such argument (see `samara --help`)");
        assert!(!line("samara fly").contains('\n'));
        assert_eq!(line("samara"), "a subcommand is missing: see `samara --help`");
    }
}
