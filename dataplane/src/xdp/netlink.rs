//! The routing tables of the kernel, followed by a thread.
//!
//! One socket hears what changes, one asks for everything. A change starts a full reading after a short quiet time, at most one per [`QUIET`]: reading is the
//! simple way to be right, and a host that runs a validator has few routes. Readings that equal the last are not published, so a busy neighbour table costs
//! the ports nothing.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::thread::CapabilitySet;

use super::XdpError;
use super::route::{Address, Link, Mac, Neighbour, Route, Tables, Tag, Via};
use crate::sys::socket::Sleeper;

/// Between a change and the reading that follows it.
const QUIET: Duration = Duration::from_millis(5);
/// A reading takes at most this share of the thread's time, whoever makes neighbours change how often.
const PAUSES: u32 = 9;
/// After a failed reading.
const RETRY: Duration = Duration::from_millis(100);
const MESSAGE_BYTES: usize = 64 << 10;
/// Routes and neighbours kept; a host with more of either sends everything through the kernel, since what is missing might be the better way.
const ENTRIES_MAX: usize = 65_536;

const TABLE_MAIN: u32 = 254;
const TABLE_LOCAL: u32 = 255;
const TABLE_DEFAULT: u32 = 253;
/// Groups of links, neighbours, addresses, routes and rules of both families: bit n - 1 for RTNLGRP n.
const GROUPS: u32 = 0x1 | 0x4 | 0x10 | 0x40 | 0x100 | 0x400 | 0x80 | 0x4_0000;

struct Shared {
    generation: AtomicU64,
    tables: Mutex<Arc<Tables>>,
    failures: AtomicU64,
}

/// Follows the tables until it is dropped.
pub(crate) struct Monitor {
    shared: Arc<Shared>,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Reads the tables of this thread's network namespace and starts to follow them.
    pub(crate) fn start() -> Result<Monitor, XdpError> {
        let failed = |step| move |source| XdpError::Netlink { step, source };
        let events = open(GROUPS).map_err(failed("subscribe"))?;
        events.set_non_blocking(true).map_err(failed("set_non_blocking"))?;
        let queries = open(0).map_err(failed("open"))?;
        let tables = read_all(&queries).map_err(failed("read the tables"))?;
        let (stop, stopped) = UnixStream::pair().map_err(failed("socketpair"))?;
        let shared = Arc::new(Shared { generation: AtomicU64::new(1), tables: Mutex::new(Arc::new(tables)), failures: AtomicU64::new(0) });
        let theirs = Arc::clone(&shared);
        let follow = move || follow(&theirs, &events, &queries, &stopped);
        let thread = std::thread::Builder::new().name("samara-routes".into()).spawn(follow).map_err(failed("spawn"))?;
        Ok(Monitor { shared, stop: Some(stop), thread: Some(thread) })
    }

