//! Each interface: driver, link, MTU, queues, what the driver does for XDP, busy polling, whether it is part of something else.

use super::{Finding, Severity, View};
use crate::host::HostError;

/// IP packets of Samara (DESIGN section 3: 1,400 bytes by default, never fragmented).
const MTU_LEAST: u64 = 1400;
/// Above it a frame does not fit one of the frame pool's largest, 4,096 bytes with headroom.
const MTU_MOST: u64 = 3700;
/// Drivers that are known for the native mode of XDP.
const NATIVE: [&str; 9] = ["mlx5_core", "ice", "i40e", "ixgbe", "igc", "ena", "bnxt_en", "virtio_net", "veth"];
const OTHER_CARD: &str = "a card with native XDP (mlx5, ice, i40e, ixgbe, ena, virtio_net), or transport uring";

pub(super) fn check(view: &View<'_>) -> Vec<Finding> {
    if view.interfaces.is_empty() {
        let none = Finding::new("nic", "no interface with a device is up", "one, named with --interface", "/sys/class/net");
        return vec![none.why("card checks need a card").judged(Severity::Info)];
    }
    let one = |interface: &String| {
        let nic = Nic { view, interface };
        vec![nic.driver(), nic.link(), nic.master(), nic.mtu(), nic.queues(), nic.xdp(), nic.busy_poll()]
    };
    view.interfaces.iter().flat_map(one).collect()
}

fn is_native(features: &[String]) -> bool {
    ["basic", "redirect"].iter().all(|wanted| features.iter().any(|feature| feature == wanted))
}

struct Nic<'a> {
    view: &'a View<'a>,
    interface: &'a str,
}

