//! Where the validators are, and one bounded HTTP request to one of them.

use super::MonitorArgs;
use super::reading::Reading;
use crate::exit::Exit;
use crate::genesis::{GENESIS_FILE, Genesis, validator_directory};
use crate::metrics::URL_FILE;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Longest answer that is read. A snapshot of a set of 300 is about 100 KiB.
pub const ANSWER_BYTES_MAX: u64 = 8 << 20;
/// How long one look may take, from connecting to the last byte.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// One validator to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `host:port` of its endpoint.
    Address(String),
    /// Its directory, which says where its endpoint is while it runs.
    Directory(PathBuf),
}

/// Why a look failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The directory names no endpoint: it does not run, or `metrics.listen` is not set.
    NoEndpoint,
    /// Nobody answers there.
    Unreachable,
    /// The answer did not end in time.
    Slow,
    /// The answer is longer than [`ANSWER_BYTES_MAX`].
    Endless,
    /// It runs and has published nothing yet.
    Starting,
    /// The answer is no snapshot.
    Garbage,
}

impl Fault {
    /// For people and scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::NoEndpoint => "no_endpoint",
            Fault::Unreachable => "unreachable",
            Fault::Slow => "slow",
            Fault::Endless => "endless",
            Fault::Starting => "starting",
            Fault::Garbage => "garbage",
        }
    }
}

/// The validators the arguments name.
pub fn targets(args: &MonitorArgs) -> Result<Vec<Target>, Exit> {
    if let Some(dir) = &args.dir {
        if dir.join(GENESIS_FILE).is_file() {
            let count = Genesis::load(&dir.join(GENESIS_FILE))?.set.len();
            return Ok((0..count).map(|index| Target::Directory(validator_directory(dir, index))).collect());
        }
        let is_validator = dir.join(crate::config::CONFIG_FILE).is_file();
        let allowed = "a localnet's directory (with genesis.toml) or a validator's (with samara.toml)";
        return is_validator.then(|| vec![Target::Directory(dir.clone())]).ok_or_else(|| Exit::bad("--dir", dir.display(), allowed));
    }
    args.url
        .iter()
        .map(|url| address_of(url).map(Target::Address).ok_or_else(|| Exit::bad("--url", url, "http://HOST:PORT/metrics")))
        .collect()
}

/// `host:port` of a URL, whatever its path.
fn address_of(url: &str) -> Option<String> {
    let rest = url.trim().strip_prefix("http://")?;
    let address = rest.split('/').next()?;
    let (host, port) = address.rsplit_once(':')?;
    (!host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)).then(|| address.to_string())
}

impl Target {
    /// How it is called until it says its seat.
    pub fn name(&self) -> String {
        match self {
            Target::Address(address) => address.clone(),
            Target::Directory(path) => {
                let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
                name.strip_prefix("validator-").unwrap_or(&name).to_string()
            }
        }
    }

    /// One look.
    pub fn look(&self) -> Result<Reading, Fault> {
        let address = match self {
            Target::Address(address) => address.clone(),
            // A validator that was started again may be elsewhere.
            Target::Directory(path) => {
                let url = std::fs::read_to_string(path.join(URL_FILE)).map_err(|_| Fault::NoEndpoint)?;
                address_of(&url).ok_or(Fault::NoEndpoint)?
            }
        };
        let answer = get(&address, PATIENCE)?;
        Reading::parse(&answer).ok_or(Fault::Garbage)
    }
}

/// The body of `/snapshot`.
fn get(address: &str, patience: Duration) -> Result<Vec<u8>, Fault> {
    let deadline = Instant::now() + patience;
    // A name may have several addresses, `localhost` ::1 first, and the endpoint listens on one of them.
    let addresses = address.to_socket_addrs().map_err(|_| Fault::Unreachable)?;
    let connect = |to| TcpStream::connect_timeout(&to, deadline.saturating_duration_since(Instant::now())).ok();
    let mut stream = addresses.into_iter().find_map(connect).ok_or(Fault::Unreachable)?;
    stream.set_write_timeout(Some(patience)).map_err(|_| Fault::Unreachable)?;
    let request = format!("GET /snapshot HTTP/1.0\r\nHost: {address}\r\nAccept: application/json\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|_| Fault::Unreachable)?;
    let mut answer = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        // An endpoint that sends a byte now and then does not get more time.
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            return Err(Fault::Slow);
        }
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&chunk[..count]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => return Err(Fault::Slow),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Fault::Unreachable),
        }
        if answer.len() as u64 > ANSWER_BYTES_MAX {
            return Err(Fault::Endless);
        }
    }
    body(&answer)
}

fn body(answer: &[u8]) -> Result<Vec<u8>, Fault> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or(Fault::Garbage)?;
    let status = answer.split(|byte| *byte == b' ').nth(1).ok_or(Fault::Garbage)?;
    match status {
        b"200" => Ok(answer[end + 4..].to_vec()),
        b"503" => Err(Fault::Starting),
        _ => Err(Fault::Garbage),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// An endpoint that answers whoever connects first with `answer`, repeated, until it is not read any more.
    fn answering(answer: &'static [u8], times: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            (0..times).try_for_each(|_| stream.write_all(answer))
        });
        address
    }

    #[test]
    fn an_endpoint_that_is_down_silent_endless_or_babbling_is_told_apart_and_bounded() {
        let look = |answer: &'static [u8], times| get(&answering(answer, times), PATIENCE);
        assert_eq!(look(b"HTTP/1.0 200 OK\r\n\r\n{}", 1), Ok(b"{}".to_vec()));
        assert_eq!(look(b"HTTP/1.0 503 no\r\n\r\nwait", 1), Err(Fault::Starting));
        assert_eq!(look(b"HTTP/1.0 404 no\r\n\r\n", 1), Err(Fault::Garbage));
        assert_eq!(look(b"\xff\xfe\x00 \r\n", 3), Err(Fault::Garbage));
        assert_eq!(look(b"", 1), Err(Fault::Garbage));
        assert_eq!(look(&[b'x'; 65_536], usize::MAX), Err(Fault::Endless));
        let closed = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string() };
        assert_eq!(get(&closed, PATIENCE), Err(Fault::Unreachable));
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(get(&silent.local_addr().unwrap().to_string(), Duration::from_millis(50)), Err(Fault::Slow));
        assert_eq!(Target::Address(answering(b"HTTP/1.0 200 OK\r\n\r\n[[[[", 1)).look().err(), Some(Fault::Garbage));
    }

    #[test]
    fn urls_are_hosts_and_ports() {
        assert_eq!(address_of("http://127.0.0.1:9/metrics\n").as_deref(), Some("127.0.0.1:9"));
        assert_eq!(address_of("http://[::1]:9").as_deref(), Some("[::1]:9"));
        for bad in ["127.0.0.1:9", "https://a:1/", "http://a/metrics", "http://:1", "http://a:0", "http://a:99999"] {
            assert_eq!(address_of(bad), None, "{bad}");
        }
    }
}
