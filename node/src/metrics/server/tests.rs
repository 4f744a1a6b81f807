use super::*;
use crate::config::Layout;
use crate::metrics::Published;
use std::io::{Read, Write};
use std::net::TcpStream as Client;

fn endpoint(directory: &Path) -> Endpoint {
    let layout = Layout::new(directory);
    let source = Source::new(Arc::<Published>::default(), Arc::default(), layout, "chain".into());
    Endpoint::start(SocketAddr::from(([127, 0, 0, 1], 0)), directory, source).unwrap()
}

/// Everything the endpoint says before it closes.
fn ask(endpoint: &Endpoint, request: &[u8]) -> String {
    let mut client = Client::connect(endpoint.address()).unwrap();
    // The endpoint may close before it has read all.
    let _ = client.write_all(request);
    let _ = client.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn it_serves_before_anything_is_published_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = endpoint(directory.path());
    let url = std::fs::read_to_string(directory.path().join(URL_FILE)).unwrap();
    assert_eq!(url, format!("http://{}/metrics\n", endpoint.address()));
    let metrics = ask(&endpoint, b"GET /metrics HTTP/1.0\r\n\r\n");
    assert!(metrics.starts_with("HTTP/1.0 200") && metrics.contains("samara_session_datagrams_total 0"), "{metrics}");
    assert!(!metrics.contains("samara_finalized_height"), "absent, not zero: {metrics}");
    assert!(ask(&endpoint, b"GET /snapshot HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 503"));
    assert!(ask(&endpoint, b"GET /else HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 404"));
    drop(endpoint);
    assert!(!directory.path().join(URL_FILE).exists());
}

#[test]
fn garbage_endless_headers_and_silence_harm_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = endpoint(directory.path());
    let silent: Vec<_> = (0..CONNECTIONS_MAX - 2).map(|_| Client::connect(endpoint.address()).unwrap()).collect();
    assert!(ask(&endpoint, &[0xff; 5_000]).starts_with("HTTP/1.1 400"));
    let endless = [b"GET /metrics HTTP/1.1\r\nX: ".as_slice(), &vec![b'a'; 8 << 20]].concat();
    let refused = ask(&endpoint, &endless);
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 4"), "{refused}");
    assert!(ask(&endpoint, b"GET /metrics HTTP/1.0\r\n\r\n").contains("200 OK"));
    // Ends although connections are open.
    drop(endpoint);
    drop(silent);
}

#[test]
fn an_address_in_use_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = endpoint(directory.path());
    let layout = Layout::new(directory.path());
    let source = Source::new(Arc::<Published>::default(), Arc::default(), layout, String::new());
    let second = Endpoint::start(endpoint.address(), directory.path(), source);
    assert_eq!(second.err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
}
