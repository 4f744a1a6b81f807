//! `ops/wireshark/samara.lua` against the wire formats: its tables are those of the Rust types, and what it shows of a committed capture with one
//! packet of everything is a committed text.
//!
//! `SAMARA_APPROVE=1 cargo test -p samara-node --test dissector` writes the table, the capture and the text anew; the difference is the approval.

use samara_dataplane::class::ClassReject;
use samara_dataplane::session as wire;
use samara_dataplane::tap::{OPENED, Trailer, Verdict};
use samara_node::capture::{Interface, Packet, Pcapng, Statistics};
use samara_types::datagram::{
    DATAGRAM_BYTES_MAX, DATAGRAM_VERSION, DatagramType, INNER_HEADER_BYTES, OUTER_HEADER_BYTES, OuterHeader, TAG_BYTES,
};
use samara_types::message::*;
use samara_types::shred::{CHUNK_BYTES, SHRED_HEADER_BYTES, ShredHeader};
use std::fmt::Write as _;
use std::mem::offset_of;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromZeros, IntoBytes};

const BEGIN: &str = "-- BEGIN FORMAT";
const END: &str = "-- END FORMAT";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/wireshark")
}

fn approving() -> bool {
    std::env::var_os("SAMARA_APPROVE").is_some()
}

/// Compares with a committed file, or writes it.
fn assert_committed(name: &str, content: &[u8]) {
    let path = folder().join(name);
    if approving() {
        std::fs::write(&path, content).unwrap();
    }
    let committed = std::fs::read(&path).unwrap_or_default();
    if committed != content {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(str::to_string).collect::<Vec<_>>();
        let (want, is) = (text(&committed), text(content));
        let at = want.iter().zip(&is).position(|(want, is)| want != is).unwrap_or(want.len().min(is.len()));
        panic!("{name} differs from line {}:\n  committed {:?}\n  now       {:?}", at + 1, want.get(at), is.get(at));
    }
}

/// `{ size = 136, { "view", 0, 8, "u64" }, .. }` from the fields' places in a type.
macro_rules! layout {
    ($type:ty { $($field:ident $name:literal $kind:literal),* $(,)? }) => {{
        let mut text = format!("{{ size = {}", size_of::<$type>());
        $(
            let bytes = size_of_field(|value: &$type| &value.$field);
            write!(text, ", {{ \"{}\", {}, {bytes}, {} }}", $name, offset_of!($type, $field), $kind).unwrap();
        )*
        text + " }"
    }};
}

fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// The block between the marks: everything the dissector knows of the formats.
fn format_block() -> String {
    let mut lua = String::from("-- BEGIN FORMAT: a test writes this block from the wire types (node/tests/dissector.rs)\n");
    let numbers = [
        ("VERSION", usize::from(DATAGRAM_VERSION)),
        ("OPENED", usize::from(OPENED)),
        ("OUTER", OUTER_HEADER_BYTES),
        ("INNER", INNER_HEADER_BYTES),
        ("TAG", TAG_BYTES),
        ("DATAGRAM_MAX", DATAGRAM_BYTES_MAX),
        ("INIT", DatagramType::HandshakeInit as usize),
        ("RESPONSE", DatagramType::HandshakeResponse as usize),
        ("COOKIE", DatagramType::Cookie as usize),
        ("DATA", DatagramType::Data as usize),
        ("NOISE_INIT", wire::NOISE_INIT_BYTES),
        ("NOISE_RESPONSE", wire::NOISE_RESPONSE_BYTES),
        ("MAC", wire::MAC_BYTES),
        ("CHUNK_BYTES", CHUNK_BYTES),
        ("ROOT_BYTES", 32),
    ];
    numbers.iter().for_each(|(name, value)| writeln!(lua, "local {name} = {value}").unwrap());
    lua += "local TYPES = { [INIT] = \"handshake init\", [RESPONSE] = \"handshake response\", [COOKIE] = \"cookie\", [DATA] = \"data\" }\n";
    let lengths = [wire::INIT_BYTES, wire::RESPONSE_BYTES, wire::COOKIE_BYTES];
    writeln!(lua, "local LENGTHS = {{ [INIT] = {}, [RESPONSE] = {}, [COOKIE] = {} }}", lengths[0], lengths[1], lengths[2]).unwrap();
    lua += "local KINDS = {\n";
    for kind in MessageKind::ALL {
        writeln!(lua, "    [{}] = {{ \"{}\", \"{}\" }},", *kind as u8, kind.as_str(), kind.class().as_str()).unwrap();
    }
    lua += "}\n";
    let names = |name: &str, labels: &mut dyn Iterator<Item = (u8, &'static str)>| {
        let entries: Vec<_> = labels.map(|(byte, label)| format!("[{byte}] = \"{label}\"")).collect();
        format!("local {name} = {{ {} }}\n", entries.join(", "))
    };
    lua += &names("VERDICTS", &mut Verdict::ALL.into_iter().map(|verdict| (verdict as u8, verdict.as_str())));
    lua += &names("REFUSALS", &mut ClassReject::ALL.into_iter().map(|reason| (reason as u8, reason.as_str())));
    lua += "-- Name, offset, bytes, type; of a vector also the bytes of an element.\nlocal LAYOUTS = {\n";
    let layouts = [
        ("vote", layout!(ArchivedVote { view "view" "\"u64\"", digest "digest" "\"bytes\"", signature "signature" "\"bytes\"" })),
        ("nullify", layout!(ArchivedNullify { view "view" "\"u64\"", signature "signature" "\"bytes\"" })),
        (
            "certificate",
            layout!(ArchivedCertificate {
                view "view" "\"u64\"", digest "digest" "\"bytes\"", kind "certificate_kind" "\"u8\"", signature "signature" "\"bytes\"",
                signers "signers" "\"vec\", 1",
            }),
        ),
        (
            "shred_header",
            layout!(ShredHeader {
                view "view" "\"u64\"", slice "slice" "\"u16\"", index "shred" "\"u8\"", data "data_shreds" "\"u8\"",
                total "total_shreds" "\"u8\"", last "last_slice" "\"u8\"", code "code" "\"u8\"",
                payload_length "payload_length" "\"u32\"", signature "signature" "\"bytes\"",
            }),
        ),
        (
            "status",
            layout!(ArchivedStatus {
                view "view" "\"u64\"", finalized_view "finalized_view" "\"u64\"", finalized_height "finalized_height" "\"u64\"",
                finalized_digest "digest" "\"bytes\"",
            }),
        ),
        ("manifest_request", layout!(ArchivedManifestRequest { view "view" "\"u64\"", digest "digest" "\"bytes\"" })),
        ("manifest", layout!(ArchivedManifest { header "block_header" "\"vec\", 1", roots "slice_roots" "\"vec\", 32" })),
        (
            "shred_request",
            layout!(ArchivedShredRequest {
                view "view" "\"u64\"", slice "slice" "\"u16\"", root "slice_root" "\"bytes\"", wanted "wanted" "\"bytes\"",
            }),
        ),
        ("certificate_request", layout!(ArchivedCertificateRequest { from "from_view" "\"u64\"", to "to_view" "\"u64\"" })),
        ("transactions", layout!(ArchivedTransactionBatch { payload "payload" "\"vec\", 1" })),
    ];
    layouts.iter().for_each(|(name, layout)| writeln!(lua, "    {name} = {layout},").unwrap());
    lua + "}\n"
}

#[test]
fn the_dissectors_tables_are_those_of_the_wire_types() {
    let committed = std::fs::read_to_string(folder().join("samara.lua")).unwrap();
    let (before, rest) = committed.split_at(committed.find(BEGIN).expect("the mark"));
    let after = &rest[rest.find(END).expect("the mark")..];
    assert_committed("samara.lua", format!("{before}{}{after}", format_block()).as_bytes());
}

/// Every kind of message has a layout, or is one of the three that begin with a shred's header.
#[test]
fn every_kind_of_message_is_shown() {
    let block = format_block();
    for kind in MessageKind::ALL {
        let is_shred = [MessageKind::Shred, MessageKind::RepairShred, MessageKind::Announce].contains(kind);
        assert!(is_shred || block.contains(&format!("    {} = {{", kind.as_str())), "{}", kind.as_str());
    }
}

struct Sample {
    sent: bool,
    comment: &'static str,
    datagram: Vec<u8>,
}

fn outer(kind: DatagramType, version: u8, session: u32, counter: u64) -> Vec<u8> {
    let header = OuterHeader { kind: kind as u8, version, reserved: U16::new(0), receiver: U32::new(session), counter: U64::new(counter) };
    header.as_bytes().to_vec()
}

