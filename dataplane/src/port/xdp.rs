//! The top rung: AF_XDP on one queue of an interface.
//!
//! ```text
//!   rx_burst: RX ring -> frame handed out as it lies (payload where the driver put it)      fill ring <- released frames
//!             kernel socket, looked at every 100 us and by wait                              (what the filter passes: loopback, fragments)
//!   tx:       destination -> template -> headers written in front of the payload -> TX ring (one store per frame, published by flush)
//!                         -> detour -> kernel socket                                         (neighbour unknown, other interface, ...)
//!   flush:    publish, one system call while the kernel wants it, completions -> free frames
//! ```
//! A frame is in exactly one place: free, held by the caller, queued, or lent to the kernel (`xdp::umem`). The rings have a slot for every frame, so no ring
//! can be full.
//!
//! A link that is down or gone is not an error of the port: its datagrams are dropped and counted until a wake-up call succeeds again.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::queue::SendQueue;
use super::settle::Cause;
use super::udp::UdpPort;
use super::{BURST_MAX, Conservation, Port, PortConfig, PortError, PortStats, Wake};
use crate::frame::Frame;
use crate::pool::Pool;
use crate::sys::memory::{Pages, Region};
use crate::sys::message::{ReceiveBatch, Received, SendBatch};
use crate::sys::socket::{Sleeper, Slept, UdpSocket};
use crate::sys::xsk::{RingSizes, Xsk};
use crate::xdp::attach::Attachment;
use crate::xdp::header::HEADROOM_BYTES;
use crate::xdp::hops::{HopCache, Way};
use crate::xdp::netlink::{Monitor, Reader};
use crate::xdp::route::{Detour, LinkState};
use crate::xdp::umem::{Lease, Umem};
use crate::xdp::{BusyPoll, XdpConfig, XdpError, XdpMode};

/// A socket that was closed gives its queue back asynchronously: binding again is tried for this long.
const BIND_PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks at the kernel socket of a busy port: a look is a system call of 0.3 us, a tenth of a round trip.
const LOOK_EVERY: Duration = Duration::from_micros(100);
/// Bursts between two readings of the clock.
const CLOCK_EVERY: u32 = 16;
/// Sleep while the kernel could not take everything.
const DEFERRED_SLEEP: Duration = Duration::from_millis(1);
/// Wake-up calls of one flush: what is left then waits for the next.
const KICKS_MAX: usize = 256;
/// Datagrams asked of one wake-up call where the kernel lets one ask (6.18).
const KICK_BUDGET: u32 = 256;

/// What AF_XDP counts beside [`PortStats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpStats {
    /// The interface, as the routing tables know it.
    pub link: LinkState,
    /// Datagrams received through the ring.
    pub rx_ring: u64,
    /// Datagrams received through the kernel socket.
    pub rx_kernel: u64,
    /// Dropped by the kernel: no free frame, or longer than one.
    pub rx_drop_no_frame: u64,
    /// Dropped by the kernel: the RX ring was full.
    pub rx_drop_ring_full: u64,
    /// Descriptors of the kernel that named nothing of ours or reached out of their frame.
    pub descriptors_bad: u64,
    /// Ring indices of the kernel that made no sense.
    pub indices_bad: u64,
    /// Descriptors of ours that the kernel refused.
    pub descriptors_refused: u64,
    /// Datagrams that went through the kernel socket, by reason ([`Detour::ALL`]).
    pub tx_detour: [u64; Detour::ALL.len()],
    /// Dropped here: from a source that no packet from a network can have (RFC 1812, 5.3.7), or from an address of this host.
    pub rx_drop_forged: u64,
    /// Dropped by the device: no carrier, or its queue was full.
    pub tx_drop_device: u64,
    /// Wake-up calls that found the link down or gone.
    pub link_errors: u64,
    /// Wake-up calls.
    pub kicks: u64,
    /// Templates made: a new destination or changed tables.
    pub templates: u64,
    /// Readings of the routing tables that failed.
    pub netlink_failures: u64,
}

