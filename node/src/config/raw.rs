//! What a configuration file may say, before any check.

use crate::cli::TransportArg;
use crate::exit::{Exit, one_line};
use figment::Figment;
use figment::error::{Actual, Kind};
use figment::providers::{Env, Format, Toml};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub chain: RawChain,
    pub node: RawNode,
    #[serde(default)]
    pub network: RawNetwork,
    #[serde(default)]
    pub reactor: RawReactor,
    #[serde(default)]
    pub client: RawClient,
    #[serde(default)]
    pub mempool: RawMempool,
    #[serde(default)]
    pub metrics: RawMetrics,
    #[serde(default)]
    pub log: RawLog,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawChain {
    pub id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNode {
    pub genesis: PathBuf,
    pub keys: PathBuf,
    pub data_dir: PathBuf,
    pub index: Option<u16>,
    #[serde(default)]
    pub keep_capabilities: bool,
    #[serde(default = "input_ring_bytes")]
    pub input_ring_bytes: u64,
}

fn input_ring_bytes() -> u64 {
    4 << 20
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawNetwork {
    pub listen: Option<SocketAddr>,
    pub sync_listen: Option<SocketAddr>,
    pub transport: TransportArg,
    pub frames: u64,
    pub socket_buffer_bytes: u64,
    pub xdp: RawXdp,
}

impl Default for RawNetwork {
    fn default() -> Self {
        RawNetwork {
            listen: None,
            sync_listen: None,
            transport: TransportArg::Auto,
            frames: 8192,
            socket_buffer_bytes: 4 << 20,
            xdp: RawXdp::default(),
        }
    }
}

/// How AF_XDP is attached.
#[derive(Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RawXdpMode {
    Auto,
    ZeroCopy,
    Native,
    Skb,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawXdp {
    pub interface: Option<String>,
    pub queue: u32,
    pub mode: RawXdpMode,
    pub frame_bytes: u64,
    pub busy_poll_us: u64,
    pub busy_poll_budget: u64,
}

impl Default for RawXdp {
    fn default() -> Self {
        RawXdp { interface: None, queue: 0, mode: RawXdpMode::Auto, frame_bytes: 2048, busy_poll_us: 0, busy_poll_budget: 64 }
    }
}

/// What a hot reactor does when there is nothing to do.
#[derive(Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum WaitMode {
    /// Spin: lowest latency, a whole core.
    Busy,
    /// Spin for a while, then sleep in the kernel.
    Adaptive,
    /// Sleep at once: least CPU time.
    Park,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawReactor {
    pub hot_core: Option<usize>,
    pub service_core: Option<usize>,
    pub wait: WaitMode,
    pub spin_us: u64,
    pub slice_us: u64,
    pub shards: u64,
    pub shard_cores: Vec<usize>,
}

impl Default for RawReactor {
    fn default() -> Self {
        let (wait, shard_cores) = (WaitMode::Adaptive, Vec::new());
        RawReactor { hot_core: None, service_core: None, wait, spin_us: 20, slice_us: 100, shards: 0, shard_cores }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawClient {
    pub listen: Option<SocketAddr>,
    pub in_flight_max: u64,
    pub connections_max: u64,
}

impl Default for RawClient {
    fn default() -> Self {
        RawClient { listen: None, in_flight_max: 4096, connections_max: 256 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawMempool {
    pub transactions_max: u64,
    pub bytes_max: u64,
}

impl Default for RawMempool {
    fn default() -> Self {
        RawMempool { transactions_max: 65_536, bytes_max: 32 << 20 }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawMetrics {
    pub listen: Option<SocketAddr>,
}

/// Form of log lines.
#[derive(Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON document per line.
    Json,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLog {
    pub level: String,
    pub format: LogFormat,
}

impl Default for RawLog {
    fn default() -> Self {
        RawLog { level: "info".into(), format: LogFormat::Text }
    }
}

/// The file, overridden by the environment.
pub(super) fn read(path: &Path) -> Result<Raw, Exit> {
    // Only names with a section: other SAMARA_ variables (of scripts, of a shell) are no configuration.
    let environment = Env::prefixed("SAMARA_").filter(|name| name.as_str().contains("__")).split("__");
    let figment = Figment::from(Toml::file_exact(path)).merge(environment);
    figment.extract().map_err(|error| explain(path, &figment, error))
}

/// The first error as one line: where it comes from, key with its section, value, what is allowed.
fn explain(path: &Path, figment: &Figment, error: figment::Error) -> Exit {
    let from_environment = error.metadata.as_ref().is_some_and(|metadata| metadata.name.contains("environment"));
    let origin = if from_environment { "environment".to_string() } else { path.display().to_string() };
    let mut key = error.path.join(".");
    let push = |key: &mut String, field: &str| {
        if !key.is_empty() {
            key.push('.');
        }
        key.push_str(field);
    };
    let what = match &error.kind {
        Kind::UnknownField(field, allowed) => {
            if error.path.last().is_none_or(|last| last != field) {
                push(&mut key, field);
            }
            let given = figment.find_value(&key).map_or_else(|_| "?".into(), |given| value(&given.to_actual()));
            format!("{key} = {given}: unknown key, allowed are {}", allowed.join(", "))
        }
        Kind::MissingField(field) => {
            push(&mut key, field);
            format!("{key} is missing: a value is required")
        }
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            format!("{key} = {}: allowed is {expected}", value(actual))
        }
        Kind::UnknownVariant(given, allowed) => format!("{key} = {given}: allowed is {}", allowed.join(", ")),
        other => format!("{key}: {other}"),
    };
    Exit::Usage(one_line(&format!("{origin}: {what}")))
}

fn value(actual: &Actual) -> String {
    match actual {
        Actual::Str(text) => text.clone(),
        Actual::Bool(value) => value.to_string(),
        Actual::Unsigned(value) => value.to_string(),
        Actual::Signed(value) => value.to_string(),
        Actual::Float(value) => value.to_string(),
        other => other.to_string(),
    }
}