impl Nic<'_> {
    fn id(&self, name: &str) -> String {
        format!("{name}:{}", self.interface)
    }

    fn path(&self, file: &str) -> String {
        format!("/sys/class/net/{}/{file}", self.interface)
    }

    /// The driver's name; none for interfaces without a device (veth, bridges, loopback).
    fn driver_name(&self) -> Option<String> {
        let path = self.path("device/driver");
        let place = self.view.host.exists(&path).then(|| self.view.host.locate(&path).ok()).flatten()?;
        Some(place.file_name()?.to_str()?.to_string())
    }

    fn driver(&self) -> Finding {
        let path = self.path("device/driver");
        // What the kernel tells of this one counts; a name says something where it tells nothing.
        let told = self.view.host.ethtool().xdp_features(self.interface).ok().map(|features| is_native(&features));
        let (is, severity) = match (self.driver_name(), told) {
            (Some(name), _) if NATIVE.contains(&name.as_str()) => (name, Severity::Ok),
            (Some(name), Some(true)) => (name, Severity::Ok),
            (Some(name), Some(false)) => (format!("{name}: no native XDP"), Severity::Warn),
            (Some(name), None) => (format!("{name}: not known for native XDP"), Severity::Info),
            (None, _) => ("no device: a virtual interface, or not recorded".into(), Severity::Info),
        };
        let cost = if severity == Severity::Warn { "AF_XDP only in generic mode, behind the driver" } else { "" };
        Finding::new(self.id("nic-driver"), is, "a driver with native XDP", path)
            .why("the driver decides whether AF_XDP runs before or behind the kernel's network stack")
            .cost(cost)
            .judged(severity)
            .worse(severity == Severity::Warn, Severity::Warn, OTHER_CARD)
    }

    fn link(&self) -> Finding {
        let (id, path) = (self.id("link"), self.path("operstate"));
        self.view.file(&id, &path, "up", |state| {
            // Reading the speed of a card that is down, or of most virtual ones, is an error.
            let speed = self.view.host.read(&self.path("speed")).ok().filter(|speed| !speed.starts_with('-'));
            let is = speed.map_or(state.to_string(), |speed| format!("{state}, {speed} Mbit/s"));
            Finding::new(&id, is, "up", &path)
                .why("blocks are pushed to all peers at the line rate")
                .cost(if state == "down" { "no datagram leaves" } else { "none" })
                .worse(state == "down", Severity::Warn, format!("ip link set {} up", self.interface))
        })
    }

    fn master(&self) -> Finding {
        let path = self.path("master");
        let master = self.view.host.exists(&path).then(|| self.view.host.locate(&path).ok()).flatten();
        let name = master.as_ref().and_then(|place| place.file_name()?.to_str());
        Finding::new(self.id("nic-master"), name.unwrap_or("none"), "none", &path)
            .why("a program on a member of a bond or bridge sees frames before their master does")
            .cost(if name.is_some() {
                "attach to every member, or to the master in generic mode; both are slower to set up"
            } else {
                "none"
            })
            .judged(if name.is_some() { Severity::Info } else { Severity::Ok })
    }

    fn mtu(&self) -> Finding {
        let (id, path, should) = (self.id("mtu"), self.path("mtu"), "1400 to 3700 (up to 1700 with frames of 2048 bytes)");
        self.view.file(&id, &path, should, |text| {
            let Ok(mtu) = text.parse::<u64>() else {
                return Finding::unread(
                    &id,
                    should,
                    &path,
                    &HostError::Malformed { what: path.clone(), text: text.into(), expected: "bytes" },
                );
            };
            let fix = format!("ip link set {} mtu 1500", self.interface);
            Finding::new(&id, mtu, should, &path)
                .why("shreds fill IP packets of 1400 bytes; a native XDP program takes frames that fit one page")
                .cost(match mtu {
                    0..MTU_LEAST => "full datagrams are fragmented or refused",
                    MTU_LEAST..=MTU_MOST => "none",
                    _ => "most drivers refuse the native mode of AF_XDP; the generic one is slower",
                })
                .worse(!(MTU_LEAST..=MTU_MOST).contains(&mtu), Severity::Warn, fix)
        })
    }

    fn queues(&self) -> Finding {
        let (id, path) = (self.id("queues"), self.path("queues"));
        let should = match self.view.hot.count() {
            0 => "one per reactor".to_string(),
            count => format!("{count}: one per reactor"),
        };
        let names = match self.view.host.list(&path) {
            Ok(names) => names,
            Err(error) => return Finding::unread(id, should, path, &error),
        };
        let count = |kind: &str| names.iter().filter(|name| name.starts_with(kind)).count();
        let (receive, send) = (count("rx-"), count("tx-"));
        let few = receive < self.view.hot.count();
        Finding::new(id, format!("{receive} receive, {send} send"), should, path)
            .why("a queue is served by one reactor; frames of a queue never change cores")
            .cost(if few { "reactors without a queue get their frames over a ring from another core" } else { "none" })
            .worse(few, Severity::Warn, format!("ethtool -L {} combined {}", self.interface, self.view.hot.count()))
    }

    fn xdp(&self) -> Finding {
        let (id, should) = (self.id("xdp-features"), "basic, redirect, xsk-zerocopy");
        let source = format!("netlink: netdev dev-get {}", self.interface);
        let features = match self.view.host.ethtool().xdp_features(self.interface) {
            Ok(features) => features,
            Err(HostError::Absent(_)) => return self.xdp_by_driver(id, should),
            Err(error) => return Finding::unread(id, should, source, &error),
        };
        let has = |name: &str| features.iter().any(|feature| feature == name);
        let native = is_native(&features);
        let is = if features.is_empty() { "none".into() } else { features.join(", ") };
        Finding::new(id, is, should, source)
            .why("native mode hands frames over in the driver, zero copy without touching them")
            .cost(match (native, has("xsk-zerocopy")) {
                (true, true) => "none",
                (true, false) => "one copy per frame",
                _ => "AF_XDP only in generic mode: behind the driver, one copy and one buffer per frame",
            })
            .judged(if native { Severity::Ok } else { Severity::Warn })
            .worse(native && !has("xsk-zerocopy"), Severity::Info, "")
            .worse(!native, Severity::Warn, OTHER_CARD)
    }

    /// Kernels before 6.3 do not tell; the driver's name still says something.
    fn xdp_by_driver(&self, id: String, should: &str) -> Finding {
        let name = self.driver_name();
        let known = name.as_deref().is_some_and(|name| NATIVE.contains(&name));
        let is = match (&name, known) {
            (Some(name), true) => format!("not visible; {name} is known for native mode"),
            (Some(name), false) => format!("not visible; {name} is not known for native mode"),
            (None, _) => "not visible".to_string(),
        };
        Finding::new(id, is, should, self.path("device/driver"))
            .why("native mode hands frames over in the driver, zero copy without touching them")
            .judged(Severity::Info)
    }

    fn busy_poll(&self) -> Finding {
        let (id, path) = (self.id("busy-poll"), self.path("napi_defer_hard_irqs"));
        let should = "deferred interrupts 100, flush 200000 ns (200 us)";
        self.view.file(&id, &path, should, |deferred| {
            let flush = self.view.host.read(&self.path("gro_flush_timeout")).unwrap_or_else(|_| "not visible".into());
            let global =
                self.view.host.read("/proc/sys/net/core/busy_poll").map_or(String::new(), |us| format!(", net.core.busy_poll {us}"));
            let off = deferred == "0" || flush == "0";
            let fix =
                format!("echo 100 > {path}; echo 200000 > {}   (only where a reactor polls all the time)", self.path("gro_flush_timeout"));
            Finding::new(&id, format!("deferred interrupts {deferred}, flush {flush} ns{global}"), should, &path)
                .why("a reactor that polls drives the queue itself; interrupts only get in its way")
                .cost(if off { "an interrupt and softirq per batch of frames" } else { "none" })
                .worse(off, Severity::Info, fix)
        })
    }
}
