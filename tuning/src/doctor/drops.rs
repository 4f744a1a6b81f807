//! What was lost since boot, by the place that counts it: sockets, softirq, the card, its XDP programs.

use super::{Finding, Severity, View, settings};

const SNMP: &str = "/proc/net/snmp";
const SOFTNET: &str = "/proc/net/softnet_stat";

pub(super) fn check(view: &View<'_>) -> Vec<Finding> {
    let mut findings = vec![sockets(view), softirq(view)];
    findings.extend(view.interfaces.iter().flat_map(|interface| [card(view, interface), programs(view, interface)]));
    findings
}

/// Datagrams of all sockets, since boot.
pub(super) struct Udp {
    received: u64,
    errors: u64,
    /// Lost because the receive buffer was full.
    pub(super) receive_buffer: u64,
    /// Lost because the send buffer was full.
    pub(super) send_buffer: u64,
}

/// The two `Udp:` lines of `/proc/net/snmp`: names, then values.
pub(super) fn udp(view: &View<'_>) -> Option<Udp> {
    let text = view.host.read(SNMP).ok()?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let (names, values) = (lines.next()?.split_whitespace(), lines.next()?.split_whitespace());
    let pairs: Vec<(&str, u64)> = names.zip(values).filter_map(|(name, value)| Some((name, value.parse().ok()?))).collect();
    let of = |wanted: &str| pairs.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    Some(Udp {
        received: of("InDatagrams")?,
        errors: of("InErrors").unwrap_or(0),
        receive_buffer: of("RcvbufErrors")?,
        send_buffer: of("SndbufErrors").unwrap_or(0),
    })
}

fn sockets(view: &View<'_>) -> Finding {
    let should = "no errors";
    view.file("drops-udp", SNMP, should, |_| {
        let Some(udp) = udp(view) else { return Finding::new("drops-udp", "not here", should, SNMP).judged(Severity::Info) };
        let is = format!("RcvbufErrors {}, InErrors {}, SndbufErrors {}", udp.receive_buffer, udp.errors, udp.send_buffer);
        let offered = udp.received + udp.errors;
        let lost = if offered == 0 { 0.0 } else { 100.0 * udp.errors as f64 / offered as f64 };
        Finding::new("drops-udp", is, should, SNMP)
            .why("a shred that a socket drops was paid for by its sender and must come from another relay")
            .cost(format!("{lost:.3} % of {offered} datagrams since boot"))
            .lost(view, udp.errors + udp.send_buffer > 0, &["receive-buffer-max", "send-buffer-max"])
    })
}

impl Finding {
    /// When something was lost: a warning with what would be set now, or a fact of the past where the settings are right by now.
    fn lost(self, view: &View<'_>, lost: bool, settings: &[&str]) -> Finding {
        match settings::repairs(view, settings, None) {
            Some(repairs) if repairs.is_empty() => self.worse(lost, Severity::Info, "since boot; the settings are right now"),
            Some(repairs) => self.worse(lost, Severity::Warn, repairs.join("; ")),
            None => self.worse(lost, Severity::Warn, format!("where the host sets it: {}", view.tune())),
        }
    }
}

/// Sums of `/proc/net/softnet_stat` over CPUs, since boot.
pub(super) struct Softnet {
    processed: u64,
    /// Packets that did not fit the backlog.
    pub(super) dropped: u64,
    /// Times that softirq stopped with work left.
    squeezed: u64,
}

/// A row per CPU: processed, dropped, squeezed, ... in hexadecimal.
pub(super) fn softnet(view: &View<'_>) -> Option<Softnet> {
    let text = view.host.read(SOFTNET).ok()?;
    let column = |line: &str, at: usize| line.split_whitespace().nth(at).and_then(|word| u64::from_str_radix(word, 16).ok());
    let sum = |at: usize| text.lines().map(|line| column(line, at)).sum::<Option<u64>>();
    Some(Softnet { processed: sum(0)?, dropped: sum(1)?, squeezed: sum(2)? })
}

