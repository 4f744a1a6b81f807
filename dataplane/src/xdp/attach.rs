//! The filter on an interface: program, socket map, link. One per interface and process, shared by the ports of its queues.

use std::ffi::CString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};

use super::filter::Filter;
use super::{XdpError, XdpMode};
use crate::sys::bpf;

const FLAGS_SKB: u32 = 1 << 1;
const FLAGS_NATIVE: u32 = 1 << 2;
/// Queues an interface may have.
const QUEUES_MAX: u32 = 256;

/// The filter, attached for as long as this lives or until its interface is lost: the kernel removes it with the last descriptor, also after a kill.
pub struct Attachment {
    interface: String,
    index: u32,
    mode: XdpMode,
    map: OwnedFd,
    _program: OwnedFd,
    link: Mutex<Option<OwnedFd>>,
}

impl Attachment {
    /// Attaches a filter for what a socket bound to `address` would receive. `address` has its final port.
    pub fn new(interface: &str, mode: XdpMode, address: SocketAddr) -> Result<Arc<Attachment>, XdpError> {
        let index = index_of(interface)?;
        let failed = |step| move |source| XdpError::Step { interface: interface.into(), step, source };
        let map = bpf::create_xskmap(QUEUES_MAX).map_err(failed("BPF_MAP_CREATE"))?;
        let code = Filter::of(address).program(map.as_raw_fd());
        let program = bpf::load_program(&code).map_err(|refused| XdpError::Verifier { source: refused.source, log: refused.log })?;
        let flags = if mode == XdpMode::Skb { FLAGS_SKB } else { FLAGS_NATIVE };
        let link = bpf::link(&program, index, flags).map_err(failed("BPF_LINK_CREATE"))?;
        Ok(Arc::new(Attachment { interface: interface.into(), index, mode, map, _program: program, link: Mutex::new(Some(link)) }))
    }

    /// Name of the interface.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Number of the interface.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// How it is attached.
    pub fn mode(&self) -> XdpMode {
        self.mode
    }

    /// Takes the filter off, for good. On an interface that was moved to another namespace and back it would go on to take what no socket receives.
    pub(crate) fn detach(&self) {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Sends what the filter takes on `queue` to a bound AF_XDP socket. The entry goes with the socket.
    pub(crate) fn redirect(&self, queue: u32, socket: RawFd) -> Result<(), XdpError> {
        bpf::set_socket(&self.map, queue, socket).map_err(|source| XdpError::Step {
            interface: self.interface.clone(),
            step: "BPF_MAP_UPDATE_ELEM",
            source,
        })
    }
}

fn index_of(interface: &str) -> Result<u32, XdpError> {
    let missing = || XdpError::Interface(interface.into());
    let name = CString::new(interface).map_err(|_| missing())?;
    match crate::sys::xsk::interface_index(&name) {
        0 => Err(missing()),
        index => Ok(index),
    }
}

/// Whether an error means that nobody but root, or an older kernel, may do this: for tests that skip.
pub fn is_forbidden(error: &XdpError) -> bool {
    let (XdpError::Step { source, .. } | XdpError::Verifier { source, .. }) = error else { return false };
    matches!(source.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::ENOSYS | libc::EAFNOSUPPORT))
        || source.kind() == io::ErrorKind::PermissionDenied
}
