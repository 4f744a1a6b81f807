use super::*;
use crate::digest::hex;

fn vote() -> Vote {
    Vote { view: 0x0102_0304, digest: [7; 32], signature: [9; 96] }
}

fn certificate() -> Certificate {
    Certificate { view: 5, digest: [1; 32], kind: 2, signature: [3; 48], signers: vec![0b11_1101] }
}

#[test]
fn messages_round_trip_at_any_alignment() {
    for shift in 0..8 {
        let mut bytes = vec![0u8; shift];
        bytes.extend_from_slice(&encode(&certificate()));
        let archived = access::<ArchivedCertificate>(&bytes[shift..]).unwrap();
        assert_eq!(archived.view.to_native(), 5);
        assert_eq!(archived.signers.as_slice(), [0b11_1101]);
    }
}

#[test]
fn truncated_and_empty_messages_are_refused() {
    let bytes = encode(&certificate());
    for cut in 0..bytes.len() {
        // The root sits at the end, so a cut either fails validation or reads another root; it must never panic.
        let _ = access::<ArchivedCertificate>(&bytes[..cut]);
        let _ = access::<ArchivedCertificate>(&bytes[cut..]);
    }
    assert!(access::<ArchivedVote>(&[]).is_none());
    assert!(access::<ArchivedVote>(&encode(&vote())[..135]).is_none());
}

#[test]
fn kinds_have_distinct_bytes_and_labels() {
    for (i, kind) in MessageKind::ALL.iter().enumerate() {
        assert_eq!(MessageKind::from_byte(*kind as u8), Some(*kind));
        assert!(MessageKind::ALL[..i].iter().all(|other| other.as_str() != kind.as_str()));
        assert!(kind.bytes_max() <= MESSAGE_BYTES_MAX);
    }
    assert_eq!(MessageKind::from_byte(0), None);
}

/// Committed vectors: a change here is a change of the wire format.
#[test]
fn wire_vectors() {
    let expected = "0403020100000000".to_owned() + &"07".repeat(32) + &"09".repeat(96);
    assert_eq!(hex(&encode(&vote())), expected);
    let expected = "3d".to_owned() + "0500000000000000" + &"01".repeat(32) + "02" + &"03".repeat(48) + "a6ffffff" + "01000000";
    assert_eq!(hex(&encode(&certificate())), expected);
}

#[test]
fn the_largest_messages_fit_their_limits() {
    let header = vec![0; crate::BLOCK_HEADER_BYTES];
    let manifest = Manifest { header, roots: vec![[0; 32]; crate::block::SLICES_MAX] };
    assert!(encode(&manifest).len() <= MessageKind::Manifest.bytes_max());
    let full = Certificate { signers: vec![0; crate::set::VALIDATORS_MAX / 8], ..certificate() };
    assert!(encode(&full).len() <= MessageKind::Certificate.bytes_max());
    assert!(encode(&vote()).len() <= MessageKind::Vote.bytes_max());
    let request = ShredRequest { view: 0, slice: 0, root: [0; 32], wanted: [0; 16] };
    assert!(encode(&request).len() <= MessageKind::ShredRequest.bytes_max());
    let status = Status { view: 0, finalized_view: 0, finalized_height: 0, finalized_digest: [0; 32] };
    assert!(encode(&status).len() <= MessageKind::Status.bytes_max());
}
