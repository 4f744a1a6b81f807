//! The door and who knocks, without a reactor behind it.

use super::door::{About, Door, Patience};
use super::ends::Ends;
use super::protocol::{Filter, Hello, LastWord, Request, record_bytes, split_record};
use super::source::{Next, Source};
use super::writer::comment;
use samara_dataplane::class::ClassReject;
use samara_dataplane::session::DropReason;
use samara_dataplane::tap::{Direction, NO_PEER, RECORD_BYTES, RecordHeader, SNAPLEN_MAX, Tap, Verdict};
use samara_types::MessageKind;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromZeros, IntoBytes};

const FILTER: Filter = Filter { kinds: u64::MAX, received: true, sent: true };
const REQUEST: Request = Request { opened: false, snaplen: 100, ring_bytes: 64 << 10, filter: FILTER };

fn about() -> About {
    let addresses = vec!["10.0.0.1:7".parse().unwrap(), "10.0.0.2:7".parse().unwrap()];
    Hello { version: "0".into(), chain: "ab".into(), seat: 1, local: addresses[1], rung: "udp".into(), addresses }
}

fn door(directory: &Path) -> (Door, Tap, PathBuf) {
    let (path, tap) = (directory.join("door.sock"), Tap::default());
    (Door::open(&path, vec![tap.handle()], about()).unwrap(), tap, path)
}

fn connect(path: &Path, request: &Request) -> Result<Source, crate::exit::Exit> {
    Source::connect(|| Ok(path.to_owned()), request, None, &AtomicBool::new(false))
}

/// Whatever comes until the end.
fn until_end(source: &mut Source) -> Option<LastWord> {
    loop {
        if let Next::End(word) = source.next_record().unwrap() {
            return word;
        }
    }
}

const NOTHING_LOST: Option<LastWord> = Some(LastWord { lost: 0, evicted: false });

#[test]
fn the_door_is_its_owners_and_goes_with_the_validator() {
    let directory = tempfile::tempdir().unwrap();
    // Left by a killed predecessor.
    std::fs::write(directory.path().join("door.sock"), "").unwrap();
    let (door, _tap, path) = door(directory.path());
    let metadata = std::fs::metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    drop(door);
    assert!(!path.exists());
}

#[test]
fn a_path_longer_than_a_socket_name_is_no_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("d".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    let (_door, _tap, path) = door(&deep);
    assert_eq!(connect(&path, &REQUEST).unwrap().hello(), &about());
}

#[test]
fn one_capture_at_a_time_and_the_next_after_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let (_door, _tap, path) = door(directory.path());
    let mut first = connect(&path, &REQUEST).unwrap();
    let refused = connect(&path, &REQUEST).err().unwrap();
    assert!(refused.code() == 1 && refused.to_string().contains("another capture"), "{refused}");
    first.hang_up();
    assert_eq!(until_end(&mut first), NOTHING_LOST, "a capture that hangs up hears the last word");
    let mut second = connect(&path, &REQUEST).unwrap();
    second.hang_up();
    until_end(&mut second);
}

#[test]
fn a_capture_that_vanishes_frees_the_tap() {
    let directory = tempfile::tempdir().unwrap();
    let (_door, _tap, path) = door(directory.path());
    drop(connect(&path, &REQUEST).unwrap());
    // The door looks every 2 ms; until then the tap is taken. The wait is bounded by the test runner.
    while connect(&path, &REQUEST).is_err() {
        std::thread::yield_now();
    }
}

#[test]
fn a_validator_that_stops_ends_its_captures() {
    let directory = tempfile::tempdir().unwrap();
    let (door, _tap, path) = door(directory.path());
    let mut source = connect(&path, &REQUEST).unwrap();
    let ended = std::thread::spawn(move || until_end(&mut source));
    drop(door);
    assert_eq!(ended.join().unwrap(), NOTHING_LOST);
    let gone = connect(&path, &REQUEST).err().unwrap();
    assert!(gone.code() == 2 && gone.to_string().contains("a running validator"), "{gone}");
}