fn opened(sent: bool, kind: MessageKind, message: &[u8], verdict: Verdict) -> Sample {
    let mut datagram = outer(DatagramType::Data, DATAGRAM_VERSION | OPENED, 0x1122_3344, 5 + kind as u64);
    datagram.extend_from_slice(&[kind as u8, 0, 0, 0]);
    datagram.extend_from_slice(message);
    datagram.extend_from_slice(Trailer::new(3, verdict, u8::from(verdict == Verdict::Refused)).as_bytes());
    Sample { sent, comment: kind.as_str(), datagram }
}

/// Bytes that differ along the way, from a seed.
fn bytes(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| seed.wrapping_add((at % 251) as u8)).collect()
}

fn array<const N: usize>(seed: u8) -> [u8; N] {
    bytes(seed, N).try_into().unwrap()
}

fn shred(proof_levels: usize) -> Vec<u8> {
    let mut header = ShredHeader::new_zeroed();
    header.view = U64::new(7);
    header.slice = U16::new(2);
    (header.index, header.data, header.total, header.last) = (9, 32, 64, 1);
    header.payload_length = U32::new(32_768);
    header.signature = array(0x40);
    let mut message = header.as_bytes().to_vec();
    message.extend((0..proof_levels).flat_map(|level| bytes(0x80 + level as u8, 32)));
    message.extend(bytes(1, CHUNK_BYTES));
    assert_eq!(message.len(), SHRED_HEADER_BYTES + 32 * proof_levels + CHUNK_BYTES);
    message
}

/// One of everything.
fn samples() -> Vec<Sample> {
    use MessageKind::{Announce, Nullify as NullifyKind, RepairShred, Shred, Transactions, Vote as VoteKind};
    let sealed = |kind, len: usize, session, counter, comment| {
        let mut datagram = outer(kind, DATAGRAM_VERSION, session, counter);
        datagram.extend(bytes(len as u8, len - OUTER_HEADER_BYTES));
        Sample { sent: false, comment, datagram }
    };
    let whole = Verdict::Message;
    let mut payload = Vec::new();
    for seed in [1, 2] {
        samara_types::transaction::append(&mut payload, &samara_types::transaction::assemble(&array(seed), &array(seed), &bytes(seed, 20)));
    }
    let certificate =
        Certificate { view: 7, digest: array(3), kind: CertificateKind::L as u8, signature: array(4), signers: vec![0b11_1101, 0b1] };
    let manifest = Manifest { header: bytes(5, samara_types::BLOCK_HEADER_BYTES), roots: vec![array(6), array(7)] };
    let status = Status { view: 8, finalized_view: 7, finalized_height: 6, finalized_digest: array(3) };
    vec![
        sealed(DatagramType::HandshakeInit, wire::INIT_BYTES, 0, 77, "session"),
        sealed(DatagramType::HandshakeResponse, wire::RESPONSE_BYTES, 77, 0, "session"),
        sealed(DatagramType::Cookie, wire::COOKIE_BYTES, 77, 0, "session"),
        sealed(DatagramType::Data, 200, 0xa1b2_c3d4, 9, "dropped: bad_tag"),
        opened(false, VoteKind, &encode(&Vote { view: 7, digest: array(3), signature: array(8) }), whole),
        opened(true, NullifyKind, &encode(&Nullify { view: 7, signature: array(9) }), whole),
        opened(false, MessageKind::Certificate, &encode(&certificate), whole),
        opened(false, Announce, &[&shred(0)[..SHRED_HEADER_BYTES], &bytes(10, 32)].concat(), whole),
        opened(true, MessageKind::Status, &encode(&status), whole),
        opened(false, MessageKind::ManifestRequest, &encode(&ManifestRequest { view: 7, digest: array(3) }), whole),
        opened(false, MessageKind::Manifest, &encode(&manifest), whole),
        opened(false, MessageKind::ShredRequest, &encode(&ShredRequest { view: 7, slice: 2, root: array(11), wanted: array(12) }), whole),
        opened(false, MessageKind::CertificateRequest, &encode(&CertificateRequest { from: 5, to: 9 }), whole),
        opened(false, Shred, &shred(6), whole),
        opened(true, RepairShred, &shred(1), whole),
        opened(false, Transactions, &encode(&TransactionBatch { payload }), whole),
        opened(false, VoteKind, &encode(&Vote { view: 9, digest: array(3), signature: array(8) }), Verdict::Refused),
        opened(false, VoteKind, &bytes(1, 20), whole),
    ]
}

