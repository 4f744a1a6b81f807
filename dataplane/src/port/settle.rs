//! What becomes of a message that the kernel took or refused.
//!
//! An error belongs to one destination: its datagrams are counted and dropped, and whatever stands behind them leaves. Two errors do not drop: a full
//! buffer keeps the message queued, and a refused segmentation turns it into single datagrams.

use super::PortStats;
use super::queue::{Message, SendQueue};
use crate::frame::Frame;

/// How one send ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The kernel has no room: keep it.
    Later,
    /// The path has no segmentation offload: send singles from here on.
    NoSegmentation,
    /// This message is too long for its path, its datagrams may not be.
    Split,
    /// Give it up.
    Drop(Cause),
}

/// Why datagrams were given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Refused,
    Unreachable,
    Oversize,
    Forbidden,
    Family,
    Other,
}

/// Reads an errno of a send.
fn judge(errno: i32, segmented: bool) -> Verdict {
    match errno {
        libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR => Verdict::Later,
        libc::EIO | libc::EINVAL | libc::EOPNOTSUPP if segmented => Verdict::NoSegmentation,
        libc::EMSGSIZE if segmented => Verdict::Split,
        libc::EMSGSIZE => Verdict::Drop(Cause::Oversize),
        libc::ECONNREFUSED => Verdict::Drop(Cause::Refused),
        libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN | libc::ENETDOWN => Verdict::Drop(Cause::Unreachable),
        libc::EPERM | libc::EACCES => Verdict::Drop(Cause::Forbidden),
        libc::EAFNOSUPPORT => Verdict::Drop(Cause::Family),
        _ => Verdict::Drop(Cause::Other),
    }
}

impl PortStats {
    /// Counts datagrams that were given up.
    pub(crate) fn count_dropped(&mut self, cause: Cause, packets: usize) {
        let counter = match cause {
            Cause::Refused => &mut self.tx_drop_refused,
            Cause::Unreachable => &mut self.tx_drop_unreachable,
            Cause::Oversize => &mut self.tx_drop_oversize,
            Cause::Forbidden => &mut self.tx_drop_forbidden,
            Cause::Family => &mut self.tx_drop_family,
            Cause::Other => &mut self.tx_drop_other,
        };
        *counter += packets as u64;
    }

    fn count_sent(&mut self, message: &Message) {
        let packets = message.frames().len() as u64;
        self.tx_packets += packets;
        self.tx_bytes += message.bytes() as u64;
        if packets > 1 {
            self.gso_batches += 1;
            self.gso_packets += packets;
        }
    }
}

impl SendQueue {
    /// The kernel took the message: its frames go home.
    pub(crate) fn sent(&mut self, message: Message, stats: &mut PortStats, home: impl FnMut(Frame)) {
        stats.count_sent(&message);
        self.recycle(message, home);
    }

    /// The kernel refused the message. Gives it back when sending should pause: the caller restores it for the next flush.
    pub(crate) fn refused(&mut self, message: Message, errno: i32, stats: &mut PortStats, home: impl FnMut(Frame)) -> Option<Message> {
        match judge(errno, message.segment_bytes().is_some()) {
            Verdict::Later => {
                stats.tx_deferred += 1;
                return Some(message);
            }
            Verdict::NoSegmentation => {
                stats.gso_refused += 1;
                self.restore_split(message);
                self.stop_segmentation();
            }
            Verdict::Split => self.restore_split(message),
            Verdict::Drop(cause) => {
                stats.count_dropped(cause, message.frames().len());
                self.recycle(message, home);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_buffer_pauses_and_only_a_segmented_message_is_split() {
        for errno in [libc::EAGAIN, libc::ENOBUFS] {
            assert_eq!(judge(errno, true), Verdict::Later);
            assert_eq!(judge(errno, false), Verdict::Later);
        }
        assert_eq!(judge(libc::EIO, true), Verdict::NoSegmentation);
        assert_eq!(judge(libc::EINVAL, true), Verdict::NoSegmentation);
        assert_eq!(judge(libc::EINVAL, false), Verdict::Drop(Cause::Other));
        assert_eq!(judge(libc::EMSGSIZE, true), Verdict::Split);
        assert_eq!(judge(libc::EMSGSIZE, false), Verdict::Drop(Cause::Oversize));
        assert_eq!(judge(libc::ECONNREFUSED, true), Verdict::Drop(Cause::Refused));
        assert_eq!(judge(libc::EHOSTUNREACH, false), Verdict::Drop(Cause::Unreachable));
        assert_eq!(judge(libc::EPERM, false), Verdict::Drop(Cause::Forbidden));
    }
}
