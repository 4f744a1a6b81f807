//! Which port to open: zero copy, native copy and skb AF_XDP, then io_uring, then recvmmsg; by trying, not by tables of drivers.
//!
//! ```text
//!   auto:  consent? -> xdp-zerocopy -> xdp-native -> xdp-skb -> uring -> udp        each step down is remembered with its reason
//!   xdp:               xdp-zerocopy -> xdp-native -> xdp-skb -> error               mode set: only that one of the three
//!   uring, udp: that one or an error
//! ```
//! Consent: attaching a program makes some drivers reset their link for seconds, and drivers have crashed hosts with it. So `auto` takes AF_XDP only on an
//! interface that the operator named, or when the address to listen on lies on a veth, which has no hardware to upset. Who asks for `xdp` has consented: the
//! interface is the one with the address. Zero copy and native share one attachment, so a driver that has no zero copy resets its link once.

use std::net::{IpAddr, SocketAddr};

use super::xdp::XdpPort;
use super::{Port, PortConfig, PortError, Transport, udp, uring};
use crate::privilege;
use crate::xdp::netlink::{self, Holder};
use crate::xdp::{BusyPoll, XdpConfig, XdpError, XdpMode};

/// Longest reason in the line: a verifier log is longer than any.
const REASON_CHARS_MAX: usize = 300;

/// What to open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Which rungs may be taken.
    pub transport: Transport,
    /// Frames and kernel sockets.
    pub port: PortConfig,
    /// AF_XDP, if it is taken.
    pub xdp: XdpWish,
}

/// How to take AF_XDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XdpWish {
    /// The interface; the one that has the listen address if None.
    pub interface: Option<String>,
    /// Its queue.
    pub queue: u32,
    /// Only this mode; the best that works if None.
    pub mode: Option<XdpMode>,
    /// 2,048 or 4,096: see [`XdpConfig::chunk_bytes`].
    pub chunk_bytes: usize,
    /// Preferred busy polling.
    pub busy_poll: Option<BusyPoll>,
}

impl Default for XdpWish {
    fn default() -> Self {
        XdpWish { interface: None, queue: 0, mode: None, chunk_bytes: 2048, busy_poll: None }
    }
}

/// A port, and what an operator should know of it.
pub struct Opened {
    /// The port.
    pub port: Box<dyn Port>,
    /// One line: which rung, why, and what refused each better one.
    pub why: String,
    /// What is not as the wish has it, though it works: an interface was named and AF_XDP is not on it, or the address lies on another.
    pub doubt: Option<String>,
}

/// Opens the best port of the wish on `address`.
pub fn open(wish: &Wish, address: SocketAddr) -> Result<Opened, PortError> {
    wish.port.check()?;
    let mut refused = Vec::new();
    if matches!(wish.transport, Transport::Auto | Transport::Xdp)
        && let Some((port, what)) = try_xdp(wish, address, &mut refused)?
    {
        let doubt = wish.xdp.interface.as_deref().and_then(|name| elsewhere(name, address.ip()));
        return Ok(finish(wish, Box::new(port), &what, &refused, doubt));
    }
    let doubt = wish
        .xdp
        .interface
        .as_deref()
        .filter(|_| wish.transport == Transport::Auto)
        .map(|name| format!("network.xdp.interface = {name:?}, and datagrams do not go by AF_XDP: {}", refused.join("; ")));
    if wish.transport != Transport::Udp {
        match uring::UringPort::bind(address, &wish.port) {
            Ok(port) => {
                let what = format!("uring (multishot recvmsg, {})", port.mode());
                return Ok(finish(wish, Box::new(port), &what, &refused, doubt));
            }
            Err(error @ PortError::Ring { .. }) if wish.transport == Transport::Auto => refused.push(format!("uring: {}", brief(&error))),
            Err(error) => return Err(error),
        }
    }
    let port = udp::UdpPort::bind(address, &wish.port)?;
    Ok(finish(wish, Box::new(port), "udp (recvmmsg, sendmmsg)", &refused, doubt))
}

/// AF_XDP, or None with the reasons noted. An error when nothing else may be taken, or when nothing else would help.
fn try_xdp(wish: &Wish, address: SocketAddr, refused: &mut Vec<String>) -> Result<Option<(XdpPort, String)>, PortError> {
    let forced = wish.transport == Transport::Xdp;
    let interface = match interface(wish, address.ip()) {
        Ok(interface) => interface,
        Err(why) if forced => return Err(XdpError::NotTried(why).into()),
        Err(why) => {
            refused.push(format!("AF_XDP was not tried: {why}"));
            return Ok(None);
        }
    };
    let modes = wish.xdp.mode.map_or(XdpMode::LADDER.to_vec(), |mode| vec![mode]);
    let config = XdpConfig {
        interface,
        queue: wish.xdp.queue,
        mode: modes[0],
        port: wish.port.clone(),
        chunk_bytes: wish.xdp.chunk_bytes,
        busy_poll: wish.xdp.busy_poll,
    };
    let (port, refusals) = XdpPort::bind_first(address, &config, &modes)?;
    refused.extend(refusals.iter().map(|(mode, error)| format!("{mode}: {}", brief(error))));
    if forced && port.is_none() {
        return Err(XdpError::NoMode(refused.join("; ")).into());
    }
    Ok(port.map(|port| {
        let what = port.describe();
        (port, what)
    }))
}