#[test]
fn a_capture_that_takes_nothing_loses_its_place_and_one_with_nothing_to_take_keeps_it() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut tap) = (directory.path().join("door.sock"), Tap::default());
    let patience = Patience { taking: Duration::ZERO, ..Patience::default() };
    let _door = Door::with_patience(&path, vec![tap.handle()], about(), patience).unwrap();
    let mut datagram = |count: usize| {
        tap.refresh();
        (0..count).for_each(|_| tap.leaving_session(([10, 0, 0, 1], 7).into(), &[1; 90]));
    };
    let mut stopped = connect(&path, &REQUEST).unwrap();
    assert!(connect(&path, &REQUEST).err().unwrap().to_string().contains("another capture"), "nothing was there to be taken");
    datagram(1);
    while match stopped.next_record().unwrap() {
        Next::Record(..) => false,
        Next::Quiet => true,
        Next::End(_) => panic!("an idle capture lost its place"),
    } {}
    // From here on it reads no more.
    let began = Instant::now();
    while connect(&path, &REQUEST).is_err() {
        assert!(began.elapsed() < Duration::from_secs(60), "a capture that takes nothing keeps its place");
        datagram(100);
    }
}

/// With no patience left at the stop nothing is sent after it; without a deadline all would be.
#[test]
fn a_client_that_reads_steadily_does_not_hold_a_stop() {
    const RECORDS: usize = 4_000;
    let directory = tempfile::tempdir().unwrap();
    let (path, mut tap) = (directory.path().join("door.sock"), Tap::default());
    let patience = Patience { stop: Duration::ZERO, ..Patience::default() };
    let door = Door::with_patience(&path, vec![tap.handle()], about(), patience).unwrap();
    let request = Request { snaplen: 2048, ring_bytes: 8 << 20, ..REQUEST };
    let mut source = connect(&path, &request).unwrap();
    tap.refresh();
    (0..RECORDS).for_each(|_| tap.leaving_session(([10, 0, 0, 1], 7).into(), &[1; 1400]));
    // The stop removes the path after it began; what is read from then on is all that the socket held.
    let reading = std::thread::spawn(move || {
        let began = Instant::now();
        while path.exists() {
            assert!(began.elapsed() < Duration::from_secs(60), "no stop");
            std::thread::yield_now();
        }
        let mut records = 0;
        loop {
            match source.next_record().unwrap() {
                Next::Record(..) => records += 1,
                Next::Quiet => {}
                Next::End(word) => return (records, word),
            }
        }
    });
    drop(door);
    let (records, word) = reading.join().unwrap();
    assert!(records < RECORDS / 2, "{records} of {RECORDS} records went out after the stop");
    assert!(word.is_none_or(|word| word.lost as usize + records == RECORDS), "{word:?} after {records}");
}

fn received(lost_before: u32) -> RecordHeader {
    RecordHeader { direction: Direction::Received as u8, lost_before: U32::new(lost_before), ..RecordHeader::new_zeroed() }
}

/// A validator that answers with a record and then `last`.
fn captured(last: &[u8]) -> (super::writer::Totals, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let (path, out) = (directory.path().join("door.sock"), directory.path().join("out.pcapng"));
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let answer = [serde_json::to_string(&about()).unwrap().as_bytes(), b"\n", received(5).as_bytes(), last].concat();
    let validator = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        // Unread bytes would make the end a reset.
        let mut request = [0; 1];
        while request != *b"\n" {
            client.read_exact(&mut request).unwrap();
        }
        client.write_all(&answer).unwrap();
    });
    let mut source = connect(&path, &REQUEST).unwrap();
    let ends = Ends::begin(Arc::new(AtomicBool::new(false)), None, None);
    let totals = super::writer::write(&mut source, super::writer::create(&out).unwrap(), false, 100, ends).unwrap();
    validator.join().unwrap();
    (totals, std::fs::read(out).unwrap())
}

