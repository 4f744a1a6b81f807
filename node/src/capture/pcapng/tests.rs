use super::*;
use proptest::prelude::*;

fn interface() -> Interface<'static> {
    Interface { name: "validator 0", description: "uring", comment: "{\"seat\":0}", snaplen: 2048 }
}

fn file(packets: &[(u64, Vec<u8>, bool, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut out = Pcapng::begin(&mut bytes, "samara 0", &interface()).unwrap();
    for (unix_ns, packet, sent, lost) in packets {
        out.packet(*unix_ns, packet, packet.len() + 7, *sent, *lost, "vote").unwrap();
    }
    out.statistics(Statistics { times: (1, 2), seen: Some(3), lost: Some(4) }).unwrap();
    bytes
}

fn read(bytes: &[u8]) -> Result<Vec<Captured>, String> {
    let mut capture = Capture::new(bytes)?;
    let mut all = Vec::new();
    while let Some(captured) = capture.next_packet()? {
        all.push(captured);
    }
    Ok(all)
}

/// Committed bytes: the shortest file with a packet. The layout of every block was compared with the specification by hand.
#[test]
fn a_file_is_laid_out_as_the_specification_says() {
    let mut bytes = Vec::new();
    let tiny = Interface { name: "v", description: "d", comment: "c", snaplen: 96 };
    let mut out = Pcapng::begin(&mut bytes, "s", &tiny).unwrap();
    let section = 12 + 16 + 12 + 8 + 4;
    let described = 12 + 8 + 4 * 8 + 4;
    out.packet(0x0102_0304_0506_0708, &[0x45, 1, 2], 9, true, 5, "x").unwrap();
    assert_eq!(bytes[..8], [0x0a, 0x0d, 0x0d, 0x0a, section as u8, 0, 0, 0]);
    assert_eq!(bytes[8..16], [0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0]);
    assert_eq!(bytes[section..section + 16], [1, 0, 0, 0, described as u8, 0, 0, 0, 101, 0, 0, 0, 96, 0, 0, 0]);
    let expected = [
        &[6, 0, 0, 0, 68, 0, 0, 0, 0, 0, 0, 0][..],
        &[4, 3, 2, 1, 8, 7, 6, 5, 3, 0, 0, 0, 9, 0, 0, 0, 0x45, 1, 2, 0],
        &[1, 0, 1, 0, b'x', 0, 0, 0, 2, 0, 4, 0, 2, 0, 0, 0, 4, 0, 8, 0, 5, 0, 0, 0, 0, 0, 0, 0],
        &[0, 0, 0, 0, 68, 0, 0, 0],
    ]
    .concat();
    assert_eq!(bytes[section + described..], expected);
}

#[test]
fn a_cut_file_gives_its_whole_packets_and_then_one_error() {
    let packets = [(1, vec![1; 40], true, 0), (2, vec![2; 41], false, 9)];
    let bytes = file(&packets);
    for cut in 0..bytes.len() {
        match read(&bytes[..cut]) {
            Ok(all) => assert!(all.len() <= 2, "{cut}"),
            Err(error) => assert!(!error.is_empty() && !error.contains('\n'), "{cut}: {error}"),
        }
    }
    assert_eq!(read(&bytes).unwrap().len(), 2);
    assert!(read(&bytes[..bytes.len() - 4]).unwrap_err().contains("ends in the middle"));
}

/// As another tool on another machine writes it; the layout is the specification's.
#[test]
fn a_big_endian_file_says_the_same() {
    let block = |kind: u32, body: &[&[u8]]| {
        let body = body.concat();
        let len = (body.len() as u32 + 12).to_be_bytes();
        [&kind.to_be_bytes()[..], &len, &body, &len].concat()
    };
    let bytes = [
        block(0x0a0d_0d0a, &[&[0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0], &[0xff; 8]]),
        block(1, &[&[0, 101, 0, 0, 0, 0, 8, 0], &[0, 1, 0, 1, b'c', 0, 0, 0], &[0, 9, 0, 1, 9, 0, 0, 0], &[0; 4]]),
        block(
            6,
            &[
                &[0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 4, 0, 0, 0, 9, 0x45, 1, 2, 3],
                &[0, 2, 0, 4, 0, 0, 0, 0b10],
                &[0, 4, 0, 8, 0, 0, 0, 0, 0, 0, 0, 5],
                &[0; 4],
            ],
        ),
    ]
    .concat();
    let expected = Captured {
        unix_ns: 0x0102_0304_0506_0708,
        packet: vec![0x45, 1, 2, 3],
        wire_len: 9,
        sent: Some(true),
        lost_before: 5,
        comment: String::new(),
        interface: "c".into(),
    };
    assert_eq!(read(&bytes).unwrap(), [expected]);
    // A section of each order in one file.
    let both = [bytes, file(&[(1, vec![1; 40], false, 3)])].concat();
    let read: Vec<_> = read(&both).unwrap().into_iter().map(|captured| (captured.sent, captured.lost_before)).collect();
    assert_eq!(read, [(Some(true), 5), (Some(false), 3)]);
}

#[test]
fn another_link_type_and_another_format_are_refused() {
    let mut bytes = file(&[(1, vec![1; 40], true, 0)]);
    let at = bytes.windows(2).position(|pair| pair == [101, 0]).unwrap();
    bytes[at] = 1;
    assert!(read(&bytes).unwrap_err().contains("raw IP"));
    assert!(read(b"GIF89a, which is something else entirely").unwrap_err().contains("no pcapng"));
}

proptest! {
    #[test]
    fn what_was_written_is_read_back(
        packets in proptest::collection::vec((any::<u64>(), proptest::collection::vec(any::<u8>(), 0..1500), any::<bool>(), any::<u32>()), 0..20),
    ) {
        let expected: Vec<Captured> = packets.iter().map(|(unix_ns, packet, sent, lost)| Captured {
            unix_ns: *unix_ns,
            packet: packet.clone(),
            wire_len: packet.len() + 7,
            sent: Some(*sent),
            lost_before: u64::from(*lost),
            comment: "vote".into(),
            interface: "{\"seat\":0}".into(),
        }).collect();
        prop_assert_eq!(read(&file(&packets)).unwrap(), expected);
    }

    #[test]
    fn a_damaged_file_is_read_or_refused_without_a_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = file(&[(1, vec![1; 40], true, 0), (2, vec![2; 41], false, 9)]);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = read(&bytes);
    }

    #[test]
    fn garbage_is_read_or_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = read(&bytes);
    }
}