fn sample_file() -> Vec<u8> {
    let mut file = Vec::new();
    let comment = "{\"chain\":\"\",\"opened\":true,\"seat\":0}";
    let interface = Interface { name: "validator 0", description: "one packet of everything", comment, snaplen: 2096 };
    let mut out = Pcapng::begin(&mut file, "samara", &interface).unwrap();
    let (own, other) = (SocketAddr::from(([10, 0, 0, 1], 27_000)), SocketAddr::from(([10, 0, 0, 4], 27_009)));
    let samples = samples();
    for (at, sample) in (0..).zip(&samples) {
        let (from, to) = if sample.sent { (own, other) } else { (other, own) };
        let packet = Packet::new(from, to, &sample.datagram, sample.datagram.len());
        let unix_ns = 1_795_200_000_000_000_000 + at * 1_000;
        out.packet(unix_ns, &packet.bytes, packet.wire_len, sample.sent, 0, sample.comment).unwrap();
    }
    let times = (1_795_200_000_000_000_000, 1_795_200_000_000_020_000);
    out.statistics(Statistics { times, seen: Some(samples.len() as u64), lost: Some(0) }).unwrap();
    file
}

#[test]
fn the_committed_capture_is_what_is_written() {
    assert_committed("sample.pcapng", &sample_file());
}

/// Runs tshark with the dissector; None, with the reason printed, where there is none.
fn tshark(arguments: &[&str]) -> Option<String> {
    let lua = format!("lua_script:{}", folder().join("samara.lua").display());
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(folder().join("sample.pcapng")).args(["-X", &lua]).args(arguments);
    let output = match command.env("HOME", std::env::temp_dir()).output() {
        Ok(output) => output,
        Err(error) => {
            println!("SKIPPED: no tshark here ({error}); Debian has it in the package tshark");
            return None;
        }
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !errors.contains("Lua:"), "{errors}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// The lines of our layer only: those of the layers below are Wireshark's and differ between its versions.
#[test]
fn tshark_shows_every_message_as_the_committed_text() {
    let Some(all) = tshark(&["-O", "samara"]) else { return };
    let mut text = String::new();
    let mut ours = false;
    for line in all.lines() {
        ours = if line.starts_with(' ') { ours } else { line == "Samara" };
        if ours || line.starts_with("Frame") {
            text += if line.starts_with("Frame") { line.split(':').next().unwrap() } else { line };
            text += "\n";
        }
    }
    assert_committed("sample.txt", text.as_bytes());
}

#[test]
fn filters_find_messages_by_their_fields() {
    let count = |filter: &str| Some(tshark(&["-Y", filter])?.lines().count());
    let Some(all) = count("samara") else { return };
    assert_eq!(all, samples().len());
    for (filter, expected) in [
        ("samara.view == 7", 8),
        ("samara.kind == 1 && samara.opened == 1", 3),
        ("samara.class == \"critical\"", 5),
        ("samara.signer == 8", 1),
        ("samara.verdict == 3 && samara.reason == 1", 1),
        ("samara.malformed", 1),
        ("samara.type == 1", 1),
        ("samara.counter == 9 && samara.opened == 0", 1),
        ("samara.transaction", 1),
    ] {
        assert_eq!(count(filter), Some(expected), "{filter}");
    }
}

#[test]
fn columns_name_kind_view_and_peer() {
    let Some(columns) = tshark(&["-T", "fields", "-e", "_ws.col.Protocol", "-e", "_ws.col.Info"]) else { return };
    let lines: Vec<_> = columns.lines().collect();
    assert_eq!(lines[0], "Samara\thandshake init");
    assert_eq!(lines[3], "Samara\tsealed, session 0xa1b2c3d4, counter 9");
    assert_eq!(lines[4], "Samara\tvote view 7, validator 3");
    assert_eq!(lines[13], "Samara\tshred view 7, validator 3");
    assert_eq!(lines[16], "Samara\tvote view 9, validator 3, refused");
}