#[test]
fn losses_that_nobody_told_are_unknown_and_no_number_in_the_file() {
    // isb_ifdrop: code 5, eight bytes.
    let drops = |file: &[u8]| file.windows(12).filter(|window| window[..4] == [5, 0, 8, 0]).map(|window| window[4]).collect::<Vec<_>>();
    let (told, file) = captured(LastWord { lost: 9, evicted: false }.record().as_bytes());
    assert_eq!((told.packets(), told.lost, told.ended_by, drops(&file)), (1, Some(9), "the validator's end", vec![9]));
    let (evicted, file) = captured(LastWord { lost: 9, evicted: true }.record().as_bytes());
    assert!(evicted.ended_by.starts_with("evicted") && drops(&file) == [9], "{evicted:?}");
    for cut in [&[][..], &received(0).as_bytes()[..20]] {
        let (untold, file) = captured(cut);
        assert_eq!((untold.packets(), untold.lost, drops(&file)), (1, None, vec![]));
        assert_eq!(untold.ended_by, "the connection closed without a last word");
    }
}

#[test]
fn a_file_that_was_there_is_made_anew_and_who_holds_the_old_one_reads_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("old.pcapng");
    std::fs::write(&path, "old").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let mut held = std::fs::File::open(&path).unwrap();
    super::writer::create(&path).unwrap().write_all(b"plaintext").unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut read = String::new();
    held.read_to_string(&mut read).unwrap();
    assert_eq!((read.as_str(), std::fs::read(&path).unwrap().as_slice()), ("old", &b"plaintext"[..]));
}

#[test]
fn links_pipes_devices_and_directories_are_not_written_to() {
    use rustix::fs::{CWD, Mode, mkfifoat};
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("theirs"), "theirs").unwrap();
    std::os::unix::fs::symlink(path("theirs"), path("link")).unwrap();
    std::os::unix::fs::symlink(path("nowhere"), path("dangling")).unwrap();
    mkfifoat(CWD, path("pipe"), Mode::RWXU).unwrap();
    for (out, what) in [
        (path("link"), "a symbolic link"),
        (path("dangling"), "a symbolic link"),
        (path("pipe"), "no regular file"),
        (directory.path().to_owned(), "no regular file"),
        ("/dev/null".into(), "no regular file"),
    ] {
        let before = std::fs::symlink_metadata(&out).unwrap().file_type();
        for refused in [super::writer::check(&out).err(), super::writer::create(&out).err()] {
            let refused = refused.unwrap_or_else(|| panic!("{} is taken", out.display()));
            assert!(refused.code() == 2 && refused.to_string().contains(what), "{refused}");
        }
        assert_eq!(std::fs::symlink_metadata(&out).unwrap().file_type(), before);
    }
    assert_eq!(std::fs::read(path("theirs")).unwrap(), b"theirs");
    assert!(!path("nowhere").exists());
}

#[test]
fn the_time_of_a_capture_may_be_longer_than_any_clock() {
    let after = |duration| Ends::begin(Arc::new(AtomicBool::new(false)), Some(duration), None).reached(0);
    assert_eq!((after(Duration::ZERO), after(Duration::MAX)), (Some("the time asked for"), None));
}

