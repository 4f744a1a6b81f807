//! What is measured: the rungs, the cases, and their names in reports.

use std::fmt;
use std::str::FromStr;

/// What moves the datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// AF_XDP, program run by the driver, copy mode.
    XdpNative,
    /// AF_XDP, program run on socket buffers.
    XdpSkb,
    /// io_uring with multishot receive.
    Uring,
    /// recvmmsg and sendmmsg, polled.
    Udp,
    /// tokio's UDP socket on a current-thread runtime.
    Tokio,
    /// A blocking socket: recvfrom and sendto.
    Blocking,
}

impl Rung {
    /// All, from the top.
    pub const ALL: [Rung; 6] = [Rung::XdpNative, Rung::XdpSkb, Rung::Uring, Rung::Udp, Rung::Tokio, Rung::Blocking];

    /// Name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Rung::XdpNative => "xdp-native",
            Rung::XdpSkb => "xdp-skb",
            Rung::Uring => "uring",
            Rung::Udp => "udp",
            Rung::Tokio => "tokio",
            Rung::Blocking => "blocking",
        }
    }

    /// Whether it needs an interface of its own and privileges.
    pub fn is_xdp(self) -> bool {
        matches!(self, Rung::XdpNative | Rung::XdpSkb)
    }

    /// Whether a port of ours stands behind it.
    pub fn is_port(self) -> bool {
        !matches!(self, Rung::Tokio | Rung::Blocking)
    }

    /// Whether it can gather datagrams of one destination (UDP segmentation offload).
    pub fn gathers(self) -> bool {
        matches!(self, Rung::Uring | Rung::Udp)
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Rung {
    type Err = String;

    fn from_str(text: &str) -> Result<Rung, String> {
        let all = Rung::ALL.map(Rung::as_str).join(", ");
        Rung::ALL.into_iter().find(|rung| rung.as_str() == text).ok_or(all)
    }
}

/// Whether messages travel bare or sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dress {
    /// The message is the datagram.
    Raw,
    /// Sealed, opened, replay-checked.
    Session,
}

impl Dress {
    const BOTH: [Dress; 2] = [Dress::Raw, Dress::Session];

    fn as_str(self) -> &'static str {
        if self == Dress::Raw { "raw" } else { "session" }
    }
}

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// Closed loop: a 64 B message there and back.
    Rtt(Dress),
    /// The same between two whole hot reactors.
    RttReactor,
    /// One way, as fast as it goes.
    Rate {
        /// Which size.
        size: Size,
        /// Bare or sealed.
        dress: Dress,
        /// Datagrams gathered by segmentation offload, possible only when all go to one destination.
        gather: bool,
    },
    /// One received frame sealed for this many peers.
    Fanout(usize),
    /// One-way latency of 64 B messages at this percentage of the rung's capacity, from the intended send time.
    Load(u32),
    /// From send to delivery at an end that sleeps in the kernel.
    Wakeup,
}

/// Message sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// A message of 64 B.
    Vote,
    /// A message of 1,200 B.
    Middle,
    /// The largest datagram: an IP packet of 1,400 B.
    Full,
}

impl Size {
    const ALL: [Size; 3] = [Size::Vote, Size::Middle, Size::Full];

    /// Nominal bytes, as in the name of the case.
    fn nominal(self) -> usize {
        match self {
            Size::Vote => 64,
            Size::Middle => 1_200,
            Size::Full => 1_400,
        }
    }

    /// Bytes of the message.
    pub fn message_bytes(self, dress: Dress) -> usize {
        match self {
            Size::Full => samara_types::datagram::DATAGRAM_BYTES_MAX - super::talk::Talk::overhead(dress),
            size => size.nominal(),
        }
    }
}

impl Case {
    /// All, in the order they are measured: capacities come before the loads that are parts of them.
    pub fn all() -> Vec<Case> {
        let mut all = vec![Case::Rtt(Dress::Raw), Case::Rtt(Dress::Session), Case::RttReactor];
        for gather in [false, true] {
            let of = |size| Dress::BOTH.map(|dress| Case::Rate { size, dress, gather });
            all.extend(Size::ALL.into_iter().flat_map(of));
        }
        all.extend([5, 15, 63].map(Case::Fanout));
        all.extend([10, 50, 90].map(Case::Load));
        all.push(Case::Wakeup);
        all
    }

    /// The case whose rate is a rung's capacity.
    pub const CAPACITY: Case = Case::Rate { size: Size::Vote, dress: Dress::Raw, gather: false };

    /// Whether this rung has it.
    pub fn applies(self, rung: Rung) -> bool {
        match self {
            Case::RttReactor | Case::Fanout(_) => rung.is_port(),
            Case::Rate { gather: true, .. } => rung.gathers(),
            _ => true,
        }
    }

    /// Whether its primary figure is a rate, not a latency.
    pub fn is_rate(self) -> bool {
        matches!(self, Case::Rate { .. })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Case::Rtt(dress) => write!(f, "rtt_64_{}", dress.as_str()),
            Case::RttReactor => f.write_str("rtt_64_reactor"),
            Case::Rate { size, dress, gather } => {
                write!(f, "rate_{}_{}{}", size.nominal(), dress.as_str(), if *gather { "_gso" } else { "" })
            }
            Case::Fanout(peers) => write!(f, "fanout_{peers}"),
            Case::Load(percent) => write!(f, "load_{percent}"),
            Case::Wakeup => f.write_str("wakeup"),
        }
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Case, String> {
        let all = Case::all();
        let names: Vec<String> = all.iter().map(Case::to_string).collect();
        names.iter().position(|name| name == text).map(|at| all[at]).ok_or_else(|| names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_and_the_contract_names_are_there() {
        for case in Case::all() {
            assert_eq!(case.to_string().parse::<Case>(), Ok(case));
        }
        for rung in Rung::ALL {
            assert_eq!(rung.to_string().parse::<Rung>(), Ok(rung));
        }
        let names = "rtt_64_raw rtt_64_session rtt_64_reactor rate_64_raw rate_64_session rate_1200_raw rate_1200_session rate_1400_raw \
                     rate_1400_session fanout_5 fanout_15 fanout_63 load_10 load_50 load_90 wakeup";
        names.split_whitespace().for_each(|name| assert!(name.parse::<Case>().is_ok(), "{name}"));
        assert!("pigeon".parse::<Rung>().unwrap_err().contains("xdp-native"));
    }

    #[test]
    fn a_full_datagram_is_an_ip_packet_of_1400_bytes_in_either_dress() {
        for dress in Dress::BOTH {
            assert_eq!(Size::Full.message_bytes(dress) + super::super::talk::Talk::overhead(dress) + 28, 1_400);
        }
    }
}
