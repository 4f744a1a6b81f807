//! ethtool of this machine. Structures and numbers are those of `linux/ethtool.h`; offsets are in bytes.

use crate::host::error::HostError;
use crate::host::ethtool::{CHANNELS, Ethtool, Feature, Item, RINGS, Reading, UdpRule, table_text};
use crate::host::netdev;
use crate::sys::Request;
use std::io;

const GRINGPARAM: u32 = 0x10;
const SRINGPARAM: u32 = 0x11;
const GSTRINGS: u32 = 0x1b;
const GSTATS: u32 = 0x1d;
const GRXFH: u32 = 0x29;
const SRXFH: u32 = 0x2a;
const GRXCLSRLCNT: u32 = 0x2e;
const GRXCLSRULE: u32 = 0x2f;
const SRXCLSRLDEL: u32 = 0x31;
const SRXCLSRLINS: u32 = 0x32;
const GSSET_INFO: u32 = 0x37;
const GRXFHINDIR: u32 = 0x38;
const SRXFHINDIR: u32 = 0x39;
const GFEATURES: u32 = 0x3a;
const SFEATURES: u32 = 0x3b;
const GCHANNELS: u32 = 0x3c;
const SCHANNELS: u32 = 0x3d;

const NAMES_OF_STATISTICS: u32 = 1;
const NAMES_OF_FEATURES: u32 = 4;
/// Bytes of one name.
const NAME: usize = 32;
/// Most names taken of a driver.
const NAMES_MAX: usize = 1 << 16;
/// Largest indirection table accepted (mlx5 has up to a few thousand entries).
const TABLE_MAX: usize = 1 << 16;

const UDP_V4_FLOW: u32 = 0x02;
const UDP_V6_FLOW: u32 = 0x06;
/// Letters of `ethtool -N IF rx-flow-hash` and their bits.
const HASHED: [(char, u64); 7] = [('m', 1 << 1), ('v', 1 << 2), ('t', 1 << 3), ('s', 1 << 4), ('d', 1 << 5), ('f', 1 << 6), ('n', 1 << 7)];

/// `struct ethtool_rxnfc`: command, flow type, data, then the rule.
const RXNFC: usize = 192;
const RXNFC_FLOW: usize = 4;
const RXNFC_DATA: usize = 8;
const RULE_FLOW: usize = 16;
const RULE_VALUE: usize = 20;
const RULE_MASK: usize = 92;
/// Value, extension, mask and extension of a rule.
const RULE_MATCH: std::ops::Range<usize> = 20..164;
const RULE_QUEUE: usize = 168;
const RULE_LOCATION: usize = 176;
/// Destination port in the UDP form of value and mask.
const PORT_AT: usize = 10;

/// The ethtool interface of this machine, in the network namespace of the calling thread.
pub(super) struct Kernel;

impl Ethtool for Kernel {
    fn read(&self, interface: &str, item: &Item) -> Result<Reading, HostError> {
        let read = match item {
            Item::Channels(kind) => counts(interface, GCHANNELS).map(|counts| count_of(&counts, &CHANNELS, kind)),
            Item::Ring(kind) => counts(interface, GRINGPARAM).map(|counts| count_of(&counts, &RINGS, kind)),
            Item::Feature(name) => feature(interface, name),
            Item::Rss => table(interface).map(|table| Some(plain(table_text(&table)))),
            Item::RxHash(flow) => hashed(interface, flow).map(|letters| Some(plain(letters))),
            Item::Ntuple(location) => rule(interface, *location).map(|rule| Some(plain(rule))),
        };
        let what = format!("{interface} {item}");
        read.map_err(|error| HostError::reading(&what, error))?.ok_or(HostError::Absent(what))
    }

    fn write(&self, interface: &str, item: &Item, value: &str) -> Result<(), HostError> {
        let what = format!("{interface} {item}");
        let number = || value.parse::<u32>().map_err(|_| invalid());
        let written = match item {
            Item::Channels(kind) => number().and_then(|count| set_count(interface, (GCHANNELS, SCHANNELS), &CHANNELS, kind, count)),
            Item::Ring(kind) => number().and_then(|count| set_count(interface, (GRINGPARAM, SRINGPARAM), &RINGS, kind, count)),
            Item::Feature(name) => set_feature(interface, name, value),
            Item::Rss => set_table(interface, value),
            Item::RxHash(flow) => set_hashed(interface, flow, value),
            Item::Ntuple(location) => set_rule(interface, *location, value),
        };
        written.map_err(|error| match error.raw_os_error() {
            // The socket is open to everybody, the request is not.
            Some(libc::EPERM) => HostError::NotPermitted(what.clone()),
            _ => HostError::writing(&what, value, error),
        })
    }

    fn xdp_features(&self, interface: &str) -> Result<Vec<String>, HostError> {
        netdev::xdp_features(interface).map_err(|error| HostError::reading(&format!("{interface} xdp-features"), error))
    }

