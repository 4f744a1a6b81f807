//! What can be read and set of a network card, item by item, as text that can be journaled and compared.
//!
//! | item | value | command |
//! |---|---|---|
//! | `channels:combined` | a count | `ethtool -L IF combined N` |
//! | `ring:rx` | a count | `ethtool -G IF rx N` |
//! | `feature:NAME` | `on` or `off` | `ethtool -K IF NAME on` |
//! | `rss` | the indirection table, queue numbers with blanks between | `ethtool -X IF equal N` |
//! | `rxhash:udp4` | letters of the hashed fields, `sdfn` | `ethtool -N IF rx-flow-hash udp4 sdfn` |
//! | `ntuple:LOCATION` | `none` or `udp4 dst-port P queue Q` | `ethtool -N IF flow-type udp4 dst-port P action Q loc L` |

use crate::host::error::HostError;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// Kinds of channels, in the order of the kernel's structure.
pub const CHANNELS: [&str; 4] = ["rx", "tx", "other", "combined"];
/// Kinds of rings, in the order of the kernel's structure.
pub const RINGS: [&str; 4] = ["rx", "rx-mini", "rx-jumbo", "tx"];
/// Flow types whose hashed fields can be set.
pub const FLOWS: [&str; 2] = ["udp4", "udp6"];

/// One thing of a network card.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Item {
    /// Count of channels of a kind of [`CHANNELS`].
    Channels(String),
    /// Descriptors of a kind of [`RINGS`].
    Ring(String),
    /// An offload by the kernel's name.
    Feature(String),
    /// The receive indirection table.
    Rss,
    /// Fields that are hashed for a flow type of [`FLOWS`].
    RxHash(String),
    /// A receive rule by its location.
    Ntuple(u32),
}

/// What an item says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// As in the table above.
    pub value: String,
    /// Largest count, where the driver has one.
    pub max: Option<u64>,
    /// The driver offers no way to change it.
    pub fixed: bool,
}

/// Access to network cards.
pub trait Ethtool {
    /// Reads an item. [`HostError::Absent`] when the interface or the driver does not have it.
    fn read(&self, interface: &str, item: &Item) -> Result<Reading, HostError>;
    /// Sets an item. The driver may round; read back.
    fn write(&self, interface: &str, item: &Item, value: &str) -> Result<(), HostError>;
    /// Every offload: name, on, fixed.
    fn features(&self, interface: &str) -> Result<Vec<Feature>, HostError>;
    /// What the driver does for XDP, in the words of the kernel's netlink family `netdev`: `basic`, `redirect`, `xsk-zerocopy`, ...
    fn xdp_features(&self, interface: &str) -> Result<Vec<String>, HostError>;
    /// Counters of the driver (`ethtool -S`).
    fn statistics(&self, interface: &str) -> Result<Vec<(String, u64)>, HostError>;
}

/// One offload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// The kernel's name.
    pub name: String,
    /// Active.
    pub on: bool,
    /// Cannot be changed.
    pub fixed: bool,
}

/// A UDP receive rule as this crate writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpRule {
    /// UDP destination port over IPv4.
    pub port: u16,
    /// Queue that receives.
    pub queue: u32,
}

impl Display for UdpRule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "udp4 dst-port {} queue {}", self.port, self.queue)
    }
}

impl FromStr for UdpRule {
    type Err = ();

    fn from_str(text: &str) -> Result<UdpRule, ()> {
        match text.split_whitespace().collect::<Vec<_>>()[..] {
            ["udp4", "dst-port", port, "queue", queue] => {
                Ok(UdpRule { port: port.parse().map_err(|_| ())?, queue: queue.parse().map_err(|_| ())? })
            }
            _ => Err(()),
        }
    }
}

impl Display for Item {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Item::Channels(kind) => write!(f, "channels:{kind}"),
            Item::Ring(kind) => write!(f, "ring:{kind}"),
            Item::Feature(name) => write!(f, "feature:{name}"),
            Item::Rss => f.write_str("rss"),
            Item::RxHash(flow) => write!(f, "rxhash:{flow}"),
            Item::Ntuple(location) => write!(f, "ntuple:{location}"),
        }
    }
}

