//! One end of the wire behind one seam: a port of ours, a blocking socket, or a tokio socket, so that every case measures all of them alike.

use super::cases::Rung;
use super::net::{Net, Side};
use crate::exit::Exit;
use samara_dataplane::frame::{FRAME_BYTES, Frame};
use samara_dataplane::port::xdp::XdpPort;
use samara_dataplane::port::{self, Port, PortConfig, PortError, Transport};
use samara_dataplane::xdp::{XdpConfig, XdpError, XdpMode};
use std::future::Future;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// How long a socket that waits for a datagram waits before it lets its end look around.
const PATIENCE: Duration = Duration::from_millis(20);
/// How long a program may stay attached after its port is gone.
const DETACH: Duration = Duration::from_secs(3);
/// Asked of the kernel for every socket.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// Sends and receives datagrams.
pub trait Wire {
    /// Hands up to `max` received datagrams to `take` and returns how many. Ports only look; sockets wait for the first one.
    fn receive(&mut self, max: usize, take: &mut dyn FnMut(&mut [u8])) -> usize;

    /// Queues the datagram that `write` makes (it returns the length). False: no room, flush and try again.
    fn send(&mut self, to: SocketAddr, write: &mut dyn FnMut(&mut [u8]) -> usize) -> bool;

    /// Sends what is queued.
    fn flush(&mut self);

    /// Sleeps in the kernel until a datagram may be there.
    fn sleep(&mut self, most: Duration);
}

/// Where a wire listens and how it sends.
#[derive(Clone, Copy)]
pub struct Ask {
    /// Which wire.
    pub rung: Rung,
    /// Which end.
    pub side: Side,
    /// Listen on every address of the end, not only on its own.
    pub any: bool,
    /// Segmentation offload for datagrams of one destination.
    pub gather: bool,
}

/// Opens the wire of one end. Call it on the thread that uses it, after [`Net::enter`].
pub fn open(net: &Net, ask: Ask) -> Result<Box<dyn Wire>, Exit> {
    Ok(match ask.rung {
        Rung::Tokio => Box::new(TokioWire::bind(listen(net, ask))?),
        Rung::Blocking => Box::new(BlockingWire::bind(listen(net, ask))?),
        _ => Box::new(PortWire { port: open_port(net, ask)?, frames: Vec::with_capacity(port::BURST_MAX) }),
    })
}

/// Opens the port of a rung that has one.
pub fn open_port(net: &Net, ask: Ask) -> Result<Box<dyn Port>, Exit> {
    let config = PortConfig { gso: ask.gather, socket_buffer_bytes: SOCKET_BUFFER_BYTES, ..PortConfig::default() };
    let address = listen(net, ask);
    let transport = match ask.rung {
        Rung::XdpNative => return open_xdp(net, ask, XdpMode::Native),
        Rung::XdpSkb => return open_xdp(net, ask, XdpMode::Skb),
        Rung::Uring => Transport::Uring,
        Rung::Udp => Transport::Udp,
        Rung::Tokio | Rung::Blocking => unreachable!("no case of these rungs asks for a port"),
    };
    port::open(transport, address, &config).map(|(port, _)| port).map_err(|error| cannot(ask, error))
}

/// AF_XDP on the interface of this end, one queue. The kernel detaches the program of the last measurement some time after its link is closed.
fn open_xdp(net: &Net, ask: Ask, mode: XdpMode) -> Result<Box<dyn Port>, Exit> {
    let config = XdpConfig::new(ask.side.interface(), mode);
    let began = Instant::now();
    loop {
        match XdpPort::bind(listen(net, ask), &config) {
            Ok(port) => return Ok(Box::new(port)),
            Err(error) if is_still_attached(&error) && began.elapsed() < DETACH => std::thread::sleep(Duration::from_millis(2)),
            Err(error) => return Err(cannot(ask, error)),
        }
    }
}

fn is_still_attached(error: &PortError) -> bool {
    let PortError::Xdp(XdpError::Step { step: "BPF_LINK_CREATE", source, .. }) = error else { return false };
    matches!(source.raw_os_error(), Some(libc::EEXIST | libc::EBUSY))
}

fn cannot(ask: Ask, error: PortError) -> Exit {
    Exit::Host(crate::exit::one_line(&format!("rung {}: {error}", ask.rung)))
}

fn listen(net: &Net, ask: Ask) -> SocketAddr {
    let own = net.address(ask.side);
    if ask.any { SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), own.port()) } else { own }
}

struct PortWire {
    port: Box<dyn Port>,
    frames: Vec<Frame>,
}

