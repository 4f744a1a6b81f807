//! The configuration of one validator: TOML file, then `SAMARA_SECTION__KEY` variables, then [`NodeConfig::load`]'s checks.
//!
//! Host values only; what the cluster must agree on stands in the genesis. Unknown keys are refused, relative paths are relative to
//! the file's directory, and every refusal names the key with its section, the value and what is allowed. `samara.example.toml`
//! documents every knob with its unit and cost.

mod check;
mod prepare;
mod raw;

pub use prepare::Prepared;
pub use raw::{LogFormat, WaitMode};

use crate::cli::TransportArg;
use crate::exit::Exit;
use crate::genesis::{GENESIS_FILE, Genesis};
use crate::keys::KEY_FILE;
use samara_dataplane::port::ladder::XdpWish;
use samara_types::ChainId;
use samara_types::digest::hex;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Name of the configuration in a validator's directory.
pub const CONFIG_FILE: &str = "samara.toml";

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// Chain this validator belongs to.
    pub chain: ChainId,
    /// Genesis file.
    pub genesis: PathBuf,
    /// Key file.
    pub keys: PathBuf,
    /// Seat, if the operator wrote it down; checked against the keys.
    pub index: Option<u16>,
    /// Keep privileges after the set-up.
    pub keep_capabilities: bool,
    /// Memory for the last inputs of the machine; 0 keeps none.
    pub input_ring_bytes: usize,
    /// Where data lies.
    pub layout: Layout,
    /// Datagrams between validators.
    pub network: Network,
    /// Threads.
    pub reactor: Reactor,
    /// The client door.
    pub client: Client,
    /// The mempool's bounds.
    pub mempool: Mempool,
    /// The metrics endpoint.
    pub metrics: MetricsListen,
    /// Logging.
    pub log: Log,
}

/// Files and directories of one validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Directory of the vote log.
    pub votes: PathBuf,
    /// Directory of the body journal.
    pub bodies: PathBuf,
    /// Directory of the block store.
    pub blocks: PathBuf,
    /// Where the last inputs are written when something goes wrong.
    pub inputs: PathBuf,
    /// The last published `NodeSnapshot`.
    pub metrics: PathBuf,
    /// The socket through which the validator's owner looks on.
    pub door: PathBuf,
}

impl Layout {
    /// Data in `data`, the metrics file beside it: the configuration may lie where nothing is written.
    pub fn new(data: &Path) -> Layout {
        Layout {
            votes: data.join("votes"),
            bodies: data.join("bodies"),
            blocks: data.join("blocks"),
            inputs: data.to_path_buf(),
            metrics: data.with_file_name("metrics.json"),
            door: data.join("door.sock"),
        }
    }
}

/// Section `network`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Local address of the datagram port; the genesis address if None.
    pub listen: Option<SocketAddr>,
    /// Local address of the sync server; the genesis address if None.
    pub sync_listen: Option<SocketAddr>,
    /// Port rung.
    pub transport: TransportArg,
    /// Frames of the port's pool, 2 KiB each.
    pub frames: usize,
    /// Kernel socket buffers, bytes.
    pub socket_buffer_bytes: usize,
    /// AF_XDP.
    pub xdp: XdpWish,
}

/// Section `reactor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reactor {
    /// Core of the hot reactor; unpinned if None.
    pub hot_core: Option<usize>,
    /// Core of the service reactor; unpinned if None.
    pub service_core: Option<usize>,
    /// What the hot reactor does when there is nothing to do.
    pub wait: WaitMode,
    /// Spin before sleeping, for `adaptive`, microseconds.
    pub spin_us: u64,
    /// Scheduler slice of the hot reactor and its shards, microseconds.
    pub slice_us: u64,
    /// Threads that seal and send shreds for the hot reactor.
    pub shards: usize,
    /// Core of each of them; unpinned if empty.
    pub shard_cores: Vec<usize>,
}

/// Section `client`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Local address of the client door; the genesis address if None.
    pub listen: Option<SocketAddr>,
    /// Unanswered submissions per connection.
    pub in_flight_max: usize,
    /// Connections at once.
    pub connections_max: usize,
}

/// Section `mempool`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mempool {
    /// Transactions.
    pub transactions_max: usize,
    /// Their bytes.
    pub bytes_max: usize,
}

/// Section `metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsListen {
    /// Local address of the endpoint; no endpoint if None.
    pub listen: Option<SocketAddr>,
}

/// Section `log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A level or a `tracing` filter.
    pub level: String,
    /// Form of a line.
    pub format: LogFormat,
}

impl NodeConfig {
    /// Reads file and environment and checks every value and relation that can be checked without other files.
    pub fn load(path: &Path) -> Result<NodeConfig, Exit> {
        if !path.is_file() {
            return Err(Exit::bad("--config", path.display(), "a readable configuration file (see samara.example.toml)"));
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        check::check(raw::read(path)?, directory)
    }
}

/// The configuration `samara genesis` writes for validator `index`.
pub fn render(genesis: &Genesis, index: usize, transport: TransportArg) -> String {
    format!(
        "# Validator {index} of chain \"{}\". Every key: samara.example.toml.\n\n[chain]\nid = \"{}\"\n\n[node]\ngenesis = \
         \"../{GENESIS_FILE}\"\nkeys = \"{KEY_FILE}\"\ndata_dir = \"data\"\nindex = {index}\n\n[network]\ntransport = \"{}\"\n",
        genesis.name.replace(['"', '\n'], "'"),
        hex(&genesis.chain.0),
        transport.as_str()
    )
}

#[cfg(test)]
mod tests;