/// The interface to use, or why there is none.
fn interface(wish: &Wish, ip: IpAddr) -> Result<String, String> {
    let missing = privilege::missing_for_xdp();
    if !missing.is_empty() {
        return Err(format!("this process has no {}", missing.join(", ")));
    }
    if let Some(interface) = &wish.xdp.interface {
        return Ok(interface.clone());
    }
    if ip.is_unspecified() {
        return Err(format!("network.xdp.interface is not set, and {ip} is on no interface"));
    }
    let holder =
        netlink::holders(ip).map_err(|error| format!("network.xdp.interface is not set, and netlink tells no interface: {error}"))?;
    match holder.into_iter().next() {
        None => Err(format!("network.xdp.interface is not set, and no interface has {ip}")),
        Some(Holder { name, .. }) if ip.is_loopback() => Err(format!("{name} is loopback, which AF_XDP does not speed up")),
        Some(Holder { name, is_veth, .. }) if is_veth || wish.transport == Transport::Xdp => Ok(name),
        Some(Holder { name, .. }) => Err(format!("network.xdp.interface is not set, and attaching to {name} could reset its link")),
    }
}

/// What of the datagrams from and to `ip` does not pass through the interface of that name. An address of loopback tells nothing: routers lead it anywhere.
fn elsewhere(name: &str, ip: IpAddr) -> Option<String> {
    doubt(&netlink::holders(ip).unwrap_or_default(), name)
        .map(|what| format!("network.xdp.interface = {name:?}, and {ip} is an address of {what}"))
}

/// See [`elsewhere`]: nothing if the address is on the interface of that name or on a VLAN over it.
fn doubt(holders: &[Holder], name: &str) -> Option<String> {
    let here = |holder: &Holder| holder.name == name || holder.below.as_deref() == Some(name) || holder.name == "lo";
    let other = holders.first().filter(|_| !holders.iter().any(here))?;
    let tell = "samara_xdp_received_total and samara_xdp_detours_total tell how many";
    Some(match other.members.iter().any(|member| member == name) {
        true => format!("{}, of which it is a member: what is sent goes through the kernel", other.name),
        false => format!("{}: what passes there goes through the kernel ({tell})", other.name),
    })
}

/// With the line for the log.
fn finish(wish: &Wish, port: Box<dyn Port>, what: &str, refused: &[String], doubt: Option<String>) -> Opened {
    let why = if wish.transport == Transport::Auto { "the best rung that works" } else { "as told" };
    let mut line = format!("{what}: {why}");
    refused.iter().for_each(|reason| line.push_str(&format!("; {reason}")));
    // The kernel reports twice what it granted.
    let granted = port.stats().receive_buffer_bytes / 2;
    if granted < wish.port.socket_buffer_bytes {
        let wanted = wish.port.socket_buffer_bytes;
        line.push_str(&format!("; the receive buffer has {granted} of {wanted} B: raise net.core.rmem_max or give CAP_NET_ADMIN"));
    }
    Opened { port, why: line, doubt }
}