#[test]
fn a_stop_waits_for_nobody_who_says_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (door, _tap, path) = door(directory.path());
    let silent: Vec<_> = (0..3).map(|_| UnixStream::connect(&path).unwrap()).collect();
    (&silent[1]).write_all(b"{").unwrap();
    // The door takes connections in turn: now it has taken these.
    drop(connect(&path, &REQUEST).unwrap());
    let began = Instant::now();
    drop(door);
    // A request has 5 s; the stop comes at the next look.
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[test]
fn nonsense_at_the_door_is_answered_with_one_line_or_an_end() {
    let directory = tempfile::tempdir().unwrap();
    let (_door, _tap, path) = door(directory.path());
    let answer = |request: &[u8]| {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(request).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    for bad in [&b"hello\n"[..], b"{}\n", b"\xff\xfe\n", br#"{"opened":1}"#] {
        let answer = answer(bad);
        assert!(answer.is_empty() || answer.starts_with("{\"error\":\"not a request"), "{answer}");
    }
    assert_eq!(answer(&vec![b'x'; 70_000]), "", "a line without an end");
    for (key, request) in [
        ("snaplen", Request { snaplen: 0, ..REQUEST }),
        ("snaplen", Request { snaplen: 4096, ..REQUEST }),
        ("ring", Request { ring_bytes: 1, ..REQUEST }),
        ("ring", Request { ring_bytes: u64::MAX, ..REQUEST }),
    ] {
        let refused = connect(&path, &request).err().unwrap().to_string();
        assert!(refused.contains(key) && refused.contains("allowed is"), "{refused}");
    }
    connect(&path, &REQUEST).unwrap();
}

#[test]
fn records_are_split_at_every_cut_and_an_impossible_one_is_refused() {
    let mut header = RecordHeader { stored: U32::new(5), ..RecordHeader::new_zeroed() };
    let bytes = [header.as_bytes(), &[1, 2, 3, 4, 5, 99][..]].concat();
    for cut in 0..RECORD_BYTES + 5 {
        assert_eq!(split_record(&bytes[..cut]), Ok(None));
    }
    let (read, datagram) = split_record(&bytes).unwrap().unwrap();
    assert_eq!((read, datagram, record_bytes(datagram)), (header, &[1, 2, 3, 4, 5][..], RECORD_BYTES + 5));
    header.stored = U32::new(SNAPLEN_MAX as u32 + 1);
    assert!(split_record(header.as_bytes()).is_err());
    for word in [LastWord { lost: 7, evicted: false }, LastWord { lost: 0, evicted: true }] {
        let (header, _) = split_record(word.record().as_bytes()).unwrap().map(|(header, rest)| (header, rest.len())).unwrap();
        assert_eq!(LastWord::of(&header), Some(word));
    }
}

#[test]
fn comments_say_what_the_validator_knew() {
    let with = |verdict: u8, reason: u8, kind: u8, peer: u16, sent| {
        comment(&RecordHeader { verdict, reason, kind, peer: U16::new(peer), ..RecordHeader::new_zeroed() }, sent)
    };
    let vote = MessageKind::Vote as u8;
    assert_eq!(with(Verdict::Message as u8, 0, vote, 3, false), "vote from validator 3");
    assert_eq!(with(Verdict::Message as u8, 0, vote, 3, true), "vote to validator 3");
    assert_eq!(with(Verdict::Session as u8, 0, 0, NO_PEER, true), "session");
    assert_eq!(with(Verdict::Dropped as u8, DropReason::Replayed as u8, 0, NO_PEER, false), "dropped: replayed");
    assert_eq!(with(Verdict::Refused as u8, ClassReject::Rate as u8, vote, 2, false), "vote refused: rate from validator 2");
    assert_eq!(with(Verdict::Dropped as u8, 255, 0, NO_PEER, false), "dropped: unknown");
    assert_eq!(with(9, 0, 0, NO_PEER, false), "unknown");
}

#[test]
fn waiting_for_a_validator_ends_when_the_time_is_over_or_with_a_signal() {
    let directory = tempfile::tempdir().unwrap();
    let looks = std::cell::Cell::new(0);
    let find = || {
        looks.set(looks.get() + 1);
        Ok(directory.path().join("door.sock"))
    };
    let refused = |wait, signalled| {
        looks.set(0);
        let code = Source::connect(find, &REQUEST, Some(wait), &AtomicBool::new(signalled)).err().unwrap().code();
        (code, looks.get())
    };
    assert_eq!(refused(Duration::from_secs(10), true), (2, 1), "a signal ends the wait at the next look");
    let (code, looks) = refused(Duration::from_millis(30), false);
    assert!(code == 2 && looks > 1, "{looks} looks");
}