    /// A view for one port.
    pub(crate) fn reader(&self) -> Reader {
        let mut reader = Reader { shared: Arc::clone(&self.shared), generation: 0, tables: Arc::default() };
        reader.refresh();
        reader
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.stop = None; // the thread sees the other end close
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The tables as one port sees them.
pub(crate) struct Reader {
    shared: Arc<Shared>,
    generation: u64,
    tables: Arc<Tables>,
}

impl Reader {
    /// Takes up newer tables and tells whether there were any: one load when there are none.
    pub(crate) fn refresh(&mut self) -> bool {
        let newest = self.shared.generation.load(Ordering::Acquire);
        if newest != self.generation {
            self.tables = Arc::clone(&self.shared.tables.lock().unwrap_or_else(PoisonError::into_inner));
            self.generation = newest;
            return true;
        }
        false
    }

    /// Grows with every change.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The tables.
    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Readings that failed.
    pub(crate) fn failures(&self) -> u64 {
        self.shared.failures.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
impl Reader {
    /// A view of tables that no kernel has.
    pub(crate) fn of(tables: Tables) -> Reader {
        let shared = Shared { generation: AtomicU64::new(1), tables: Mutex::new(Arc::new(tables)), failures: AtomicU64::new(0) };
        let mut reader = Reader { shared: Arc::new(shared), generation: 0, tables: Arc::default() };
        reader.refresh();
        reader
    }

    /// Publishes others, as the thread does, and takes them up.
    pub(crate) fn change(&mut self, tables: Tables) {
        publish(&self.shared, tables);
        self.refresh();
    }
}

fn follow(shared: &Shared, events: &Socket, queries: &Socket, stopped: &UnixStream) {
    // Reading the tables needs no privilege. Where they cannot be given up, there were none.
    let _ = crate::privilege::drop_all_but(CapabilitySet::empty());
    let mut sleeper = Sleeper::default();
    let (mut again, mut took) = (None, Duration::ZERO);
    loop {
        sleeper.sleep(&[(events.as_raw_fd(), libc::POLLIN), (stopped.as_raw_fd(), libc::POLLIN)], &[], again);
        if is_closed(stopped) {
            return;
        }
        if !drain(events) && again.is_none() {
            continue;
        }
        sleeper.sleep(&[(stopped.as_raw_fd(), libc::POLLIN)], &[], Some(QUIET.max(took * PAUSES)));
        drain(events);
        let began = Instant::now();
        again = match read_all(queries) {
            Ok(tables) => {
                publish(shared, tables);
                None
            }
            Err(_) => {
                shared.failures.fetch_add(1, Ordering::Relaxed);
                Some(RETRY)
            }
        };
        took = began.elapsed();
    }
}

fn publish(shared: &Shared, tables: Tables) {
    let mut current = shared.tables.lock().unwrap_or_else(PoisonError::into_inner);
    if **current != tables {
        *current = Arc::new(tables);
        shared.generation.fetch_add(1, Ordering::Release);
    }
}

fn is_closed(stopped: &UnixStream) -> bool {
    stopped.set_nonblocking(true).is_err() || matches!(io::Read::read(&mut &*stopped, &mut [0]), Ok(0))
}

/// Throws away what was heard; true when there was something, an overrun included.
fn drain(events: &Socket) -> bool {
    let mut heard = false;
    let mut buffer = Vec::with_capacity(MESSAGE_BYTES);
    loop {
        buffer.clear();
        match events.recv(&mut buffer, 0) {
            Ok(_) => heard = true,
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => heard = true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return heard,
        }
    }
}

/// An interface that has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub name: String,
    pub is_veth: bool,
    /// Name of the interface below a VLAN.
    pub below: Option<String>,
    /// Names of the members of a bond or a bridge.
    pub members: Vec<String>,
}

/// Who has `ip` in this thread's network namespace; mostly one, seldom several.
pub(crate) fn holders(ip: IpAddr) -> io::Result<Vec<Holder>> {
    let socket = open(0)?;
    let mut indices = Vec::new();
    dump(&socket, RouteNetlinkMessage::GetAddress(AddressMessage::default()), |message| {
        if let RouteNetlinkMessage::NewAddress(message) = message {
            indices.extend(read_address(&message).filter(|address| address.ip == ip).map(|address| address.interface));
        }
    })?;
    let mut links = Vec::new();
    dump(&socket, RouteNetlinkMessage::GetLink(LinkMessage::default()), |message| {
        if let RouteNetlinkMessage::NewLink(message) = message {
            links.push(message);
        }
    })?;
    let find = |index| links.iter().find(|link| link.header.index == index);
    let holder = |index| {
        let link = find(index)?;
        let below = read_link(link).and_then(|link| link.over).and_then(|(parent, _)| name_of(find(parent)?));
        let members = links.iter().filter(|link| controller_of(link) == Some(index)).filter_map(name_of).collect();
        Some(Holder { name: name_of(link)?, is_veth: is_veth(link), below, members })
    };
    Ok(indices.into_iter().filter_map(holder).collect())
}

fn name_of(message: &LinkMessage) -> Option<String> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

fn controller_of(message: &LinkMessage) -> Option<u32> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(index) => Some(*index),
        _ => None,
    })
}