impl XdpStats {
    /// Takes in what another port on the same interface counts.
    pub(crate) fn add(&mut self, other: &XdpStats) {
        let XdpStats { link: _, rx_ring, rx_kernel, rx_drop_no_frame, rx_drop_ring_full, rx_drop_forged, .. } = other;
        let XdpStats { descriptors_bad, indices_bad, descriptors_refused, tx_detour, tx_drop_device, .. } = other;
        let XdpStats { link_errors, kicks, templates, netlink_failures, .. } = other;
        for (to, from) in [
            (&mut self.rx_ring, rx_ring),
            (&mut self.rx_kernel, rx_kernel),
            (&mut self.rx_drop_no_frame, rx_drop_no_frame),
            (&mut self.rx_drop_ring_full, rx_drop_ring_full),
            (&mut self.rx_drop_forged, rx_drop_forged),
            (&mut self.descriptors_bad, descriptors_bad),
            (&mut self.indices_bad, indices_bad),
            (&mut self.descriptors_refused, descriptors_refused),
            (&mut self.tx_drop_device, tx_drop_device),
            (&mut self.link_errors, link_errors),
            (&mut self.kicks, kicks),
            (&mut self.templates, templates),
        ] {
            *to += from;
        }
        self.tx_detour.iter_mut().zip(tx_detour).for_each(|(to, from)| *to += from);
        // Both follow the same tables.
        self.netlink_failures = self.netlink_failures.max(*netlink_failures);
    }
}

/// A port over AF_XDP on one queue.
pub struct XdpPort {
    xsk: Xsk,
    umem: Umem,
    interface: u32,
    mode: XdpMode,
    queue_number: u32,
    pages: Pages,
    busy_poll: Option<BusyPoll>,
    hops: HopCache,
    routes: Reader,
    socket: Arc<UdpSocket>,
    receive: ReceiveBatch,
    socket_frames: usize,
    send: SendBatch,
    queue: SendQueue,
    sleeper: Sleeper,
    stats: PortStats,
    xdp: XdpStats,
    device_drops_due: u64,
    down: bool,
    /// The kernel has unbound the socket, for good.
    gone: bool,
    clock: Instant,
    next_look: Instant,
    next_poll: Instant,
    bursts: u32,
    attachment: Arc<Attachment>,
    monitor: Arc<Monitor>,
}

impl XdpPort {
    /// Binds `address` on one queue of one interface: attaches the filter, opens the socket, follows the routing tables.
    ///
    /// `address` may be unspecified: then the filter takes the port on any address and the source address comes from the route. Port 0 takes a free one.
    /// Needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF, and CAP_IPC_LOCK or enough RLIMIT_MEMLOCK.
    pub fn bind(address: SocketAddr, config: &XdpConfig) -> Result<XdpPort, PortError> {
        let mut ports = XdpPort::bind_queues(address, config, &[config.queue])?;
        Ok(ports.pop().expect("one port per queue"))
    }

    /// Binds `address` on several queues of one interface, a port for each: they share the filter, the kernel socket and the routing tables.
    pub fn bind_queues(address: SocketAddr, config: &XdpConfig, queues: &[u32]) -> Result<Vec<XdpPort>, PortError> {
        config.check()?;
        let socket = Arc::new(UdpSocket::bind(address, config.port.socket_buffer_bytes)?);
        let attachment = Attachment::new(&config.interface, config.mode, socket.local())?;
        let monitor = Arc::new(Monitor::start()?);
        queues.iter().map(|queue| XdpPort::open(config, *queue, &socket, &attachment, &monitor)).collect()
    }