impl Wire for PortWire {
    fn receive(&mut self, max: usize, take: &mut dyn FnMut(&mut [u8])) -> usize {
        let count = self.port.rx_burst(&mut self.frames, max);
        for mut frame in self.frames.drain(..) {
            take(&mut frame);
            self.port.release(frame);
        }
        count
    }

    fn send(&mut self, to: SocketAddr, write: &mut dyn FnMut(&mut [u8]) -> usize) -> bool {
        let Some(mut frame) = self.port.tx_frame() else { return false };
        let len = write(&mut frame);
        frame.set_len(len);
        self.port.tx(frame, to);
        true
    }

    fn flush(&mut self) {
        self.port.flush();
    }

    fn sleep(&mut self, most: Duration) {
        self.port.wait(Some(most), &[]);
    }
}

fn bound(address: SocketAddr) -> Result<UdpSocket, Exit> {
    let made = UdpSocket::bind(address).and_then(|socket| {
        let options = socket2::SockRef::from(&socket);
        options.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
        options.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
        Ok(socket)
    });
    made.map_err(|error| Exit::Host(format!("UDP socket on {address}: {error}")))
}

/// recvfrom and sendto, the thread asleep in between.
struct BlockingWire {
    socket: UdpSocket,
    buffer: Box<[u8; FRAME_BYTES]>,
}

impl BlockingWire {
    fn bind(address: SocketAddr) -> Result<BlockingWire, Exit> {
        let socket = bound(address)?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(|error| Exit::Host(format!("SO_RCVTIMEO: {error}")))?;
        Ok(BlockingWire { socket, buffer: Box::new([0; FRAME_BYTES]) })
    }
}

impl Wire for BlockingWire {
    fn receive(&mut self, _max: usize, take: &mut dyn FnMut(&mut [u8])) -> usize {
        let Ok((len, _)) = self.socket.recv_from(&mut self.buffer[..]) else { return 0 };
        take(&mut self.buffer[..len]);
        1
    }

    fn send(&mut self, to: SocketAddr, write: &mut dyn FnMut(&mut [u8]) -> usize) -> bool {
        let len = write(&mut self.buffer[..]);
        self.socket.send_to(&self.buffer[..len], to).is_ok()
    }

    fn flush(&mut self) {}

    fn sleep(&mut self, _most: Duration) {}
}

/// tokio's socket on a current-thread runtime.
struct TokioWire {
    runtime: tokio::runtime::Runtime,
    socket: tokio::net::UdpSocket,
    /// Runs out when nothing came for a while. Armed once and polled beside the socket, so that it costs no timer per datagram.
    patience: Pin<Box<tokio::time::Sleep>>,
    buffer: Box<[u8; FRAME_BYTES]>,
}

impl TokioWire {
    fn bind(address: SocketAddr) -> Result<TokioWire, Exit> {
        let failed = |error: std::io::Error| Exit::Host(format!("tokio: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let entered = runtime.enter();
        let socket = bound(address)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let socket = tokio::net::UdpSocket::from_std(socket).map_err(failed)?;
        let patience = Box::pin(tokio::time::sleep(PATIENCE));
        drop(entered);
        Ok(TokioWire { runtime, socket, patience, buffer: Box::new([0; FRAME_BYTES]) })
    }
}

impl Wire for TokioWire {
    fn receive(&mut self, max: usize, take: &mut dyn FnMut(&mut [u8])) -> usize {
        let TokioWire { runtime, socket, patience, buffer } = self;
        runtime.block_on(async {
            let first = {
                let mut arrival = std::pin::pin!(socket.recv_from(&mut buffer[..]));
                std::future::poll_fn(|context| {
                    if let Poll::Ready(came) = arrival.as_mut().poll(context) {
                        return Poll::Ready(came.ok());
                    }
                    patience.as_mut().poll(context).map(|()| None)
                })
                .await
            };
            let Some((len, _)) = first else {
                if patience.is_elapsed() {
                    patience.as_mut().reset(tokio::time::Instant::now() + PATIENCE);
                }
                return 0;
            };
            take(&mut buffer[..len]);
            let mut count = 1;
            while count < max
                && let Ok((len, _)) = socket.try_recv_from(&mut buffer[..])
            {
                take(&mut buffer[..len]);
                count += 1;
            }
            count
        })
    }

    fn send(&mut self, to: SocketAddr, write: &mut dyn FnMut(&mut [u8]) -> usize) -> bool {
        let len = write(&mut self.buffer[..]);
        let TokioWire { runtime, socket, buffer, .. } = self;
        runtime.block_on(socket.send_to(&buffer[..len], to)).is_ok()
    }

    fn flush(&mut self) {}

    fn sleep(&mut self, _most: Duration) {}
}
