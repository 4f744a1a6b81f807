//! Interrupts of a network interface: number and the name its driver gave, which stays when numbers change.

use crate::host::Host;
use crate::host::error::HostError;
use std::collections::{BTreeMap, BTreeSet};

/// One interrupt.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Irq {
    /// Its number, until the driver asks for its interrupts again.
    pub number: u32,
    /// The name in `/proc/interrupts`, such as `mlx5_comp0@pci:0000:03:00.0`.
    pub action: String,
}

impl Host {
    /// Interrupts that carry a name, from `/proc/interrupts`.
    pub fn irqs(&self) -> Result<Vec<Irq>, HostError> {
        let text = self.read("/proc/interrupts")?;
        // The header line has one word per CPU, each row a number with a colon, one count per CPU, the chip, and the name last.
        let cpus = text.lines().next().map_or(0, |header| header.split_whitespace().count());
        let row = |line: &str| {
            let mut words = line.split_whitespace();
            let number = words.next()?.strip_suffix(':')?.parse().ok()?;
            let action = words.skip(cpus).last()?.to_string();
            Some(Irq { number, action })
        };
        Ok(text.lines().skip(1).filter_map(row).collect())
    }

    /// Interrupts of a network interface: those of its device, or of the device its virtual one hangs on (virtio).
    pub fn irqs_of(&self, interface: &str) -> Result<Vec<Irq>, HostError> {
        let device = format!("/sys/class/net/{interface}/device");
        let numbers: BTreeSet<u32> = [format!("{device}/msi_irqs"), format!("{device}/../msi_irqs")]
            .iter()
            .find_map(|dir| self.list(dir).ok().filter(|names| !names.is_empty()))
            .ok_or_else(|| HostError::Absent(format!("{device}/msi_irqs")))?
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        let virtio = self.locate(&device).ok().and_then(|place| Some(place.file_name()?.to_str()?.to_string()));
        let ours = |irq: &Irq| {
            // Several virtio functions never share a PCI device, and the configuration interrupt of one moves no packets.
            numbers.contains(&irq.number) && virtio.as_ref().is_none_or(|name| irq.action != format!("{name}-config"))
        };
        Ok(self.irqs()?.into_iter().filter(ours).collect())
    }

    /// The number of the interrupt with this name, `hint` first; nothing when the name is gone or no longer unique.
    pub fn irq_named(&self, action: &str, hint: u32) -> Option<u32> {
        let mut named: BTreeMap<u32, String> = BTreeMap::new();
        named.extend(self.irqs().ok()?.into_iter().filter(|irq| irq.action == action).map(|irq| (irq.number, irq.action)));
        match named.len() {
            _ if named.contains_key(&hint) => Some(hint),
            1 => named.into_keys().next(),
            _ => None,
        }
    }
}
