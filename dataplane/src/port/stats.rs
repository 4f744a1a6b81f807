//! What a port counts. Plain integers of one thread; published by the reactor's housekeeping.

/// Counters of one port since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Datagrams received.
    pub rx_packets: u64,
    /// Their payload bytes.
    pub rx_bytes: u64,
    /// Datagrams handed to the kernel.
    pub tx_packets: u64,
    /// Their payload bytes.
    pub tx_bytes: u64,
    /// System calls made.
    pub syscalls: u64,
    /// Send messages that carried several datagrams.
    pub gso_batches: u64,
    /// Datagrams in them.
    pub gso_packets: u64,
    /// Dropped by the kernel: the receive buffer of the socket was full, or a checksum was wrong.
    pub rx_drop_kernel: u64,
    /// Dropped here: longer than a frame.
    pub rx_drop_oversize: u64,
    /// Dropped here: the kernel's description of the datagram was out of range.
    pub rx_drop_malformed: u64,
    /// Receive calls that failed for another reason than "nothing there".
    pub rx_errors: u64,
    /// Bursts asked for while the caller held every receive frame.
    pub rx_starved: u64,
    /// Times the ring of provided buffers ran empty and the receive stopped (uring).
    pub rx_enobufs: u64,
    /// Times the multishot receive was armed (uring).
    pub rx_armed: u64,
    /// Completions that found the completion queue full (uring).
    pub cq_overflows: u64,
    /// Frames asked for while none was free.
    pub tx_no_frame: u64,
    /// Times the kernel could not take more and frames stayed queued.
    pub tx_deferred: u64,
    /// Dropped: the destination refused.
    pub tx_drop_refused: u64,
    /// Dropped: no way to the destination.
    pub tx_drop_unreachable: u64,
    /// Dropped: larger than the path takes.
    pub tx_drop_oversize: u64,
    /// Dropped: forbidden by a firewall or by policy.
    pub tx_drop_forbidden: u64,
    /// Dropped: the destination is of the other address family.
    pub tx_drop_family: u64,
    /// Dropped: any other error.
    pub tx_drop_other: u64,
    /// Times the kernel refused segmentation offload; the port goes on without it.
    pub gso_refused: u64,
    /// Frames that were dropped instead of released.
    pub frames_lost: u64,
    /// What the kernel reports for SO_RCVBUF.
    pub receive_buffer_bytes: usize,
    /// What the kernel reports for SO_SNDBUF.
    pub send_buffer_bytes: usize,
    /// Frames by place.
    pub frames: Conservation,
}

impl PortStats {
    /// Datagrams that were queued and then given up.
    pub fn tx_dropped(&self) -> u64 {
        self.tx_drop_refused
            + self.tx_drop_unreachable
            + self.tx_drop_oversize
            + self.tx_drop_forbidden
            + self.tx_drop_family
            + self.tx_drop_other
    }
}

/// Frames by place, each counted where it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conservation {
    /// Frames of the pool.
    pub total: usize,
    /// On a free list.
    pub free: usize,
    /// With the caller.
    pub held: usize,
    /// Queued for send.
    pub queued: usize,
    /// Received, not fetched yet.
    pub ready: usize,
    /// Armed for receive, or being sent.
    pub kernel: usize,
}

impl Conservation {
    /// Every frame is in exactly one place.
    pub fn holds(&self) -> bool {
        self.free + self.held + self.queued + self.ready + self.kernel == self.total
    }
}