impl FromStr for Item {
    type Err = String;

    fn from_str(text: &str) -> Result<Item, String> {
        let known = |kinds: &[&str], kind: &str| kinds.contains(&kind).then(|| kind.to_string());
        match text.split_once(':').unwrap_or((text, "")) {
            ("channels", kind) => known(&CHANNELS, kind).map(Item::Channels).ok_or_else(|| CHANNELS.join(", ")),
            ("ring", kind) => known(&RINGS, kind).map(Item::Ring).ok_or_else(|| RINGS.join(", ")),
            ("feature", name) if is_feature_name(name) => Ok(Item::Feature(name.to_string())),
            ("rss", "") => Ok(Item::Rss),
            ("rxhash", flow) => known(&FLOWS, flow).map(Item::RxHash).ok_or_else(|| FLOWS.join(", ")),
            ("ntuple", location) => location.parse().map(Item::Ntuple).map_err(|_| "a location number".into()),
            _ => Err("channels, ring, feature, rss, rxhash or ntuple".into()),
        }
    }
}

fn is_feature_name(name: &str) -> bool {
    !name.is_empty() && name.len() < 32 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

impl Item {
    /// The command that sets it. `value` is as in the module's table.
    pub fn command(&self, interface: &str, value: &str) -> String {
        match self {
            Item::Channels(kind) => format!("ethtool -L {interface} {kind} {value}"),
            Item::Ring(kind) => format!("ethtool -G {interface} {kind} {value}"),
            Item::Feature(name) => format!("ethtool -K {interface} {name} {value}"),
            Item::RxHash(flow) => format!("ethtool -N {interface} rx-flow-hash {flow} {value}"),
            Item::Rss => rss_command(interface, value),
            Item::Ntuple(location) => match value.parse::<UdpRule>() {
                Ok(rule) => {
                    format!("ethtool -N {interface} flow-type udp4 dst-port {} action {} loc {location}", rule.port, rule.queue)
                }
                Err(()) => format!("ethtool -N {interface} delete {location}"),
            },
        }
    }
}

/// `equal` with `start` says every table that spreads evenly; others have no command and are named as such.
fn rss_command(interface: &str, value: &str) -> String {
    let table: Vec<u32> = value.split_whitespace().filter_map(|queue| queue.parse().ok()).collect();
    let (Some(first), Some(last)) = (table.iter().min(), table.iter().max()) else { return format!("ethtool -X {interface} default") };
    let even = table == spread(table.len(), *first, last - first + 1);
    match (even, first) {
        (true, 0) => format!("ethtool -X {interface} equal {}", last + 1),
        (true, first) => format!("ethtool -X {interface} start {first} equal {}", last - first + 1),
        _ => format!("# {interface}: indirection table {value} (set through the ethtool interface; the command has no form for it)"),
    }
}

/// The table that spreads `size` entries over `count` queues from `first` on, as the kernel's default does from 0.
pub fn spread(size: usize, first: u32, count: u32) -> Vec<u32> {
    (0..size as u32).map(|entry| first + entry % count.max(1)).collect()
}

/// A table as text.
pub fn table_text(table: &[u32]) -> String {
    table.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_back_from_their_text() {
        for text in ["channels:combined", "ring:rx", "feature:tx-udp-segmentation", "rss", "rxhash:udp4", "ntuple:7"] {
            assert_eq!(text.parse::<Item>().unwrap().to_string(), text);
        }
        for text in ["", "channels:some", "ring:", "feature:", "feature:a b", "feature:$(x)", "rss:1", "rxhash:tcp9", "ntuple:x", "fan:1"] {
            assert!(text.parse::<Item>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_even_table_has_its_command() {
        let command = |table: &[u32]| Item::Rss.command("eth0", &table_text(table));
        assert_eq!(command(&spread(8, 0, 4)), "ethtool -X eth0 equal 4");
        assert_eq!(command(&spread(8, 2, 2)), "ethtool -X eth0 start 2 equal 2");
        assert!(command(&[0, 0, 3, 1]).starts_with("# eth0: indirection table 0 0 3 1"));
    }
}
