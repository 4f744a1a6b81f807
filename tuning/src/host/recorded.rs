//! Network cards of a recorded tree: text files that answer as a driver does.
//!
//! ```text
//! DIR/ethtool/IF/channels    combined 8 63          kind, count, largest
//!                rings       rx 512 4096
//!                features    tx-udp-segmentation on      (a third word "fixed")
//!                rss         0 1 2 3 0 1 2 3
//!                rxhash      udp4 sd
//!                ntuple      7 udp4 dst-port 8001 queue 2
//!                statistics  rx_missed_errors 0
//!                xdp         basic redirect xsk-zerocopy
//!                quirks      reset-around refuse-late
//! ```
//!
//! Behaviour of real drivers that plans trip over: ring sizes are rounded up to a power of two; counts above the largest are refused; a
//! default indirection table follows the count of channels, any other refuses channels below its highest queue. Quirks of some: other channels
//! or rings reset the table, the queues' masks and the interrupts' CPUs (`reset-around`); the refusal comes after that (`refuse-late`).

use crate::host::error::HostError;
use crate::host::ethtool::{Ethtool, Feature, Item, Reading, spread, table_text};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The cards of one tree.
pub(super) struct Recorded {
    root: PathBuf,
}

impl Recorded {
    pub(super) fn new(root: &Path) -> Recorded {
        Recorded { root: root.join("ethtool") }
    }

    /// A file as rows of words; absent when the recorded driver does not have it.
    fn rows(&self, interface: &str, file: &str) -> Result<Vec<Vec<String>>, HostError> {
        let what = format!("{interface} {file}");
        if interface.contains('/') || interface.starts_with('.') {
            return Err(HostError::Absent(what));
        }
        let text = fs::read_to_string(self.root.join(interface).join(file)).map_err(|error| HostError::reading(&what, error))?;
        Ok(text.lines().map(|line| line.split_whitespace().map(str::to_string).collect()).collect())
    }

    fn put(&self, interface: &str, file: &str, rows: &[Vec<String>]) -> io::Result<()> {
        let text: String = rows.iter().map(|row| row.join(" ") + "\n").collect();
        fs::write(self.root.join(interface).join(file), text)
    }

    fn set_row(&self, interface: &str, file: &str, key: &str, value: &str) -> Result<(), HostError> {
        let mut rows = self.rows(interface, file)?;
        let row = rows.iter_mut().find(|row| row[0] == key).ok_or_else(|| HostError::Absent(format!("{interface} {file} {key}")))?;
        row[1] = value.to_string();
        self.put(interface, file, &rows).map_err(|error| HostError::writing(&format!("{interface} {file}"), value, error))
    }

    fn has_quirk(&self, interface: &str, quirk: &str) -> bool {
        self.rows(interface, "quirks").unwrap_or_default().concat().iter().any(|word| word == quirk)
    }

    /// What follows a change of channels or rings in some drivers.
    fn quirks(&self, interface: &str, what: &str, value: &str) -> Result<(), HostError> {
        if self.has_quirk(interface, "reset-around") {
            self.reset_around(interface).map_err(|error| HostError::writing(what, value, error))?;
        }
        if self.has_quirk(interface, "refuse-late") { Err(refused(what, value)) } else { Ok(()) }
    }

    fn reset_around(&self, interface: &str) -> io::Result<()> {
        let count = self.read(interface, &Item::Channels("combined".into())).ok().and_then(|reading| reading.value.parse().ok());
        let (size, count) = (self.table(interface).unwrap_or_default().len(), count.unwrap_or(1));
        self.put(interface, "rss", &[vec![table_text(&spread(size, 0, count))]])?;
        let machine = self.root.parent().expect("a directory in the tree");
        let online = fs::read_to_string(machine.join("sys/devices/system/cpu/online"))?;
        for irq in fs::read_dir(machine.join("proc/irq"))? {
            let irq = irq?.path();
            if !irq.join("managed").exists() {
                fs::write(irq.join("smp_affinity_list"), &online)?;
            }
        }
        for queue in fs::read_dir(machine.join("sys/class/net").join(interface).join("queues"))? {
            let file = queue?.path().join("rps_cpus");
            if file.exists() {
                fs::write(file, "00000000\n")?;
            }
        }
        Ok(())
    }

    fn table(&self, interface: &str) -> Result<Vec<u32>, HostError> {
        let rows = self.rows(interface, "rss")?;
        Ok(rows.concat().iter().filter_map(|queue| queue.parse().ok()).collect())
    }

    fn set_channels(&self, interface: &str, kind: &str, count: u32) -> Result<(), HostError> {
        let before: u32 = self.read(interface, &Item::Channels(kind.into()))?.value.parse().unwrap_or(0);
        let table = self.table(interface).unwrap_or_default();
        let is_default = table == spread(table.len(), 0, before);
        if !is_default && table.iter().any(|queue| *queue >= count) {
            return Err(refused(&format!("{interface} channels:{kind}"), &count.to_string()));
        }
        self.set_row(interface, "channels", kind, &count.to_string())?;
        if is_default && !table.is_empty() {
            let table = table_text(&spread(table.len(), 0, count));
            self.put(interface, "rss", &[vec![table]]).map_err(|error| HostError::writing(interface, kind, error))?;
        }
        Ok(())
    }

