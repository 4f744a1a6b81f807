//! Memory: huge pages that are free, NUMA nodes, what is available.

use super::{Finding, Severity, View};
use crate::host::CpuSet;

const MEMINFO: &str = "/proc/meminfo";
const NODES: &str = "/sys/devices/system/node/online";
/// Pages of 2 MiB for four ports of 65,536 frames of 2 KiB.
const PAGES_WANTED: u64 = 256;
/// One validator with full buffers, store cache and headroom, kB.
const AVAILABLE_WANTED: u64 = 4 << 20;

pub(super) fn check(view: &View<'_>) -> Vec<Finding> {
    vec![huge_pages(view), available(view), nodes(view)]
}

/// A number of `/proc/meminfo`, in its unit (kB, or pages).
fn number(view: &View<'_>, key: &str) -> Option<u64> {
    view.field(MEMINFO, key).ok()?.split_whitespace().next()?.parse().ok()
}

fn huge_pages(view: &View<'_>) -> Finding {
    let should = format!("{PAGES_WANTED} or more free");
    let (Some(total), Some(free)) = (number(view, "HugePages_Total"), number(view, "HugePages_Free")) else {
        return Finding::new("huge-pages", "not here", should, MEMINFO).judged(Severity::Info);
    };
    let size = number(view, "Hugepagesize").unwrap_or(2048);
    let short = free < PAGES_WANTED;
    let severity = if view.guest { Severity::Info } else { Severity::Warn };
    Finding::new("huge-pages", format!("{free} of {total} free, {size} kB each"), should, MEMINFO)
        .why("frame pools on small pages miss the TLB on almost every frame")
        .cost(if short { "a page walk per frame; frame pools fall back to small pages" } else { "none" })
        .worse(short, severity, "sysctl -w vm.nr_hugepages=512")
}

fn available(view: &View<'_>) -> Finding {
    let should = "4194304 kB or more";
    let Some(available) = number(view, "MemAvailable") else {
        return Finding::new("memory", "not here", should, MEMINFO).judged(Severity::Info);
    };
    let short = available < AVAILABLE_WANTED;
    Finding::new("memory", format!("{available} kB available"), should, MEMINFO)
        .why("buffers of a validator have a bound each; together they must fit beside the page cache of the store")
        .cost(if short { "the store reads from disk; under load the kernel may end the validator" } else { "none" })
        .worse(short, Severity::Warn, "add memory, or stop other programs")
}

fn nodes(view: &View<'_>) -> Finding {
    let should = "one node, or card and reactors on the same";
    view.file("numa", NODES, should, |text| {
        let nodes = CpuSet::parse_list(text).unwrap_or_default();
        if nodes.count() <= 1 {
            return Finding::new("numa", "one node", should, NODES).why("memory of another node is slower to reach").cost("none");
        }
        let place = |interface: &String| {
            let path = format!("/sys/class/net/{interface}/device/numa_node");
            let node: u32 = view.host.read(&path).ok()?.parse().ok()?;
            let cpus = CpuSet::parse_list(&view.host.read(&format!("/sys/devices/system/node/node{node}/cpulist")).ok()?)?;
            Some((interface.clone(), node, view.hot.without(&cpus), path))
        };
        let places: Vec<_> = view.interfaces.iter().filter_map(place).collect();
        let cards: Vec<String> = places.iter().map(|(interface, node, ..)| format!("{interface} on node {node}")).collect();
        let far = places.iter().find(|(_, _, far, _)| !far.is_empty());
        let source = far.or(places.first()).map_or(NODES, |(.., path)| path.as_str());
        Finding::new("numa", format!("nodes {nodes}; {}", cards.join(", ")), should, source)
            .why("a frame that crosses nodes costs a memory access of the other socket, twice")
            .cost(far.map_or("none".into(), |(interface, _, far, _)| format!("reactors on {far} are on another node than {interface}")))
            .worse(far.is_some(), Severity::Warn, "give the reactors CPUs of the card's node (cores in samara.toml)")
    })
}
