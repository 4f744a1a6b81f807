use super::*;
use crate::config::Layout;
use crate::metrics::Published;
use std::io::{Read, Write};
use std::net::TcpStream as Client;

fn endpoint(directory: &Path) -> Endpoint {
    let layout = Layout::new(directory);
    let source = Source::new(Arc::<Published>::default(), Arc::default(), layout, "chain".into());
    Endpoint::start(SocketAddr::from(([127, 0, 0, 1], 0)), directory, source)
}

fn address(endpoint: &Endpoint) -> SocketAddr {
    endpoint.address().expect("a free address is served at once")
}

/// Everything the endpoint says before it closes.
fn ask(endpoint: &Endpoint, request: &[u8]) -> String {
    ask_and(endpoint, request, |_| ())
}

fn ask_and(endpoint: &Endpoint, request: &[u8], then: fn(&Client)) -> String {
    let mut client = Client::connect(address(endpoint)).unwrap();
    // The endpoint may close before it has read all.
    let _ = client.write_all(request);
    then(&client);
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn it_serves_before_anything_is_published_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = endpoint(directory.path());
    let url = std::fs::read_to_string(directory.path().join(URL_FILE)).unwrap();
    assert_eq!(url, format!("http://{}/metrics\n", address(&endpoint)));
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
    let silent: Vec<_> = (0..3 * CONNECTIONS_MAX).map(|_| Client::connect(address(&endpoint)).unwrap()).collect();
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
fn half_a_request_on_every_connection_keeps_nobody_out() {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = endpoint(directory.path());
    let half = || {
        let mut client = Client::connect(address(&endpoint)).unwrap();
        client.write_all(b"GET /metrics HT").unwrap();
        client
    };
    let mut slow: Vec<Client> = (0..CONNECTIONS_MAX).map(|_| half()).collect();
    assert!(ask(&endpoint, b"GET /metrics HTTP/1.0\r\n\r\n").contains("200 OK"));
    // The oldest made room: its connection ends, long before its lease does.
    slow[0].set_read_timeout(Some(LEASE / 2)).unwrap();
    let end = slow[0].read(&mut [0; 16]);
    assert!(!matches!(&end, Err(error) if error.kind() == io::ErrorKind::WouldBlock), "it is still open");
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    slow.extend((0..CONNECTIONS_MAX).map(|_| half()));
    let answer = ask(&endpoint, b"GET /metrics HTTP/1.0\r\n\r\n");
    assert!(answer.contains("200 OK"), "{answer:?}");
}

/// Unanswered now and then, more often the later the endpoint came: it read the end of the half behind the question.
#[test]
fn who_closes_its_half_after_asking_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = endpoint(directory.path());
    let half_closed = |client: &Client| client.shutdown(std::net::Shutdown::Write).unwrap();
    for request in [b"GET /metrics HTTP/1.0\r\n\r\n".as_slice(), b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"] {
        for ask in 0..100 {
            let answer = ask_and(&endpoint, request, half_closed);
            assert!(answer.contains("200 OK") && answer.contains("samara_host_softnet_squeezed_total"), "ask {ask}: {answer:?}");
        }
    }
}

#[test]
fn an_address_in_use_is_waited_for_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = other.local_addr().unwrap();
    // Left by a process that was killed, and somebody else's by now.
    std::fs::write(directory.path().join(URL_FILE), format!("http://{listen}/metrics\n")).unwrap();
    let source = Source::new(Arc::<Published>::default(), Arc::default(), Layout::new(directory.path()), String::new());
    let endpoint = Endpoint::start(listen, directory.path(), source);
    assert_eq!(endpoint.address(), None);
    assert!(!directory.path().join(URL_FILE).exists(), "the address is not this validator's");
    drop(other);
    let deadline = Instant::now() + Duration::from_secs(60);
    // Asked of the file, not of the port: who connects to a free port again and again meets himself.
    while !directory.path().join(URL_FILE).exists() {
        assert!(Instant::now() < deadline, "it does not listen");
        std::thread::yield_now();
    }
    let mut client = Client::connect(listen).unwrap();
    client.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    let failures = text.lines().find_map(|line| line.strip_prefix("samara_endpoint_failures_total ")?.parse::<f64>().ok());
    assert!(failures.is_some_and(|failures| failures >= 1.0), "{text}");
}

#[test]
fn whoever_asks_without_end_gets_one_picture_for_a_while() {
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new(Arc::<Published>::default(), Arc::default(), Layout::new(directory.path()), String::new());
    let place =
        Place { listen: SocketAddr::from(([127, 0, 0, 1], 0)), url_file: directory.path().join(URL_FILE), failures: AtomicU64::new(0) };
    let studio = Arc::new(Mutex::new(Studio { source, place, last: None }));
    let first = taken(&studio);
    lock(&studio).last.as_mut().unwrap().0 = Instant::now();
    assert!(Arc::ptr_eq(&first, &taken(&studio)));
    lock(&studio).last.as_mut().unwrap().0 = Instant::now() - MADE_EVERY;
    assert!(!Arc::ptr_eq(&first, &taken(&studio)));
}