    /// The first of `modes` that works on one queue, and what refused those before it. None of them: None. An error is one that no other mode avoids.
    ///
    /// Zero copy and native share one attachment, since attaching may reset the link. A program that a killed predecessor left is gone soon.
    #[expect(clippy::type_complexity, reason = "a port or none, and a reason for each mode before it")]
    pub fn bind_first(
        address: SocketAddr,
        config: &XdpConfig,
        modes: &[XdpMode],
    ) -> Result<(Option<XdpPort>, Vec<(XdpMode, PortError)>), PortError> {
        config.check()?;
        let socket = Arc::new(UdpSocket::bind(address, config.port.socket_buffer_bytes)?);
        let monitor = Arc::new(Monitor::start()?);
        let patience = Instant::now() + BIND_PATIENCE;
        let (mut attached, mut refused): (Option<Arc<Attachment>>, _) = (None, Vec::new());
        for mode in modes.iter().copied() {
            let config = XdpConfig { mode, ..config.clone() };
            let fits = |held: &Arc<Attachment>| (held.mode() == XdpMode::Skb) == (mode == XdpMode::Skb);
            attached = attached.filter(fits);
            let attachment = match attached.take() {
                Some(held) => Ok(held),
                None => attach_patiently(&config, socket.local(), patience),
            };
            let opened = attachment.map_err(PortError::from).and_then(|attachment| {
                attached = Some(Arc::clone(&attachment));
                XdpPort::open(&config, config.queue, &socket, &attachment, &monitor)
            });
            match opened {
                Ok(port) => return Ok((Some(port), refused)),
                Err(error) => refused.push((mode, error)),
            }
        }
        Ok((None, refused))
    }

    fn open(
        config: &XdpConfig,
        queue: u32,
        socket: &Arc<UdpSocket>,
        attachment: &Arc<Attachment>,
        monitor: &Arc<Monitor>,
    ) -> Result<XdpPort, PortError> {
        let failed = |step| move |source| XdpError::Step { interface: config.interface.clone(), step, source };
        let total = config.port.rx_frames + config.port.tx_frames;
        let (region, buffers, pages) = Region::map(total, config.chunk_bytes).map_err(failed("mmap of the UMEM"))?;
        let pool = Pool::over(region, buffers, config.port.rx_frames, HEADROOM_BYTES);
        // A slot for every frame that can be in it: only receive frames are filled, but received frames may be sent on.
        let sizes =
            RingSizes { fill: slots(config.port.rx_frames), rx: slots(config.port.rx_frames), tx: slots(total), completion: slots(total) };
        let xsk = Xsk::open(pool.region(), total, config.chunk_bytes, sizes).map_err(|(step, source)| XdpError::Step {
            interface: config.interface.clone(),
            step,
            source,
        })?;
        let now = Instant::now();
        let mut port = XdpPort {
            xsk,
            umem: Umem::new(pool, config.chunk_bytes, attachment.index()),
            interface: attachment.index(),
            mode: config.mode,
            queue_number: queue,
            pages,
            busy_poll: config.busy_poll,
            hops: HopCache::new(),
            routes: monitor.reader(),
            socket: Arc::clone(socket),
            receive: ReceiveBatch::new(),
            socket_frames: (config.port.rx_frames / 8).clamp(1, BURST_MAX),
            send: SendBatch::new(),
            queue: SendQueue::new(config.port.gso),
            sleeper: Sleeper::default(),
            stats: PortStats::default(),
            xdp: XdpStats::default(),
            device_drops_due: 0,
            down: false,
            gone: false,
            clock: now,
            next_look: now,
            next_poll: now,
            bursts: 0,
            attachment: Arc::clone(attachment),
            monitor: Arc::clone(monitor),
        };
        port.take_up_tables();
        port.set_up(config, queue).map_err(|(step, source)| failed(step)(source))?;
        // A port without receive frames only sends: what arrives on its queue goes to the kernel socket, which the receiving port looks at.
        if config.port.rx_frames > 0 {
            port.attachment.redirect(queue, port.xsk.fd())?;
        }
        Ok(port)
    }

