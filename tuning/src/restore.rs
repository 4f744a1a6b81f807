//! Putting values back, together with what moves along.
//!
//! The kernel moves more than it is told: other offloads go with the one they depend on; a driver that is given other channels or rings makes
//! its indirection table, its queues' CPU masks and the CPUs of its interrupts anew. So whoever changes a value looks at its `neighbours`
//! before, and whoever puts values back names every neighbour's value as well.
//!
//! Values are put back last first, round by round, until a whole round found nothing to do: a table needs its channels, channels move tables,
//! a queue that is gone comes back with its channels. What still says something else after the last round has failed by name.

use crate::apply::{Event, Observer, Point};
use crate::host::Host;
use crate::host::ethtool::Item;
use crate::target::Target;

/// Rounds until everything holds.
const ROUNDS: usize = 4;
/// Files of a queue that drivers make anew.
const QUEUE_FILES: [&str; 4] = ["rps_cpus", "rps_flow_cnt", "xps_cpus", "xps_rxqs"];

/// Targets and what they say.
pub type Around = Vec<(Target, String)>;

/// A value to put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    pub(crate) name: String,
    pub(crate) target: Target,
    pub(crate) value: String,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Back {
    /// It said so already.
    AsBefore,
    /// It was written and says so.
    Restored,
    /// It is not there (any more).
    Gone,
    /// The machine's word.
    Failed(String),
}

/// What the kernel or a driver may move along with a target, as it is at this moment.
pub(crate) fn neighbours(host: &Host, target: &Target) -> Around {
    let Target::Nic { interface, item: own } = target else { return Vec::new() };
    let of_card = |item: Item| Target::Nic { interface: interface.clone(), item };
    match own {
        Item::Channels(_) | Item::Ring(_) => {
            let interrupts = host.irqs_of(interface).unwrap_or_default().into_iter().map(Target::Irq);
            let all = std::iter::once(of_card(Item::Rss)).chain(queue_files(host, interface)).chain(interrupts);
            all.filter_map(|target| Some((target.read(host).ok()?.value, target))).map(|(value, target)| (target, value)).collect()
        }
        Item::Feature(name) => {
            let features = host.ethtool().features(interface).unwrap_or_default();
            let others = features.into_iter().filter(|feature| feature.name != *name);
            others.map(|feature| (of_card(Item::Feature(feature.name)), if feature.on { "on" } else { "off" }.to_string())).collect()
        }
        _ => Vec::new(),
    }
}

fn queue_files(host: &Host, interface: &str) -> Vec<Target> {
    let dir = format!("/sys/class/net/{interface}/queues");
    let of_queue = |queue: String| QUEUE_FILES.map(|file| Target::File(format!("{dir}/{queue}/{file}")));
    host.list(&dir).unwrap_or_default().into_iter().flat_map(of_queue).collect()
}

/// Puts back what says something else, last first. One ending per want.
pub(crate) fn restore(host: &Host, wants: &[Want], observer: Observer<'_>) -> Vec<Back> {
    let mut backs: Vec<Option<Back>> = vec![None; wants.len()];
    for _ in 0..ROUNDS {
        let mut moved = false;
        for (place, want) in wants.iter().enumerate().rev() {
            let back = put_back(host, want, observer);
            moved |= matches!(back, Back::Restored | Back::Failed(_));
            let was_restored = backs[place] == Some(Back::Restored);
            backs[place] = Some(if was_restored && back == Back::AsBefore { Back::Restored } else { back });
        }
        if !moved {
            break;
        }
    }
    let verify = |(want, back): (&Want, Option<Back>)| match (back, want.target.read(host)) {
        (Some(Back::Restored), Ok(now)) if !want.target.same(&now.value, &want.value) => {
            Back::Failed(format!("{} says {} again after {} was written", want.target, now.value, want.value))
        }
        (back, _) => back.unwrap_or(Back::AsBefore),
    };
    wants.iter().zip(backs).map(verify).collect()
}

fn put_back(host: &Host, want: &Want, observer: Observer<'_>) -> Back {
    let Want { name, target, value } = want;
    match target.read(host) {
        Ok(now) if target.same(&now.value, value) => return Back::AsBefore,
        Ok(_) => {}
        Err(error) if error.is_absent() => return Back::Gone,
        Err(error) => return Back::Failed(error.to_string()),
    }
    let command = target.command(host, value);
    observer(&Event { point: Point::Restoring, name, command: &command });
    if let Err(error) = target.write(host, value) {
        return if error.is_absent() { Back::Gone } else { Back::Failed(error.to_string()) };
    }
    match target.read(host) {
        Ok(now) if target.same(&now.value, value) => {
            observer(&Event { point: Point::Restored, name, command: &command });
            Back::Restored
        }
        Ok(now) => Back::Failed(format!("{target} says {} after {value} was written", now.value)),
        Err(error) => Back::Failed(error.to_string()),
    }
}