/// An error as part of a line.
fn brief(error: &PortError) -> String {
    let text = error.to_string();
    let joined = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    joined.trim_start_matches("AF_XDP: ").chars().take(REASON_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::tests::in_namespace;

    fn wish(transport: Transport, interface: Option<&str>) -> Wish {
        let xdp = XdpWish { interface: interface.map(String::from), ..XdpWish::default() };
        Wish { transport, port: PortConfig::tiny(), xdp }
    }

    fn at(address: &str) -> SocketAddr {
        address.parse().expect("an address")
    }

    #[test]
    fn loopback_is_not_taken_unless_it_is_named() {
        let Opened { port, why: line, .. } = open(&wish(Transport::Auto, None), at("127.0.0.1:0")).expect("some rung works");
        assert!(!port.rung().starts_with("xdp") && line.contains("; AF_XDP was not tried: "), "{line}");
        let refused = open(&wish(Transport::Xdp, None), at("127.0.0.1:0")).err().expect("a forced rung is never replaced").to_string();
        assert!(refused.starts_with("AF_XDP: "), "{refused}");
    }

    #[test]
    fn auto_attaches_to_hardware_only_when_it_is_named_and_goes_down_one_rung_at_a_time() {
        // A bridge stands for a card: it is no veth, and it has no XDP of its own.
        let commands = ["link add card0 type bridge", "addr add 10.80.0.1/24 dev card0", "link set card0 up"];
        in_namespace("ladder", &commands, || {
            let Opened { port, why: line, .. } = open(&wish(Transport::Auto, None), at("10.80.0.1:0")).expect("some rung works");
            assert!(!port.rung().starts_with("xdp") && line.contains("attaching to card0 could reset its link"), "{line}");
            let Opened { port, why: line, .. } = open(&wish(Transport::Auto, None), at("0.0.0.0:0")).expect("some rung works");
            assert!(!port.rung().starts_with("xdp") && line.contains("0.0.0.0 is on no interface"), "{line}");
            for wish in [wish(Transport::Auto, Some("card0")), wish(Transport::Xdp, None)] {
                let Opened { port, why: line, .. } = open(&wish, at("10.80.0.1:0")).expect("skb works on every interface");
                assert_eq!(port.rung(), "xdp-skb", "{line}");
                assert!(line.contains("; xdp-zerocopy: ") && line.contains("; xdp-native: ") && line.lines().count() == 1, "{line}");
            }
            let mut native = wish(Transport::Xdp, Some("card0"));
            native.xdp.mode = Some(XdpMode::Native);
            let refused = open(&native, at("10.80.0.1:0")).err().expect("no other mode was allowed").to_string();
            assert!(refused.contains("xdp-native: ") && !refused.contains("xdp-skb: "), "{refused}");
        });
    }

    #[test]
    fn a_foreign_program_is_a_step_down() {
        let commands = ["link add v0 type veth peer name v1", "addr add 10.80.0.1/24 dev v0", "link set v0 up", "link set v1 up"];
        in_namespace("foreign", &commands, || {
            let Opened { port: first, why: line, .. } =
                open(&wish(Transport::Auto, None), at("10.80.0.1:0")).expect("a veth needs no consent");
            assert_eq!(first.rung(), "xdp-native", "{line}");
            let Opened { port: second, why: line, .. } = open(&wish(Transport::Auto, None), at("10.80.0.1:0")).expect("some rung works");
            assert!(!second.rung().starts_with("xdp") && line.contains("program is attached"), "{line}");
        });
    }

    #[test]
    fn an_address_on_the_interface_on_a_vlan_over_it_or_on_loopback_is_no_doubt() {
        let holder = |name: &str, below: Option<&str>| Holder {
            name: name.into(),
            is_veth: false,
            below: below.map(String::from),
            members: Vec::new(),
        };
        let named = |holders: &[Holder]| doubt(holders, "eth0").and_then(|what| what.split([',', ':']).next().map(String::from));
        for alike in [holder("eth0", None), holder("eth0.7", Some("eth0")), holder("lo", None)] {
            assert_eq!(named(&[holder("eth1", None), alike]), None);
        }
        assert_eq!(named(&[holder("eth1.7", Some("eth1")), holder("bond0", None)]), Some("eth1.7".into()));
        let bond = Holder { members: vec!["eth1".into(), "eth0".into()], ..holder("bond0", None) };
        assert!(doubt(&[bond], "eth0").is_some_and(|what| what == "bond0, of which it is a member: what is sent goes through the kernel"));
        assert_eq!(named(&[]), None, "the socket could not have been bound, or the kernel does not tell");
    }

    #[test]
    fn a_named_interface_that_is_not_used_is_no_secret() {
        let commands = [
            "link add v0 type veth peer name v1",
            "addr add 10.80.0.1/24 dev v0",
            "addr add 10.82.0.1/32 dev lo",
            "link set lo up",
            "link set v0 up",
            "link set v1 up",
        ];
        in_namespace("doubt", &commands, || {
            let doubt = |transport, interface: &str, address| {
                let opened = open(&wish(transport, Some(interface)), at(address)).expect("some rung works");
                (opened.port.rung(), opened.doubt.unwrap_or_default())
            };
            for address in ["10.80.0.1:0", "10.82.0.1:0", "0.0.0.0:0"] {
                assert_eq!(doubt(Transport::Auto, "v0", address), ("xdp-native", String::new()), "{address}");
            }
            for transport in [Transport::Auto, Transport::Xdp] {
                let (rung, why) = doubt(transport, "v1", "10.80.0.1:0");
                assert!(rung == "xdp-native" && why.contains("10.80.0.1 is an address of v0: "), "{why}");
            }
            let (rung, why) = doubt(Transport::Auto, "v9", "10.80.0.1:0");
            assert!(
                !rung.starts_with("xdp") && why.contains("\"v9\", and datagrams do not go by AF_XDP: ") && why.contains("does not exist"),
                "{why}"
            );
            assert_eq!(doubt(Transport::Udp, "v9", "10.80.0.1:0"), ("udp", String::new()), "as told");
            let mut queue = wish(Transport::Auto, Some("v0"));
            queue.xdp.queue = 200;
            let opened = open(&queue, at("10.80.0.1:0")).expect("some rung works");
            assert!(opened.doubt.as_ref().is_some_and(|why| why.contains("no such queue")), "{:?}", opened.doubt);
        });
    }
}