    /// Fills, binds and probes, in that order: drivers want frames when they start, and some refuse only the first wake-up call.
    fn set_up(&mut self, config: &XdpConfig, queue: u32) -> Result<(), (&'static str, std::io::Error)> {
        if let Some(busy) = config.busy_poll {
            self.xsk.prefer_busy_poll(busy.time, busy.budget).map_err(|error| ("SO_PREFER_BUSY_POLL", error))?;
        }
        self.xsk.widen(KICK_BUDGET, i32::try_from(config.port.socket_buffer_bytes).unwrap_or(i32::MAX));
        self.refill();
        let copy = if config.mode == XdpMode::ZeroCopy { libc::XDP_ZEROCOPY } else { libc::XDP_COPY };
        let flags = copy | libc::XDP_USE_NEED_WAKEUP;
        let (start, mut pause) = (Instant::now(), Duration::from_millis(1));
        while let Err(error) = self.xsk.bind(self.interface, queue, flags) {
            if error.raw_os_error() != Some(libc::EBUSY) || start.elapsed() > BIND_PATIENCE {
                return Err(("bind", error));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
        if config.mode == XdpMode::ZeroCopy && !self.xsk.is_zero_copy() {
            return Err(("bind", std::io::Error::from_raw_os_error(libc::EOPNOTSUPP)));
        }
        match self.xsk.kick() {
            errno @ (libc::ENXIO | libc::EINVAL | libc::EOPNOTSUPP) => Err(("wake-up call", std::io::Error::from_raw_os_error(errno))),
            _ => Ok(()),
        }
    }

    /// Counters of AF_XDP. Costs a system call: for housekeeping.
    pub fn xdp_stats(&self) -> XdpStats {
        let kernel = self.xsk.counts();
        let indices = [self.xsk.rx.unbelieved(), self.xsk.tx.unbelieved(), self.xsk.fill.unbelieved(), self.xsk.completion.unbelieved()];
        XdpStats {
            descriptors_bad: self.umem.counts.descriptors_bad,
            rx_drop_no_frame: kernel.rx_dropped,
            rx_drop_ring_full: kernel.rx_ring_full,
            descriptors_refused: kernel.rx_invalid + kernel.tx_invalid,
            indices_bad: indices.iter().sum(),
            templates: self.hops.made(),
            netlink_failures: self.routes.failures(),
            link: if self.gone { LinkState::Gone } else { self.routes.tables().link_state(self.interface) },
            rx_drop_forged: self.umem.counts.forged,
            ..self.xdp
        }
    }

    /// One line for the log: interface, mode, pages.
    pub fn describe(&self) -> String {
        let pages = match self.pages {
            Pages::Huge => "2 MiB pages",
            Pages::Normal => "4 KiB pages: no huge pages free",
        };
        format!("{} on {} ({} B frames on {pages})", self.mode.rung(), self.attachment.interface(), self.umem.chunk())
    }

    /// Takes what is in the RX ring, up to `max`.
    fn receive_ring(&mut self, frames: &mut Vec<Frame>, max: usize) -> usize {
        let before = frames.len();
        self.umem.receive(&mut self.xsk.rx, frames, max);
        let came = &frames[before..];
        self.stats.rx_packets += came.len() as u64;
        self.stats.rx_bytes += came.iter().map(|frame| frame.len() as u64).sum::<u64>();
        self.xdp.rx_ring += came.len() as u64;
        came.len()
    }

    /// Takes what the kernel socket has, up to `max`.
    fn receive_kernel(&mut self, frames: &mut Vec<Frame>, max: usize) -> usize {
        let (pool, stats) = (&mut self.umem.pool, &mut self.stats);
        let asked = max.min(self.receive.len());
        if asked == 0 {
            return 0;
        }
        stats.syscalls += 1;
        let before = frames.len();
        let came = self.receive.receive(self.socket.fd(), asked, |received| match received {
            Received::Datagram(frame) => {
                stats.rx_packets += 1;
                stats.rx_bytes += frame.len() as u64;
                pool.lent(1);
                frames.push(frame);
            }
            Received::Oversize(frame) => {
                stats.rx_drop_oversize += 1;
                pool.put(frame);
            }
            Received::Malformed(frame) => {
                stats.rx_drop_malformed += 1;
                pool.put(frame);
            }
        });
        if let Err(error) = came {
            stats.rx_errors += u64::from(error.kind() != std::io::ErrorKind::WouldBlock);
        }
        self.xdp.rx_kernel += (frames.len() - before) as u64;
        frames.len() - before
    }

    /// Every free receive frame goes to the kernel: some to its socket, so that a flood through the ring cannot starve it, the others to the fill ring.
    fn refill(&mut self) {
        if self.umem.pool.rx_free() > 0 {
            let XdpPort { umem, receive, socket_frames, .. } = self;
            receive.fill(*socket_frames, || umem.pool.take_rx());
            self.umem.refill(&mut self.xsk.fill);
        }
    }

    /// Brings sent frames home.
    fn reap(&mut self) {
        let XdpPort { umem, xsk, stats, device_drops_due, .. } = self;
        umem.reap(&mut xsk.completion, |bytes| {
            if *device_drops_due > 0 {
                *device_drops_due -= 1;
            } else {
                stats.tx_packets += 1;
                stats.tx_bytes += bytes as u64;
            }
        });
    }

    /// Publishes what was written and calls the kernel while it wants that and takes something.
    fn send_ring(&mut self) {
        self.xsk.tx.publish();
        let mut left = self.xsk.tx.unconsumed();
        let mut kicks = 0;
        while left > 0 && (self.mode != XdpMode::ZeroCopy || self.xsk.tx.needs_wakeup()) && kicks < KICKS_MAX {
            kicks += 1;
            let errno = self.xsk.kick();
            let after = self.xsk.tx.unconsumed();
            match errno {
                // A driver with zero copy says so while it resets, the kernel says so of a socket that it has unbound.
                libc::ENXIO if self.mode != XdpMode::ZeroCopy => {
                    self.xdp.link_errors += 1;
                    self.lose();
                    break;
                }
                libc::ENETDOWN | libc::ENXIO | libc::ENODEV | libc::EINVAL => {
                    self.xdp.link_errors += 1;
                    self.down = true;
                    break;
                }
                libc::EBUSY => {
                    // The device refused one packet: it completes like the others, and it is not sent.
                    self.xdp.tx_drop_device += 1;
                    self.device_drops_due += 1;
                }
                _ if after == left => {
                    self.stats.tx_deferred += 1;
                    break;
                }
                _ => self.down = false,
            }
            left = after;
        }
        self.stats.syscalls += kicks as u64;
        self.xdp.kicks += kicks as u64;
    }

    /// Hands the detours to the kernel socket, as the UDP rung does.
    fn send_kernel(&mut self) {
        while !self.queue.is_empty() {
            self.stats.syscalls += 1;
            let taken = self.send.send(self.socket.fd(), self.queue.iter());
            let (pool, stats) = (&mut self.umem.pool, &mut self.stats);
            match taken {
                Ok(count) => {
                    for _ in 0..count {
                        let message = self.queue.pop().expect("the kernel took messages that were queued");
                        self.queue.sent(message, stats, |frame| pool.put(frame));
                    }
                }
                Err(error) => {
                    let message = self.queue.pop().expect("an error is that of the first message");
                    let errno = error.raw_os_error().unwrap_or(0);
                    if let Some(message) = self.queue.refused(message, errno, stats, |frame| pool.put(frame)) {
                        self.queue.restore(message);
                        break;
                    }
                }
            }
        }
    }

    /// News of the routing tables.
    fn take_up_tables(&mut self) {
        let tables = self.routes.tables();
        let own = tables.addresses.iter().map(|address| address.ip).collect();
        let gone = tables.link_state(self.interface) == LinkState::Gone;
        self.umem.set_own(own);
        if gone {
            self.lose();
        }
    }

    /// The interface is gone and will not come back under this socket: the filter goes too, so that the kernel receives what it took, and everything is sent
    /// through the kernel.
    fn lose(&mut self) {
        if !self.gone {
            self.gone = true;
            self.attachment.detach();
            self.xsk.tx.publish();
            self.reap();
            let abandoned = self.umem.abandon_sends();
            self.stats.count_dropped(Cause::Unreachable, abandoned);
        }
    }

    fn drop_frame(&mut self, frame: Frame, cause: Cause) {
        self.stats.count_dropped(cause, 1);
        self.umem.pool.put(frame);
    }

    /// Now and then: the clock, the routing tables, the kernel socket, busy polling.
    fn look_around(&mut self, frames: &mut Vec<Frame>, max: usize, idle: bool) -> usize {
        self.bursts = self.bursts.wrapping_add(1);
        if !self.bursts.is_multiple_of(CLOCK_EVERY) && self.busy_poll.is_none() {
            return 0;
        }
        self.clock = Instant::now();
        if idle
            && let Some(busy) = self.busy_poll
            && self.clock >= self.next_poll
        {
            self.next_poll = self.clock + busy.interval;
            self.stats.syscalls += 1;
            self.xsk.kick_receive();
        }
        if self.clock < self.next_look || max == 0 {
            return 0;
        }
        self.next_look = self.clock + LOOK_EVERY;
        self.receive_kernel(frames, max)
    }
}

impl Port for XdpPort {
    fn rx_burst(&mut self, frames: &mut Vec<Frame>, max: usize) -> usize {
        self.umem.pool.reclaim();
        let mut count = self.receive_ring(frames, max);
        self.refill();
        if count == 0 && self.xsk.fill.needs_wakeup() && self.busy_poll.is_none() {
            self.stats.syscalls += 1;
            self.xsk.kick_receive();
        }
        count += self.look_around(frames, max - count, count == 0);
        let starved = count == 0 && max > 0 && self.umem.lent(Lease::Receive) == 0;
        self.stats.rx_starved += u64::from(starved);
        count
    }

    fn release(&mut self, frame: Frame) {
        self.umem.pool.returned(&frame);
        self.umem.pool.put(frame);
    }

    fn tx_frame(&mut self) -> Option<Frame> {
        let frame = self.umem.pool.lend_tx().or_else(|| {
            self.reap();
            self.umem.pool.lend_tx()
        });
        self.stats.tx_no_frame += u64::from(frame.is_none());
        frame
    }

    fn tx(&mut self, frame: Frame, to: SocketAddr) {
        self.umem.pool.returned(&frame);
        if to.is_ipv6() != self.socket.local().is_ipv6() {
            return self.drop_frame(frame, Cause::Family);
        }
        if self.gone {
            self.xdp.tx_detour[Detour::Down as usize] += 1;
            return self.queue.push(frame, to);
        }
        match self.hops.way(&self.routes, self.interface, self.socket.local(), to, self.clock) {
            Way::Direct(_) if self.down => self.drop_frame(frame, Cause::Unreachable),
            Way::Direct(template) if frame.len() > template.payload_max() => self.drop_frame(frame, Cause::Oversize),
            Way::Direct(template) => self.umem.send(&mut self.xsk.tx, frame, template),
            Way::Detour(reason) => {
                self.xdp.tx_detour[*reason as usize] += 1;
                self.queue.push(frame, to);
            }
        }
    }

    fn flush(&mut self) {
        self.umem.pool.reclaim();
        if self.umem.lent(Lease::Send) > 0 {
            self.send_ring();
        }
        if self.umem.lent(Lease::Send) > 0 {
            self.reap();
        }
        if !self.queue.is_empty() {
            self.send_kernel();
        }
        if self.routes.refresh() {
            self.take_up_tables();
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, wake: &[RawFd]) -> Wake {
        self.flush();
        self.umem.pool.reclaim();
        self.refill();
        if self.xsk.rx.available() > 0 {
            return Wake::Port;
        }
        let waits = !self.gone && self.xsk.tx.unconsumed() > 0;
        let timeout = if waits { Some(timeout.map_or(DEFERRED_SLEEP, |time| time.min(DEFERRED_SLEEP))) } else { timeout };
        let can_receive = self.receive.len() + self.umem.pool.rx_free() + self.umem.lent(Lease::Receive) > 0;
        let events = if can_receive { libc::POLLIN } else { 0 };
        let room = if self.queue.is_empty() { 0 } else { libc::POLLOUT };
        self.stats.syscalls += 1;
        let slept = self.sleeper.sleep(&[(self.xsk.fd(), events), (self.socket.fd(), events | room)], wake, timeout);
        self.clock = Instant::now();
        if let Slept::Own { last: true } = slept {
            self.next_look = self.clock;
            self.bursts = u32::MAX; // the next burst looks at the kernel socket
        }
        match slept {
            Slept::Own { .. } => Wake::Port,
            Slept::Wake => Wake::Descriptor,
            Slept::Timeout => Wake::Timeout,
            Slept::Signal => Wake::Signal,
        }
    }

    fn stats(&self) -> PortStats {
        let (receive_buffer_bytes, send_buffer_bytes) = self.socket.buffers();
        let kernel = self.xsk.counts();
        PortStats {
            rx_drop_kernel: self.socket.drops() + kernel.rx_dropped + kernel.rx_ring_full,
            rx_drop_malformed: self.stats.rx_drop_malformed + self.umem.counts.malformed + self.umem.counts.forged,
            tx_drop_unreachable: self.stats.tx_drop_unreachable + self.xdp.tx_drop_device,
            frames_lost: self.umem.pool.lost(),
            receive_buffer_bytes,
            send_buffer_bytes,
            frames: self.conservation(),
            ..self.stats
        }
    }

    fn bypass(&self) -> Option<XdpStats> {
        Some(self.xdp_stats())
    }

    fn conservation(&self) -> Conservation {
        let unpublished = self.xsk.tx.unpublished() as usize;
        let lent = self.umem.lent(Lease::Receive) + self.umem.lent(Lease::Send);
        Conservation {
            total: self.umem.pool.total(),
            free: self.umem.pool.free(),
            held: self.umem.pool.held(),
            queued: self.queue.frames() + unpublished,
            ready: 0,
            kernel: lent - unpublished + self.receive.len(),
        }
    }

    fn local_addr(&self) -> SocketAddr {
        self.socket.local()
    }

    fn rung(&self) -> &'static str {
        self.mode.rung()
    }

    fn sender(&self, number: u32, config: &PortConfig) -> Result<Box<dyn Port>, PortError> {
        config.check()?;
        let own = XdpConfig {
            interface: self.attachment.interface().into(),
            queue: self.queue_number + 1 + number,
            mode: self.mode,
            port: PortConfig { rx_frames: 0, ..config.clone() },
            chunk_bytes: self.umem.chunk(),
            busy_poll: None,
        };
        match XdpPort::open(&own, own.queue, &self.socket, &self.attachment, &self.monitor) {
            Ok(port) => Ok(Box::new(port)),
            // No such queue, or somebody else has it.
            Err(PortError::Xdp(XdpError::Step { step: "bind", .. })) => Ok(Box::new(UdpPort::sender(&self.socket, config)?)),
            Err(error) => Err(error),
        }
    }
}

impl AsRawFd for XdpPort {
    fn as_raw_fd(&self) -> RawFd {
        self.xsk.fd()
    }
}

/// Attaches, and tries again until `patience` while another program is there.
fn attach_patiently(config: &XdpConfig, local: SocketAddr, patience: Instant) -> Result<Arc<Attachment>, XdpError> {
    loop {
        match Attachment::new(&config.interface, config.mode, local) {
            Err(XdpError::Step { source, .. })
                if matches!(source.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)) && Instant::now() < patience =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            attached => return attached,
        }
    }
}

fn slots(frames: usize) -> u32 {
    frames.next_power_of_two() as u32
}
