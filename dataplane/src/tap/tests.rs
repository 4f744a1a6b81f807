//! The ring of a tap beside an oracle.

use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;
use zerocopy::FromBytes;

fn tap_and_reader(ring_bytes: usize) -> (Tap, TapReader) {
    let mut tap = Tap::default();
    let settings = TapSettings { opened: false, snaplen: SNAPLEN_MAX, ring_bytes, filter: TapFilter::ALL, reactor: 0 };
    let reader = tap.handle().attach(settings).expect("nobody reads");
    tap.refresh();
    (tap, reader)
}

fn record(tap: &mut Tap, datagram: &[u8]) {
    tap.leaving(([10, 0, 0, 1], 7).into(), ValidatorIndex(1), MessageKind::Vote, datagram);
}

#[test]
fn a_reader_that_is_gone_turns_the_tap_off() {
    let (mut tap, reader) = tap_and_reader(1 << 16);
    assert!(tap.active.is_some());
    drop(reader);
    tap.refresh();
    assert!(tap.active.is_none());
}

#[test]
fn a_reader_on_another_thread_gets_every_record_whole_and_in_order_or_counted_as_lost() {
    const RECORDS: u32 = 200_000;
    let (mut tap, mut reader) = tap_and_reader(1 << 14);
    let writer = std::thread::spawn(move || {
        for at in 0..RECORDS {
            let len = 4 + (at as usize * 7919) % 1300;
            let mut datagram = vec![at as u8; len];
            datagram[..4].copy_from_slice(&at.to_le_bytes());
            record(&mut tap, &datagram);
        }
    });
    let (mut bytes, mut next, mut lost) = (Vec::new(), 0u32, 0u64);
    loop {
        let ended = writer.is_finished();
        while reader.waiting() > 0 {
            // Odd sizes, so that records are taken in pieces.
            reader
                .read(777, |part| {
                    bytes.extend_from_slice(part);
                    Ok::<_, ()>(part.len())
                })
                .expect("taking never fails");
        }
        let mut at = 0;
        while let Ok((header, rest)) = RecordHeader::read_from_prefix(&bytes[at..]) {
            let Some(datagram) = rest.get(..header.stored.get() as usize) else { break };
            let number = u32::from_le_bytes(datagram[..4].try_into().expect("four bytes"));
            assert_eq!(number - next, header.lost_before.get(), "what is missing was counted");
            assert!(datagram[4..].iter().all(|byte| *byte == number as u8));
            lost += u64::from(header.lost_before.get());
            next = number + 1;
            at += RECORD_BYTES + datagram.len();
        }
        bytes.drain(..at);
        if ended {
            break;
        }
    }
    writer.join().expect("the writer ends");
    assert!(bytes.is_empty(), "no record is torn");
    assert_eq!(reader.lost(), lost + u64::from(RECORDS - next));
}

proptest! {
    #[test]
    fn the_ring_is_a_queue_of_whole_records(steps in proptest::collection::vec((0usize..1600, 0usize..5000), 1..80)) {
        let capacity = 8192;
        let (mut tap, mut reader) = tap_and_reader(capacity);
        let (mut oracle, mut expected_lost) = (VecDeque::<u8>::new(), 0);
        for (step, (len, taken)) in steps.into_iter().enumerate() {
            record(&mut tap, &vec![step as u8; len]);
            if oracle.len() + RECORD_BYTES + len <= capacity {
                // The header is the tap's; its bytes are read back below as they are, only their number is predicted.
                oracle.extend(std::iter::repeat_n(0, RECORD_BYTES).chain(std::iter::repeat_n(step as u8, len)));
            } else {
                expected_lost += 1;
            }
            prop_assert_eq!(reader.waiting(), oracle.len());
            let mut left = taken.min(oracle.len());
            while left > 0 {
                left -= reader.read(left, |part| Ok::<_, ()>(part.len())).expect("taking never fails");
            }
            oracle.drain(..taken.min(oracle.len()));
        }
        prop_assert_eq!(reader.lost(), expected_lost);
    }
}