fn softirq(view: &View<'_>) -> Finding {
    let should = "none dropped";
    view.file("drops-softirq", SOFTNET, should, |_| {
        let Some(softnet) = softnet(view) else {
            return Finding::new("drops-softirq", "not here", should, SOFTNET).judged(Severity::Info);
        };
        Finding::new("drops-softirq", format!("dropped {}, out of time {}", softnet.dropped, softnet.squeezed), should, SOFTNET)
            .why("below AF_XDP every packet passes the backlog of its CPU")
            .cost(format!("{} of {} packets since boot", softnet.dropped, softnet.processed))
            .lost(view, softnet.dropped > 0, &["backlog"])
    })
}

/// Counters of a card that tell of loss, largest first.
fn losses(view: &View<'_>, interface: &str) -> Option<Vec<(String, u64)>> {
    let statistics = view.host.ethtool().statistics(interface).ok()?;
    let tells = |name: &str| ["drop", "miss", "discard", "err", "no_buf", "out_of_buffer", "fifo"].iter().any(|word| name.contains(word));
    let mut found: Vec<_> = statistics.into_iter().filter(|(name, count)| *count > 0 && tells(&name.to_lowercase())).collect();
    found.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    Some(found)
}

fn shown(losses: &[(String, u64)]) -> String {
    let names: Vec<String> = losses.iter().take(4).map(|(name, count)| format!("{name} {count}")).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

fn card(view: &View<'_>, interface: &str) -> Finding {
    let (id, should) = (format!("drops-card:{interface}"), "none");
    let directory = format!("/sys/class/net/{interface}/statistics");
    let of_kernel =
        |name: &str| view.host.read(&format!("{directory}/{name}")).ok()?.parse().ok().map(|count: u64| (name.to_string(), count));
    let from_kernel: Vec<_> = ["rx_dropped", "rx_missed_errors", "tx_dropped", "rx_errors"].into_iter().filter_map(of_kernel).collect();
    let from_driver = losses(view, interface);
    if from_driver.is_none() && from_kernel.is_empty() {
        return Finding::new(id, "not visible: the driver has no statistics", should, format!("ethtool -S {interface}"))
            .judged(Severity::Info);
    }
    let mut all: Vec<(String, u64)> = from_kernel.into_iter().filter(|(_, count)| *count > 0).collect();
    let own = from_driver.unwrap_or_default().into_iter().filter(|(name, _)| !name.contains("xdp"));
    own.for_each(|(name, count)| {
        if all.iter().all(|(known, _)| *known != name) {
            all.push((name, count))
        }
    });
    let source =
        if view.host.exists(&directory) { format!("{directory}, ethtool -S {interface}") } else { format!("ethtool -S {interface}") };
    let mut more = settings::repairs(view, &["receive-ring"], Some(interface)).unwrap_or_default();
    more.push("more queues; reactors awake".into());
    Finding::new(id, shown(&all), should, source)
        .why("what the card drops nobody else counts")
        .cost(if all.is_empty() { "none".into() } else { format!("{} packets since boot, by the largest counter", all[0].1.max(1)) })
        .worse(!all.is_empty(), Severity::Warn, more.join("; "))
}

/// Drops of a running validator's own sockets are among its metrics; the driver counts those of every program.
fn programs(view: &View<'_>, interface: &str) -> Finding {
    let (id, should, source) = (format!("drops-xdp:{interface}"), "none", format!("ethtool -S {interface}"));
    let Some(losses) = losses(view, interface) else {
        return Finding::new(id, "not visible: the driver has no statistics", should, source).judged(Severity::Info);
    };
    let own: Vec<_> = losses.into_iter().filter(|(name, _)| name.contains("xdp")).collect();
    Finding::new(id, shown(&own), should, source)
        .why("frames that a program or its ring refused; those of Samara are in samara_port metrics by reason")
        .cost(if own.is_empty() { "none".into() } else { format!("{} frames, by the largest counter", own[0].1) })
        .worse(!own.is_empty(), Severity::Warn, "samara monitor: which queue drops, and why")
}
