//! The endpoint of a real validator in a running localnet: what Prometheus reads is well formed, and says what the chain did.

use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A localnet that runs until it is dropped.
struct Localnet {
    child: Child,
    directory: tempfile::TempDir,
    /// One cluster at a time on this host.
    _turn: File,
}

impl Localnet {
    fn start() -> Localnet {
        let turn = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster.lock")).unwrap();
        turn.lock().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let child = Command::new(env!("CARGO_BIN_EXE_samara"))
            .args(["localnet", "--duration", "120s", "--tps", "500", "--dir"])
            .arg(&data)
            .arg("--report")
            .arg(directory.path().join("report"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Localnet { child, directory, _turn: turn }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn url(&self, index: usize) -> String {
        let path = self.data().join(format!("validator-{index}/metrics.url"));
        until(|| std::fs::read_to_string(&path).ok().filter(|url| url.ends_with('\n'))).trim().to_string()
    }
}

impl Drop for Localnet {
    fn drop(&mut self) {
        // The kernel takes the validators along.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?}");
        std::thread::yield_now();
    }
}

/// Head and body of an answer.
fn get(url: &str, path: &str, accept: &str) -> (String, String) {
    let address = url.trim_start_matches("http://").trim_end_matches("/metrics");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_string(), body.to_string())
}

/// The value of a series without labels.
fn value(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

fn promtool(text: &str) {
    let spawned =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return println!("SKIPPED: promtool check metrics ({error}); Debian: apt-get install prometheus"),
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.is_empty(), "promtool: {said}");
}

#[test]
fn a_running_validator_is_scraped_and_what_it_says_grows_with_the_chain() {
    let net = Localnet::start();
    let url = net.url(2);
    let first = until(|| value(&get(&url, "/metrics", "*/*").1, "samara_finalized_height").filter(|height| *height > 20.0));
    let (head, text) = get(&url, "/metrics", "text/plain");
    assert!(head.contains("200 OK") && head.contains("text/plain; version=0.0.4"), "{head}");
    promtool(&text);
    until(|| value(&get(&url, "/metrics", "*/*").1, "samara_finalized_height").filter(|height| *height > first + 20.0));

    // Invariants of one scrape: the atomics are published together, the figures of a second ago together.
    let text = get(&url, "/metrics", "*/*").1;
    let of = |name: &str| value(&text, name).unwrap_or_else(|| panic!("no {name} in {text}"));
    let drops: f64 = text
        .lines()
        .filter(|line| line.starts_with("samara_session_drops_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert_eq!(of("samara_session_datagrams_total"), of("samara_session_messages_total") + of("samara_session_consumed_total") + drops);
    assert_eq!((of("samara_peers"), of("samara_quorum_weight{mark=\"l\"}")), (5.0, 5.0));
    assert_eq!(of("samara_view_seconds_bucket{le=\"+Inf\"}"), of("samara_view_seconds_count"));
    assert!(
        of("samara_resident_memory_bytes") > 1e6 && of("samara_disk_free_bytes") > 0.0 && of("samara_vote_log_sync_seconds_count") > 0.0
    );
    assert!(of("samara_final_certificate_weight") >= 5.0 && of("samara_transaction_latency_seconds_count") > 0.0);

    let (head, open) = get(&url, "/metrics", "application/openmetrics-text; version=1.0.0");
    assert!(head.contains("application/openmetrics-text") && open.ends_with("# EOF\n"), "{head}");
    assert!(open.contains("# TYPE samara_finalized_blocks counter\n") && text.contains("# TYPE samara_finalized_blocks_total counter\n"));

    let snapshot: Value = serde_json::from_str(&get(&url, "/snapshot", "*/*").1).unwrap();
    assert_eq!((snapshot["seat"].as_u64(), snapshot["marks"]["m"].as_u64()), (Some(2), Some(3)));
    let finals = snapshot["views"].as_array().unwrap().iter().filter(|view| view["final_us"].is_u64()).count();
    assert!(finals > 10, "{finals} of the latest views are final: {}", snapshot["views"]);
    let (code, document) = look_once(&["--dir", net.data().to_str().unwrap()]);
    assert_eq!((code, document["answering"].as_u64(), document["height_min"].is_u64()), (Some(0), Some(6), true), "{document}");
    let targets: Value = serde_json::from_slice(&std::fs::read(net.data().join("prometheus-targets.json")).unwrap()).unwrap();
    assert_eq!(targets.as_array().unwrap().len(), 6);
    assert_eq!(format!("http://{}/metrics", targets[2]["targets"][0].as_str().unwrap()), url);
}

/// `samara monitor --once --json`: its exit code and its document.
fn look_once(arguments: &[&str]) -> (Option<i32>, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_samara"));
    let output = command.args(["monitor", "--once", "--json"]).args(arguments).output().unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).expect("one JSON document"))
}

#[test]
fn a_validator_that_does_not_answer_ends_a_look_with_one() {
    let (code, document) = look_once(&["--url", "http://127.0.0.1:1/metrics"]);
    assert_eq!((code, document["answering"].as_u64()), (Some(1), Some(0)));
    assert_eq!(document["validators"][0]["fault"], "unreachable");
}
