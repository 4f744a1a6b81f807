//! Listening sockets for glommio. Bound by the standard library, because glommio's own `bind` sets `SO_REUSEPORT`: two validators
//! configured to one port would share it silently instead of being told.

use glommio::net::TcpListener;
use std::os::fd::{FromRawFd, IntoRawFd};

/// Hands a listener to the executor of this thread.
pub(super) fn adopt(listener: std::net::TcpListener) -> TcpListener {
    // SAFETY: `into_raw_fd` gives up ownership of an open listening socket, and the value made here is its only owner.
    unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) }
}
