//! Why a datagram was dropped or a message not sealed. The label is the metric label.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// Why a datagram was dropped in the session layer. In the order of the checks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            /// All reasons.
            pub const ALL: &[DropReason] = &[$(DropReason::$name,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Metric label.
            pub fn as_str(self) -> &'static str {
                match self { $(DropReason::$name => $label,)* }
            }
        }
    };
}

reasons! {
    /// Shorter than its type needs.
    TooShort = "too_short",
    /// Longer than a datagram may be, or truncated on receive.
    TooLong = "too_long",
    /// No such datagram type.
    BadType = "bad_type",
    /// Another format version.
    BadVersion = "bad_version",
    /// A field that must be zero is not, or an index is out of range.
    BadHeader = "bad_header",
    /// A handshake datagram of another length than its type has.
    BadLength = "bad_length",
    /// The handshake gate's MAC does not match: wrong chain, wrong receiver or noise.
    BadMac = "bad_mac",
    /// A cookie was asked for; the initiator comes back with it.
    CookieAsked = "cookie_asked",
    /// More handshakes than the gate lets through.
    HandshakeRate = "handshake_rate",
    /// More handshakes than answers fit into the queue.
    ReplyQueueFull = "reply_queue_full",
    /// Noise refused the handshake message.
    BadHandshake = "bad_handshake",
    /// The initiator's key is in no set we know.
    UnknownKey = "unknown_key",
    /// The peer runs with another genesis.
    WrongCluster = "wrong_cluster",
    /// A handshake no newer than one already seen from this peer.
    ReplayedInit = "replayed_init",
    /// Both sides initiated and this side's handshake is the one that counts.
    Simultaneous = "simultaneous",
    /// A cookie that answers nothing we sent.
    UnexpectedCookie = "unexpected_cookie",
    /// No session has this index.
    UnknownSession = "unknown_session",
    /// The counter is past its limit.
    CounterLimit = "counter_limit",
    /// This counter was received before.
    Replayed = "replayed",
    /// The counter lies below the replay window.
    TooOld = "too_old",
    /// The AEAD refused it.
    BadTag = "bad_tag",
    /// Reserved bytes of the inner header are not zero.
    BadInner = "bad_inner",
    /// Authenticated, but of no kind we know.
    UnknownKind = "unknown_kind",
}

/// Why a message was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SealError {
    /// No session with this peer yet; the handshake is under way.
    NoSession = 0,
    /// The peer is this validator itself or not in the set.
    NoSuchPeer = 1,
    /// Longer than its kind allows, or than the buffer given.
    TooLong = 2,
    /// The session's counters are spent and its successor is not there yet.
    Exhausted = 3,
}

impl SealError {
    /// All reasons.
    pub const ALL: [SealError; 4] = [SealError::NoSession, SealError::NoSuchPeer, SealError::TooLong, SealError::Exhausted];

    /// Metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            SealError::NoSession => "no_session",
            SealError::NoSuchPeer => "no_such_peer",
            SealError::TooLong => "too_long",
            SealError::Exhausted => "exhausted",
        }
    }
}