fn is_veth(message: &LinkMessage) -> bool {
    message.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.contains(&LinkInfo::Kind(InfoKind::Veth)),
        _ => false,
    })
}

fn open(groups: u32) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, groups))?;
    Ok(socket)
}

fn read_all(socket: &Socket) -> io::Result<Tables> {
    let mut tables = Tables::default();
    let requests = [
        RouteNetlinkMessage::GetLink(LinkMessage::default()),
        RouteNetlinkMessage::GetAddress(AddressMessage::default()),
        RouteNetlinkMessage::GetRoute(RouteMessage::default()),
        RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()),
        RouteNetlinkMessage::GetRule(RuleMessage::default()),
    ];
    for request in requests {
        dump(socket, request, |message| match message {
            RouteNetlinkMessage::NewLink(message) => tables.links.extend(read_link(&message)),
            RouteNetlinkMessage::NewAddress(message) => tables.addresses.extend(read_address(&message)),
            RouteNetlinkMessage::NewRoute(message) => push(&mut tables.routes, read_route(&message), &mut tables.undecided),
            RouteNetlinkMessage::NewNeighbour(message) => push(&mut tables.neighbours, read_neighbour(&message), &mut tables.undecided),
            RouteNetlinkMessage::NewRule(message) => tables.undecided |= !is_usual(&message),
            _ => {}
        })?;
    }
    tables.sort();
    Ok(tables)
}

fn push<T>(entries: &mut Vec<T>, entry: Option<T>, undecided: &mut bool) {
    match entry {
        Some(_) if entries.len() >= ENTRIES_MAX => *undecided = true,
        entry => entries.extend(entry),
    }
}

/// One of the kernel's own rules: every packet, to the table local, main or default.
fn is_usual(rule: &RuleMessage) -> bool {
    let mut table = u32::from(rule.header.table);
    let selects = rule.attributes.iter().any(|attribute| match attribute {
        RuleAttribute::Table(number) => {
            table = *number;
            false
        }
        RuleAttribute::Priority(_) | RuleAttribute::Protocol(_) => false,
        // SUPPRESS_PREFIXLEN is told with every rule; all ones mean none.
        RuleAttribute::SuppressPrefixLen(length) => *length != u32::MAX,
        _ => true,
    });
    let header = &rule.header;
    let everything = header.src_len == 0 && header.dst_len == 0 && header.tos == 0;
    !selects && everything && header.action == RuleAction::ToTable && [TABLE_LOCAL, TABLE_MAIN, TABLE_DEFAULT].contains(&table)
}