    fn features(&self, interface: &str) -> Result<Vec<Feature>, HostError> {
        features(interface).map_err(|error| HostError::reading(&format!("{interface} features"), error))
    }

    fn statistics(&self, interface: &str) -> Result<Vec<(String, u64)>, HostError> {
        statistics(interface).map_err(|error| HostError::reading(&format!("{interface} statistics"), error))
    }
}

fn plain(value: String) -> Reading {
    Reading { value, max: None, fixed: false }
}

fn invalid() -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}

fn perform(interface: &str, command: u32, bytes: usize, fill: impl FnOnce(&mut Request)) -> io::Result<Request> {
    let mut request = Request::new(command, bytes);
    fill(&mut request);
    request.perform(interface)?;
    Ok(request)
}

/// The structures of channels and rings have one form: command, four largest counts, four counts.
fn counts(interface: &str, get: u32) -> io::Result<Request> {
    perform(interface, get, 36, |_| {})
}

fn count_of(counts: &Request, kinds: &[&str; 4], kind: &str) -> Option<Reading> {
    let place = kinds.iter().position(|known| *known == kind)?;
    let (max, count) = (counts.u32(4 + 4 * place), counts.u32(20 + 4 * place));
    (max > 0 || count > 0).then(|| Reading { value: count.to_string(), max: Some(u64::from(max)), fixed: max == 0 })
}

fn set_count(interface: &str, (get, set): (u32, u32), kinds: &[&str; 4], kind: &str, count: u32) -> io::Result<()> {
    let mut request = counts(interface, get)?;
    let place = kinds.iter().position(|known| *known == kind).ok_or_else(invalid)?;
    request.set_u32(0, set);
    request.set_u32(20 + 4 * place, count);
    request.perform(interface)
}

fn names(interface: &str, set: u32) -> io::Result<Vec<String>> {
    // `struct ethtool_sset_info`: command, reserved, mask, then one count per set of the mask.
    let info = perform(interface, GSSET_INFO, 20, |request| request.set_u64(8, 1 << set))?;
    let count = if info.u64(8) == 0 { 0 } else { (info.u32(16) as usize).min(NAMES_MAX) };
    if count == 0 {
        return Ok(Vec::new());
    }
    let strings = perform(interface, GSTRINGS, 12 + count * NAME, |request| {
        request.set_u32(4, set);
        request.set_u32(8, count as u32);
    })?;
    let name = |place: usize| {
        let bytes = strings.bytes::<NAME>(12 + place * NAME);
        String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
    };
    Ok((0..count.min(strings.u32(8) as usize)).map(name).collect())
}

/// `struct ethtool_gfeatures`: command, blocks, then per 32 features: available, requested, active, never changed.
fn feature_blocks(interface: &str, names: usize) -> io::Result<Request> {
    let blocks = names.div_ceil(32);
    perform(interface, GFEATURES, 8 + 16 * blocks, |request| request.set_u32(4, blocks as u32))
}

fn features(interface: &str) -> io::Result<Vec<Feature>> {
    let names = names(interface, NAMES_OF_FEATURES)?;
    let blocks = feature_blocks(interface, names.len())?;
    let bit = |place: usize, field: usize| blocks.u32(8 + 16 * (place / 32) + 4 * field) >> (place % 32) & 1 == 1;
    let feature = |(place, name): (usize, String)| Feature { name, on: bit(place, 2), fixed: bit(place, 3) || !bit(place, 0) };
    Ok(names.into_iter().enumerate().filter(|(_, name)| !name.is_empty()).map(feature).collect())
}

fn feature(interface: &str, name: &str) -> io::Result<Option<Reading>> {
    let feature = features(interface)?.into_iter().find(|feature| feature.name == name);
    Ok(feature.map(|feature| Reading { value: if feature.on { "on" } else { "off" }.into(), max: None, fixed: feature.fixed }))
}

fn set_feature(interface: &str, name: &str, value: &str) -> io::Result<()> {
    let names = names(interface, NAMES_OF_FEATURES)?;
    let place = names.iter().position(|known| known == name).ok_or_else(|| io::Error::from_raw_os_error(libc::EOPNOTSUPP))?;
    let on = match value {
        "on" => true,
        "off" => false,
        _ => return Err(invalid()),
    };
    let blocks = names.len().div_ceil(32);
    // `struct ethtool_sfeatures`: command, blocks, then per 32 features: valid, requested.
    perform(interface, SFEATURES, 8 + 8 * blocks, |request| {
        let (block, bit) = (8 + 8 * (place / 32), 1u32 << (place % 32));
        request.set_u32(4, blocks as u32);
        request.set_u32(block, bit);
        request.set_u32(block + 4, if on { bit } else { 0 });
    })
    .map(drop)
}