    fn set_table(&self, interface: &str, value: &str) -> Result<(), HostError> {
        let queues: u32 = self.read(interface, &Item::Channels("combined".into()))?.value.parse().unwrap_or(0);
        let wanted: Vec<u32> = value.split_whitespace().filter_map(|queue| queue.parse().ok()).collect();
        if wanted.len() != self.table(interface)?.len() || wanted.iter().any(|queue| *queue >= queues) {
            return Err(refused(&format!("{interface} rss"), value));
        }
        self.put(interface, "rss", &[vec![table_text(&wanted)]]).map_err(|error| HostError::writing(interface, value, error))
    }

    fn set_rule(&self, interface: &str, location: u32, value: &str) -> Result<(), HostError> {
        let mut rows = self.rows(interface, "ntuple")?;
        rows.retain(|row| row[0] != location.to_string());
        if value != "none" {
            rows.push(std::iter::once(location.to_string()).chain(value.split_whitespace().map(str::to_string)).collect());
        }
        self.put(interface, "ntuple", &rows).map_err(|error| HostError::writing(interface, value, error))
    }
}

fn refused(what: &str, value: &str) -> HostError {
    HostError::Refused { what: what.into(), value: value.into(), error: io::Error::from_raw_os_error(libc::EINVAL) }
}

impl Ethtool for Recorded {
    fn read(&self, interface: &str, item: &Item) -> Result<Reading, HostError> {
        let plain = |value: String| Reading { value, max: None, fixed: false };
        let row = |file: &str, key: &str| -> Result<Vec<String>, HostError> {
            let rows = self.rows(interface, file)?;
            rows.into_iter().find(|row| row.len() > 1 && row[0] == key).ok_or_else(|| HostError::Absent(format!("{interface} {item}")))
        };
        Ok(match item {
            Item::Channels(kind) | Item::Ring(kind) => {
                let file = if matches!(item, Item::Channels(_)) { "channels" } else { "rings" };
                let row = row(file, kind)?;
                Reading { value: row[1].clone(), max: row.get(2).and_then(|max| max.parse().ok()), fixed: false }
            }
            Item::Feature(name) => {
                let row = row("features", name)?;
                Reading { value: row[1].clone(), max: None, fixed: row.get(2).is_some_and(|word| word == "fixed") }
            }
            Item::Rss => plain(table_text(&self.table(interface)?)),
            Item::RxHash(flow) => plain(row("rxhash", flow)?[1].clone()),
            Item::Ntuple(location) => {
                let rows = self.rows(interface, "ntuple")?;
                let rule = rows.into_iter().find(|row| row[0] == location.to_string());
                plain(rule.map_or("none".into(), |row| row[1..].join(" ")))
            }
        })
    }

    fn write(&self, interface: &str, item: &Item, value: &str) -> Result<(), HostError> {
        let reading = self.read(interface, item)?;
        let what = format!("{interface} {item}");
        let count = || {
            let count: u64 = value.parse().map_err(|_| refused(&what, value))?;
            if count == 0 || reading.max.is_some_and(|max| count > max) { Err(refused(&what, value)) } else { Ok(count as u32) }
        };
        match item {
            Item::Channels(kind) => {
                self.set_channels(interface, kind, count()?)?;
                self.quirks(interface, &what, value)
            }
            Item::Ring(kind) => {
                self.set_row(interface, "rings", kind, &count()?.next_power_of_two().to_string())?;
                self.quirks(interface, &what, value)
            }
            Item::Feature(_) if reading.fixed => Err(refused(&what, value)),
            Item::Feature(name) => self.set_row(interface, "features", name, value),
            Item::Rss => self.set_table(interface, value),
            Item::RxHash(flow) => self.set_row(interface, "rxhash", flow, value),
            Item::Ntuple(location) => self.set_rule(interface, *location, value),
        }
    }

    fn features(&self, interface: &str) -> Result<Vec<Feature>, HostError> {
        let rows = self.rows(interface, "features")?;
        let feature = |row: &Vec<String>| Feature {
            name: row[0].clone(),
            on: row.get(1).is_some_and(|word| word == "on"),
            fixed: row.get(2).is_some_and(|word| word == "fixed"),
        };
        Ok(rows.iter().filter(|row| !row.is_empty()).map(feature).collect())
    }

    fn xdp_features(&self, interface: &str) -> Result<Vec<String>, HostError> {
        Ok(self.rows(interface, "xdp")?.concat())
    }

    fn statistics(&self, interface: &str) -> Result<Vec<(String, u64)>, HostError> {
        let rows = self.rows(interface, "statistics")?;
        Ok(rows.iter().filter_map(|row| Some((row.first()?.clone(), row.get(1)?.parse().ok()?))).collect())
    }
}
