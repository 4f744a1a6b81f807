//! What a tape takes for a message.

use super::tape::{Skipped, Taped, parse};
use crate::capture::{Captured, Packet};
use proptest::prelude::*;
use samara_dataplane::tap::{OPENED, Trailer, Verdict};
use samara_types::MessageKind;
use samara_types::datagram::{DATAGRAM_VERSION, DatagramType};
use std::net::SocketAddr;
use zerocopy::IntoBytes;

fn datagram(version: u8, kind: u8, message: &[u8], trailer: Trailer) -> Vec<u8> {
    let mut bytes = vec![DatagramType::Data as u8, version, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, kind, 0, 0, 0];
    bytes.extend_from_slice(message);
    bytes.extend_from_slice(trailer.as_bytes());
    bytes
}

fn captured(datagram: &[u8]) -> Captured {
    let end = |last| SocketAddr::from(([10, 0, 0, last], 7000));
    let packet = Packet::new(end(1), end(2), datagram, datagram.len());
    Captured {
        unix_ns: 77,
        wire_len: packet.wire_len,
        packet: packet.bytes,
        sent: Some(false),
        lost_before: 0,
        comment: String::new(),
        interface: String::new(),
    }
}

const OPEN: u8 = DATAGRAM_VERSION | OPENED;

#[test]
fn an_opened_datagram_is_its_message() {
    let vote = MessageKind::Vote;
    let packet = captured(&datagram(OPEN, vote as u8, &[5; 136], Trailer::new(3, Verdict::Message, 0)));
    assert_eq!(parse(&packet), Ok(Taped { unix_ns: 77, sent: false, peer: 3, kind: vote, bytes: vec![5; 136] }));
    let sent = Captured { sent: Some(true), ..packet };
    assert!(parse(&sent).is_ok_and(|taped| taped.sent));
}

#[test]
fn everything_else_is_skipped_for_its_reason() {
    let message = Trailer::new(3, Verdict::Message, 0);
    let vote = MessageKind::Vote as u8;
    let skipped = |datagram: &[u8]| parse(&captured(datagram)).unwrap_err();
    assert_eq!(skipped(&datagram(DATAGRAM_VERSION, vote, &[5; 50], message)), Skipped::Sealed);
    assert_eq!(skipped(&datagram(OPEN, vote, &[5; 50], Trailer::new(3, Verdict::Refused, 1))), Skipped::Refused);
    assert_eq!(skipped(&datagram(OPEN, vote, &[5; 50], Trailer::new(3, Verdict::Dropped, 1))), Skipped::Malformed);
    assert_eq!(skipped(&datagram(OPEN, 99, &[5; 50], message)), Skipped::Malformed, "no such kind");
    assert_eq!(skipped(&datagram(OPEN, vote, &[5; 145], message)), Skipped::Malformed, "a vote has 144 B at most");
    assert!(parse(&captured(&datagram(OPEN, vote, &[5; 144], message))).is_ok());
    assert_eq!(skipped(&datagram(OPEN, vote, &[], message)[..35]), Skipped::Malformed, "no room for a trailer");
    assert_eq!(skipped(&datagram(OPEN + 1, vote, &[5; 50], message)), Skipped::Malformed, "another version");
    let whole = captured(&datagram(OPEN, vote, &[5; 50], message));
    let cut = Captured { packet: whole.packet[..60].to_vec(), ..whole.clone() };
    assert_eq!(parse(&cut), Err(Skipped::Cut));
    assert_eq!(parse(&Captured { sent: None, ..whole }), Err(Skipped::Malformed));
}

proptest! {
    #[test]
    fn foreign_packets_are_skipped_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), opened in any::<bool>()) {
        let mut bytes = bytes;
        if opened && bytes.len() > 1 {
            (bytes[0], bytes[1]) = (DatagramType::Data as u8, OPEN);
        }
        let _ = parse(&captured(&bytes));
        let _ = parse(&Captured { wire_len: bytes.len(), packet: bytes, ..captured(&[]) });
    }
}
