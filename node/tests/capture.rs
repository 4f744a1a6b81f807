//! `samara capture` and `samara replay` on real processes: what was captured leads a machine to the same chain, old datagrams are refused, and a
//! capture that is killed leaves nothing on.

use samara_dataplane::tap::{OPENED, Trailer, Verdict};
use samara_node::capture::{Interface, Packet, Pcapng, open_capture, unwrap};
use samara_node::genesis::Genesis;
use samara_node::load::engine::{Engine, Gauges, Plan};
use samara_node::load::source::Content;
use samara_node::localnet::cluster::{Cluster, ask_status};
use samara_types::MessageKind;
use samara_types::datagram::{DATAGRAM_VERSION, DatagramType};
use serde_json::Value;
use std::fs::File;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

const PATIENCE: Duration = Duration::from_secs(60);

fn samara(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_samara")).args(arguments).output().unwrap()
}

fn document(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Waits for something that must come.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Six validators, none of which runs yet.
struct Six {
    cluster: Cluster<'static>,
    genesis: Genesis,
    directory: tempfile::TempDir,
    _turn: File,
}

impl Six {
    fn new(base_port: u16) -> Six {
        // One cluster at a time on this host, whoever runs the tests.
        let turn = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster.lock")).unwrap();
        turn.lock().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let made = samara(&[
            "genesis",
            "--validators",
            "6",
            "--base-port",
            &base_port.to_string(),
            "--idle-interval-ms",
            "50",
            "--out",
            text(directory.path()),
        ]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let genesis = Genesis::load(&directory.path().join("genesis.toml")).unwrap();
        let cluster = Cluster::new(env!("CARGO_BIN_EXE_samara").into(), directory.path(), &genesis, vec![]);
        Six { cluster, genesis, directory, _turn: turn }
    }

    fn start(&mut self, seats: impl IntoIterator<Item = usize>) {
        seats.into_iter().for_each(|seat| self.cluster.start(seat).unwrap());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Durable height of validator 0.
    fn height(&self) -> u64 {
        ask_status(self.genesis.addresses[0].client).map_or(0, |(_, height)| height)
    }

    fn wait_for_height(&mut self, height: u64) {
        until("the chain", || {
            self.cluster.check_alive().unwrap();
            self.height() >= height
        });
    }

    /// Starts a capture of validator 0 and waits until it is attached: the file begins when the validator answers.
    fn capture(&self, file: &str, arguments: &[&str]) -> Child {
        let child = self.spawn_capture(file, arguments);
        until("the capture", || std::fs::metadata(self.path(file)).is_ok_and(|metadata| metadata.len() > 0));
        child
    }

    fn spawn_capture(&self, file: &str, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_samara"))
            .args(["capture", "--dir", text(&self.path("validator-0")), "--out", text(&self.path(file)), "--json", "--wait", "30s"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Digests of the chain in a directory, in height order.
    fn chain(&self, directory: &Path) -> Vec<String> {
        let document = document(&samara(&["inspect", "chain", "--dir", text(directory), "--json"]));
        document["blocks"].as_array().unwrap().iter().map(|block| block["digest"].as_str().unwrap().to_string()).collect()
    }

    /// Transactions of random content through all doors for a while.
    fn load(&self, tps: u64, count: u64) {
        let doors = self.genesis.addresses.iter().map(|addresses| addresses.client).collect();
        let content = Content::Random { tx_size: 700, seed: 11 };
        let plan = Plan { chain: self.genesis.chain, doors, tps, count: Some(count), content, senders: 1 };
        let outcome = Engine::new(plan, Arc::new(Gauges::default())).run(|| true, PATIENCE);
        assert_eq!((outcome.finalized, outcome.unanswered), (count, 0), "{:?}", outcome.rejected);
    }

    fn drops(&self) -> u64 {
        let Ok(bytes) = std::fs::read(self.path("validator-0/metrics.json")) else { return 0 };
        let Ok(metrics) = serde_json::from_slice::<Value>(&bytes) else { return 0 };
        let drops = metrics["node"]["drops"].as_object().or(metrics["drops"].as_object()).expect("drops by reason");
        drops.iter().filter(|(reason, _)| reason.starts_with("session_")).map(|(_, count)| count.as_u64().unwrap()).sum()
    }
}

fn interrupt(child: &Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Datagrams of a file: opened ones and others, by direction.
fn datagrams(path: &Path) -> [[usize; 2]; 2] {
    let mut capture = open_capture(path).unwrap();
    let mut counts = [[0; 2]; 2];
    while let Some(captured) = capture.next_packet().unwrap() {
        let (_, _, datagram, whole) = unwrap(&captured.packet).expect("an IP packet with a datagram");
        assert!(whole && captured.packet.len() == captured.wire_len && !captured.comment.is_empty());
        let opened = datagram[1] & OPENED != 0;
        counts[usize::from(captured.sent.unwrap())][usize::from(opened)] += 1;
    }
    counts
}

#[test]
fn a_capture_from_the_beginning_leads_the_machine_to_the_same_chain_at_any_speed() {
    let mut six = Six::new(24_800);
    six.start([0]);
    let capture = six.capture("all.pcapng", &["--decrypted", "--ring", "32M"]);
    six.start(1..6);
    six.wait_for_height(20);
    six.load(400, 1_200);
    let seen = six.height();
    interrupt(&capture);
    let summary = document(&capture.wait_with_output_now());
    assert_eq!((summary["lost"].as_u64(), summary["ended_by"].as_str()), (Some(0), Some("stopped")), "{summary}");
    assert_eq!(six.cluster.stop(), Vec::<String>::new(), "clean ends");
    let file = six.path("all.pcapng");
    let [received, sent] = datagrams(&file);
    assert!(received[1] > 1_000 && sent[1] > 1_000 && received[0] > 0, "messages both ways, and handshakes: {received:?} {sent:?}");
    let live = six.chain(&six.path("validator-0"));
    let genesis = six.path("genesis.toml");
    let into = six.path("replayed");
    let replay =
        |arguments: &[&str]| document(&samara(&[&["replay", text(&file), "--genesis", text(&genesis), "--json"], arguments].concat()));
    let outcome = replay(&["--into", text(&into)]);
    let replayed = six.chain(&into);
    assert!(replayed.len() as u64 >= seen, "{} blocks of at least {seen}: {outcome}", replayed.len());
    assert_eq!(replayed[..], live[..replayed.len()], "the same chain");
    assert!(outcome["own_blocks"].as_u64() > Some(0) && outcome["syncs_wanted"] == 0, "{outcome}");
    assert_eq!(outcome["evidence"].as_object().map(serde_json::Map::len), Some(0), "{outcome}");
    let paced = replay(&["--speed", "50"]);
    for key in ["tip", "messages", "finalized_blocks", "rejects", "unheard", "nullified_views"] {
        assert_eq!(paced[key], outcome[key], "{key} does not depend on the pace");
    }
    // What was replayed is no validator's directory, and a validator's is refused.
    let refused = samara(&["replay", text(&file), "--genesis", text(&genesis), "--into", text(&six.path("validator-1"))]);
    let line = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && line.contains("--into") && line.lines().count() == 1, "{line}");
    let again = samara(&["replay", text(&file), "--genesis", text(&genesis), "--into", text(&into)]);
    assert_eq!(again.status.code(), Some(2), "a chain is not replayed into twice");
}

#[test]
fn a_running_validator_refuses_its_own_past() {
    let mut six = Six::new(24_830);
    six.start(0..6);
    six.wait_for_height(5);
    let child = six.capture("past.pcapng", &["--packets", "600", "--direction", "in"]);
    let summary = document(&child.wait_with_output_now());
    assert_eq!((summary["packets"].as_u64(), summary["sent"].as_u64()), (Some(600), Some(0)), "{summary}");
    let file = six.path("past.pcapng");
    assert_eq!(datagrams(&file), [[600, 0], [0, 0]], "sealed, and received only");
    let height = six.height();
    six.wait_for_height(height + 1);
    let before = six.drops();
    let to = six.genesis.addresses[0].datagram.to_string();
    let replayed = document(&samara(&["replay", text(&file), "--to", &to, "--speed", "4", "--json"]));
    assert_eq!((replayed["sent"].as_u64(), replayed["refused"].as_u64()), (Some(600), Some(0)));
    until("600 drops by the session layer", || six.drops() >= before + 600);
    assert_eq!(six.drops(), before + 600, "each is dropped once");
    let height = six.height();
    six.wait_for_height(height + 5);
    let evidence = document(&samara(&["inspect", "evidence", "--dir", text(&six.path("validator-0")), "--json"]));
    assert_eq!(evidence["evidence"].as_array().map(Vec::len), Some(0));
    assert_eq!(six.cluster.stop(), Vec::<String>::new());
}

#[test]
fn a_killed_capture_turns_the_tap_off_and_a_killed_validator_leaves_a_readable_file() {
    let mut six = Six::new(24_860);
    six.start(0..6);
    six.wait_for_height(5);
    let mut killed = six.capture("killed.pcapng", &["--decrypted"]);
    let second =
        samara(&["capture", "--dir", text(&six.path("validator-0")), "--out", text(&six.path("second.pcapng")), "--duration", "1s"]);
    let line = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(second.status.code() == Some(1) && line.contains("another capture"), "{line}");
    killed.kill().unwrap();
    killed.wait().unwrap();
    let height = six.height();
    six.wait_for_height(height + 5);
    let log = || std::fs::read_to_string(six.path("validator-0/log")).unwrap();
    until("the end of the capture in the validator's log", || log().contains("capture ends"));
    let last = six.capture("last.pcapng", &["--filter", "vote,certificate"]);
    six.wait_for_height(height + 10);
    six.cluster.kill(0);
    let ended = last.wait_with_output_now();
    let line = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.code() == Some(1) && line.contains("losses unknown") && line.lines().count() == 1, "{line}");
    let summary: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert!(summary["ended_by"] == "the connection closed without a last word" && summary["lost"].is_null(), "{summary}");
    let [received, sent] = datagrams(&six.path("last.pcapng"));
    assert!(received[0] + sent[0] > 0 && received[1] + sent[1] == 0);
    // The killed validator left its socket behind; its successor opens the door again. Waiting for it is no part of a capture's time.
    let waiting = six.spawn_capture("waiting.pcapng", &["--duration", "1ms"]);
    six.start([0]);
    assert_eq!(document(&waiting.wait_with_output_now())["ended_by"], "the time asked for");
    let child = six.capture("successor.pcapng", &["--packets", "20"]);
    assert_eq!(document(&child.wait_with_output_now())["packets"], 20);
    assert_eq!(six.cluster.stop(), Vec::<String>::new());
}

#[test]
fn captures_and_replays_that_cannot_be_are_refused_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let made = samara(&["genesis", "--validators", "6", "--out", text(directory.path())]);
    assert!(made.status.success());
    let [validator, genesis] = ["validator-0", "genesis.toml"].map(|name| directory.path().join(name));
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/wireshark/sample.pcapng");
    let out = directory.path().join("out.pcapng");
    let (link, pipe) = (directory.path().join("link.pcapng"), directory.path().join("pipe"));
    std::os::unix::fs::symlink(&sample, &link).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
    let (validator, genesis, sample, out) = (text(&validator), text(&genesis), text(&sample), text(&out));
    let cases: [(&[&str], &str); 18] = [
        (&["capture", "--dir", validator, "--out", out], "a running validator"),
        (&["capture", "--dir", "/nowhere", "--out", out], "--dir = /nowhere"),
        (&["capture", "--dir", validator, "--out", out, "--filter", "votes"], "--filter = votes"),
        (&["capture", "--dir", validator, "--out", out, "--snaplen", "0"], "--snaplen"),
        (&["capture", "--dir", validator, "--out", out, "--ring", "1"], "--ring = 1: allowed is 64K to 256M"),
        (&["capture", "--dir", validator, "--out", out, "--ring", "257M"], "--ring = 257M: allowed is 64K to 256M"),
        (&["capture", "--dir", validator, "--out", "-", "--json"], "--json"),
        (&["capture", "--dir", validator, "--out", text(&link)], "this is a symbolic link"),
        (&["capture", "--dir", validator, "--out", text(&pipe)], "- for a pipe"),
        (&["replay", text(&pipe), "--genesis", genesis], "a regular file"),
        (&["replay", text(&pipe), "--to", "127.0.0.1:9"], "a regular file"),
        (&["replay", sample], "--genesis"),
        (&["replay", "/nowhere.pcapng", "--genesis", genesis], "FILE = /nowhere.pcapng"),
        (&["replay", genesis, "--genesis", genesis], "no pcapng"),
        (&["replay", sample, "--genesis", genesis], "a capture of chain"),
        (&["replay", sample, "--genesis", genesis, "--speed", "0"], "--speed"),
        (&["replay", sample, "--to", "127.0.0.1:x"], "--to = 127.0.0.1:x: allowed is IP:PORT"),
        (&["replay", sample, "--to", "localhost:9"], "--to = localhost:9: allowed is IP:PORT"),
    ];
    for (arguments, expected) in cases {
        let output = samara(arguments);
        let line = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && line.lines().count() == 1 && line.contains(expected), "{arguments:?}: {line}");
    }
}

#[test]
fn datagrams_that_nobody_takes_are_all_sent_and_the_replay_fails() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/wireshark/sample.pcapng");
    let deaf = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let output = samara(&["replay", text(&sample), "--to", &deaf, "--json"]);
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && line.contains("nobody listens on") && line.lines().count() == 1, "{line}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let refused = document["refused"].as_u64().unwrap();
    assert!(document["sent"] == 4 && (1..=4).contains(&refused), "{document}");
    // The same to somebody who listens.
    let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
    listener.set_read_timeout(Some(PATIENCE)).unwrap();
    let to = listener.local_addr().unwrap().to_string();
    let taken = self::document(&samara(&["replay", text(&sample), "--to", &to, "--json"]));
    assert!(taken["sent"] == 4 && taken["refused"] == 0, "{taken}");
    let mut bytes = [0; 2048];
    let lengths: usize = (0..4).map(|_| listener.recv(&mut bytes).unwrap()).sum();
    assert_eq!(taken["bytes"], lengths);
}

/// A received datagram at each of `hours`.
fn capture_of(path: &Path, genesis: &Genesis, opened: bool, hours: &[u64]) {
    let comment = serde_json::json!({ "chain": samara_types::digest::hex(&genesis.chain.0), "seat": 0, "opened": opened }).to_string();
    let interface = Interface { name: "validator 0", description: "", comment: &comment, snaplen: 2048 };
    let mut file = Pcapng::begin(File::create(path).unwrap(), "a test", &interface).unwrap();
    let version = DATAGRAM_VERSION | if opened { OPENED } else { 0 };
    let vote = MessageKind::Vote;
    let front = [DatagramType::Data as u8, version, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, vote as u8, 0, 0, 0];
    let datagram = [&front[..], &[5; 136], Trailer::new(3, Verdict::Message, 0).as_bytes()].concat();
    let packet = Packet::new(([10, 0, 0, 1], 7000).into(), ([10, 0, 0, 2], 7000).into(), &datagram, datagram.len());
    for hour in hours {
        file.packet(hour * 3_600_000_000_000, &packet.bytes, packet.wire_len, false, 0, "").unwrap();
    }
}

#[test]
fn a_capture_with_a_jump_or_of_days_is_refused_before_anything_is_replayed() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    assert!(samara(&["genesis", "--validators", "6", "--out", text(directory.path())]).status.success());
    let genesis = Genesis::load(&path("genesis.toml")).unwrap();
    let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let to = listener.local_addr().unwrap().to_string();
    let days: Vec<u64> = (400..426).collect();
    for (name, hours, expected) in [("jump", &[400, 500][..], "silent for 3600 s at most"), ("days", &days, "lasting for 86400 s at most")]
    {
        let (sealed, opened, into) = (path(name), path(&format!("{name}-opened")), path(&format!("{name}-into")));
        capture_of(&sealed, &genesis, false, hours);
        capture_of(&opened, &genesis, true, hours);
        for arguments in [
            ["replay", text(&sealed), "--to", &to, "--speed", "max"],
            ["replay", text(&opened), "--genesis", text(&path("genesis.toml")), "--into", text(&into)],
        ] {
            let output = samara(&arguments);
            let line = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.code() == Some(2) && line.contains(expected) && line.lines().count() == 1, "{arguments:?}: {line}");
        }
        assert!(listener.recv(&mut [0; 2048]).is_err(), "{name}: nothing left");
        assert!(!into.exists(), "{name}: nothing was made");
    }
    // The same datagrams within an hour are sent.
    capture_of(&path("hour"), &genesis, false, &[400, 401]);
    assert_eq!(document(&samara(&["replay", text(&path("hour")), "--to", &to, "--json"]))["sent"], 2);
}

/// A child that must end soon.
trait WaitNow {
    fn wait_with_output_now(self) -> Output;
}

impl WaitNow for Child {
    fn wait_with_output_now(mut self) -> Output {
        until("the end of the capture", || self.try_wait().unwrap().is_some());
        self.wait_with_output().unwrap()
    }
}
