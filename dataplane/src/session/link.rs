//! What the sessions know of the way from a peer: how long it is and what gets lost, measured without a byte of its own.
//!
//! Round trip: a handshake is a question that is answered at once. Who dialled takes the time from its last init to the response, who
//! answered the time from the init to the first datagram under the session, which the initiator sends as soon as it has the response. Both
//! include one Diffie-Hellman; a lost confirmation shows as a long round trip until the next handshake.
//!
//! Loss: counters of a direction have no gaps, so the highest counter says how many datagrams were sent, and the accepted ones how many came.
//! What is lost behind the last datagram of a session is not seen; what is under way counts as lost for as long.

use samara_types::Nanos;

/// The way from one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Round trip of the newest handshake; None before the first.
    pub round_trip: Option<Nanos>,
    /// Datagrams the peer is known to have sent under sessions, since the start. Only grows.
    pub expected: u64,
    /// Of them, those that came. Only grows.
    pub arrived: u64,
}

impl Link {
    /// Adds what one session counted.
    pub(super) fn add(&mut self, (expected, arrived): (u64, u64)) {
        self.expected = self.expected.saturating_add(expected);
        self.arrived = self.arrived.saturating_add(arrived);
    }
}