/// `struct ethtool_rxfh_indir`: command, size, entries.
fn table(interface: &str) -> io::Result<Vec<u32>> {
    let size = perform(interface, GRXFHINDIR, 8, |_| {})?.u32(4) as usize;
    if size == 0 || size > TABLE_MAX {
        return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
    }
    let table = perform(interface, GRXFHINDIR, 8 + 4 * size, |request| request.set_u32(4, size as u32))?;
    Ok((0..size).map(|entry| table.u32(8 + 4 * entry)).collect())
}

/// Tries the driver's default first: a table that equals it then stays free to follow the count of channels, as it was before.
fn set_table(interface: &str, value: &str) -> io::Result<()> {
    let wanted: Vec<u32> = value.split_whitespace().map(|queue| queue.parse().map_err(|_| invalid())).collect::<Result<_, _>>()?;
    let reset = perform(interface, SRXFHINDIR, 8, |_| {});
    if reset.is_ok() && table(interface)? == wanted {
        return Ok(());
    }
    perform(interface, SRXFHINDIR, 8 + 4 * wanted.len(), |request| {
        request.set_u32(4, wanted.len() as u32);
        wanted.iter().enumerate().for_each(|(entry, queue)| request.set_u32(8 + 4 * entry, *queue));
    })
    .map(drop)
}

fn flow_number(flow: &str) -> u32 {
    if flow == "udp6" { UDP_V6_FLOW } else { UDP_V4_FLOW }
}

fn hashed(interface: &str, flow: &str) -> io::Result<String> {
    let data = perform(interface, GRXFH, RXNFC, |request| request.set_u32(RXNFC_FLOW, flow_number(flow)))?.u64(RXNFC_DATA);
    Ok(HASHED.iter().filter(|(_, bit)| data & bit != 0).map(|(letter, _)| letter).collect())
}

fn set_hashed(interface: &str, flow: &str, letters: &str) -> io::Result<()> {
    let bit = |letter: char| HASHED.iter().find(|(known, _)| *known == letter).map(|(_, bit)| *bit).ok_or_else(invalid);
    let bits = letters.chars().map(bit).try_fold(0, |bits, bit| Ok::<u64, io::Error>(bits | bit?))?;
    perform(interface, SRXFH, RXNFC, |request| {
        request.set_u32(RXNFC_FLOW, flow_number(flow));
        request.set_u64(RXNFC_DATA, bits);
    })
    .map(drop)
}

/// `none`, a rule of our form, or `other`: a rule this crate does not write over.
fn rule(interface: &str, location: u32) -> io::Result<String> {
    perform(interface, GRXCLSRLCNT, RXNFC, |_| {})?;
    let answer = match perform(interface, GRXCLSRULE, RXNFC, |request| request.set_u32(RULE_LOCATION, location)) {
        Ok(answer) => answer,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => return Ok("none".into()),
        Err(error) => return Err(error),
    };
    let found = UdpRule {
        port: u16::from_be_bytes(answer.bytes::<2>(RULE_VALUE + PORT_AT)),
        queue: u32::try_from(answer.u64(RULE_QUEUE)).unwrap_or(u32::MAX),
    };
    let mut ours = Request::new(0, RXNFC);
    fill_rule(&mut ours, location, found);
    let same = |at: usize| ours.bytes::<1>(at) == answer.bytes::<1>(at);
    let is_ours = answer.u32(RULE_FLOW) == UDP_V4_FLOW && answer.u64(RULE_QUEUE) <= u64::from(u32::MAX) && RULE_MATCH.into_iter().all(same);
    Ok(if is_ours { found.to_string() } else { "other".into() })
}

fn set_rule(interface: &str, location: u32, value: &str) -> io::Result<()> {
    if value == "none" {
        return perform(interface, SRXCLSRLDEL, RXNFC, |request| request.set_u32(RULE_LOCATION, location)).map(drop);
    }
    let rule: UdpRule = value.parse().map_err(|()| invalid())?;
    perform(interface, SRXCLSRLINS, RXNFC, |request| fill_rule(request, location, rule)).map(drop)
}

/// In a mask, a set bit is one that must match.
fn fill_rule(request: &mut Request, location: u32, rule: UdpRule) {
    request.set_u32(RULE_FLOW, UDP_V4_FLOW);
    request.set_bytes(RULE_VALUE + PORT_AT, &rule.port.to_be_bytes());
    request.set_bytes(RULE_MASK + PORT_AT, &[0xff, 0xff]);
    request.set_u64(RULE_QUEUE, u64::from(rule.queue));
    request.set_u32(RULE_LOCATION, location);
}

fn statistics(interface: &str) -> io::Result<Vec<(String, u64)>> {
    let names = names(interface, NAMES_OF_STATISTICS)?;
    if names.is_empty() {
        return Ok(Vec::new());
    }
    // `struct ethtool_stats`: command, count, values.
    let values = perform(interface, GSTATS, 8 + 8 * names.len(), |request| request.set_u32(4, names.len() as u32))?;
    Ok(names.into_iter().enumerate().map(|(place, name)| (name, values.u64(8 + 8 * place))).collect())
}