fn dump(socket: &Socket, request: RouteNetlinkMessage, mut sink: impl FnMut(RouteNetlinkMessage)) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_DUMP | NLM_F_REQUEST;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut buffer = Vec::with_capacity(MESSAGE_BYTES);
    loop {
        buffer.clear();
        socket.recv(&mut buffer, 0)?;
        let mut rest = &buffer[..];
        while rest.len() >= 16 {
            // The length first: a message that cannot be read is skipped, not the rest behind it.
            let length = u32::from_ne_bytes(rest[..4].try_into().expect("4 bytes")) as usize;
            let Some(one) = rest.get(..length).filter(|one| one.len() >= 16) else { return Err(io::ErrorKind::InvalidData.into()) };
            match NetlinkMessage::<RouteNetlinkMessage>::deserialize(one).map(|message| message.payload) {
                Ok(NetlinkPayload::Done(_)) => return Ok(()),
                Ok(NetlinkPayload::Error(error)) => return Err(error.to_io()),
                Ok(NetlinkPayload::InnerMessage(message)) => sink(message),
                _ => {}
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn read_link(message: &LinkMessage) -> Option<Link> {
    let up = message.header.flags.contains(LinkFlags::Up);
    let carrier = message.header.flags.contains(LinkFlags::LowerUp);
    let mut link = Link { index: message.header.index, up, carrier, mtu: 0, mac: [0; 6], over: None };
    let (mut parent, mut tag) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(mac) => link.mac = Mac::try_from(&mac[..]).unwrap_or_default(),
            LinkAttribute::Link(index) => parent = Some(*index),
            LinkAttribute::LinkInfo(infos) => tag = infos.iter().find_map(read_tag),
            _ => {}
        }
    }
    link.over = parent.zip(tag);
    Some(link)
}

fn read_tag(info: &LinkInfo) -> Option<Tag> {
    let LinkInfo::Data(InfoData::Vlan(parts)) = info else { return None };
    let mut tag = Tag { protocol: 0x8100, id: 0 };
    for part in parts {
        match part {
            InfoVlan::Id(id) => tag.id = *id,
            InfoVlan::Protocol(protocol) => tag.protocol = u16::from(*protocol),
            _ => {}
        }
    }
    Some(tag)
}

fn read_address(message: &AddressMessage) -> Option<Address> {
    let find = |pick: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(pick);
    // On a point-to-point link IFA_ADDRESS is the peer's.
    let local = find(|attribute| if let AddressAttribute::Local(ip) = attribute { Some(*ip) } else { None });
    let plain = find(|attribute| if let AddressAttribute::Address(ip) = attribute { Some(*ip) } else { None });
    Some(Address { interface: message.header.index, ip: local.or(plain)?, prefix: message.header.prefix_len })
}

fn read_route(message: &RouteMessage) -> Option<Route> {
    let mut table = u32::from(message.header.table);
    let (mut to, mut metric, mut index, mut gateway, mut source, mut mtu, mut special) = (None, 0, None, None, None, None, false);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(address) => to = ip_of(address),
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Oif(number) => index = Some(*number),
            RouteAttribute::Gateway(address) => gateway = ip_of(address),
            RouteAttribute::PrefSource(address) => source = ip_of(address),
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| if let RouteMetric::Mtu(bytes) = metric { Some(*bytes) } else { None });
            }
            RouteAttribute::MultiPath(_) | RouteAttribute::Encap(_) | RouteAttribute::EncapType(_) | RouteAttribute::Via(_) => {
                special = true;
            }
            _ => {}
        }
    }
    if table != TABLE_MAIN && table != TABLE_LOCAL {
        return None;
    }
    let nowhere: IpAddr = match message.header.address_family {
        netlink_packet_route::AddressFamily::Inet => std::net::Ipv4Addr::UNSPECIFIED.into(),
        netlink_packet_route::AddressFamily::Inet6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let via = match (message.header.kind, index) {
        (RouteType::Local, _) => Via::Local,
        (RouteType::Unicast, Some(index)) if !special => Via::Interface { index, gateway, source, mtu },
        _ => Via::Kernel,
    };
    let prefix = message.header.destination_prefix_length;
    Some(Route { to: to.unwrap_or(nowhere), prefix, local_table: table == TABLE_LOCAL, metric, via })
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

fn read_neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    let stale = match message.header.state {
        NeighbourState::Reachable | NeighbourState::Permanent | NeighbourState::Noarp | NeighbourState::Delay | NeighbourState::Probe => {
            false
        }
        NeighbourState::Stale => true,
        _ => return None,
    };
    let (mut ip, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => ip = Some((*address).into()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => ip = Some((*address).into()),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = Mac::try_from(&bytes[..]).ok(),
            _ => {}
        }
    }
    Some(Neighbour { interface: message.header.ifindex, ip: ip?, mac: mac?, stale })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_into_the_tables_is_said() {
        let (mut entries, mut undecided) = (Vec::new(), false);
        (0..ENTRIES_MAX).for_each(|at| push(&mut entries, Some(at), &mut undecided));
        push(&mut entries, None, &mut undecided);
        assert_eq!((entries.len(), undecided), (ENTRIES_MAX, false));
        push(&mut entries, Some(7), &mut undecided);
        assert_eq!((entries.len(), undecided), (ENTRIES_MAX, true));
    }
}
