//! A client of one door that writes down what it is told. Independent of the load generator, so that neither covers for the other.

use samara_crypto::{IdentitySecret, sign_transaction};
use samara_types::client::{Request, Response, read_response, split_frame, write_request};
use samara_types::digest::hex;
use samara_types::{ChainId, Transaction};
use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// View and durable height, if the door answers.
pub fn status(door: SocketAddr) -> Option<(u64, u64)> {
    let mut stream = TcpStream::connect_timeout(&door, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    let mut request = Vec::new();
    write_request(&mut request, 1, &Request::Status);
    stream.write_all(&request).ok()?;
    let mut inbox = Vec::new();
    loop {
        let mut chunk = [0; 256];
        let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
        inbox.extend_from_slice(&chunk[..count]);
        if let Some((_, _, kind, body)) = split_frame(&inbox).ok()? {
            let Response::Status { view, height } = read_response(kind, body).ok()? else { return None };
            return Some((view, height));
        }
    }
}

/// A transaction a door called final.
#[derive(Clone, Debug)]
pub struct Final {
    pub id: String,
    pub height: u64,
    pub index: u64,
}

/// What one client was told, and what it was told nothing about.
#[derive(Default)]
pub struct Told {
    pub finals: Vec<Final>,
    pub unanswered: Vec<Vec<u8>>,
}

/// One client for each door, at a steady rate.
pub struct Load {
    threads: Vec<JoinHandle<Told>>,
    finals: Arc<AtomicU64>,
    end: Arc<AtomicBool>,
}

impl Load {
    /// Every client sends one transaction each `pace`; those of `again` first.
    pub fn start(chain: ChainId, doors: &[SocketAddr], pace: Duration, again: Vec<Vec<u8>>) -> Load {
        let (finals, end) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut shares = vec![VecDeque::new(); doors.len()];
        again.into_iter().enumerate().for_each(|(at, bytes)| shares[at % doors.len()].push_back(bytes));
        let client = |(door, again): (&SocketAddr, VecDeque<Vec<u8>>)| {
            let (door, finals, end) = (*door, finals.clone(), end.clone());
            std::thread::spawn(move || Client::new(chain, again, pace).run(door, &finals, &end))
        };
        let threads = doors.iter().zip(shares).map(client).collect();
        Load { threads, finals, end }
    }

    /// Waits until so many transactions were called final.
    pub fn wait_for(&self, count: u64) {
        let deadline = Instant::now() + super::PATIENCE;
        while self.finals.load(Ordering::Relaxed) < count {
            let so_far = self.finals.load(Ordering::Relaxed);
            assert!(Instant::now() < deadline, "{so_far} transactions are final after {:?}, {count} were expected", super::PATIENCE);
            std::thread::park_timeout(Duration::from_micros(200));
        }
    }

    /// Offers nothing more; returns when every client has all its answers or its door is gone.
    pub fn end(self) -> Vec<Told> {
        self.end.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }
}

struct Client {
    chain: ChainId,
    secret: IdentitySecret,
    pace: Duration,
    again: VecDeque<Vec<u8>>,
    sent: u64,
    open: BTreeMap<u64, Vec<u8>>,
    told: Told,
}

impl Client {
    fn new(chain: ChainId, again: VecDeque<Vec<u8>>, pace: Duration) -> Client {
        Client { chain, secret: IdentitySecret::generate(), pace, again, sent: 0, open: BTreeMap::new(), told: Told::default() }
    }

    fn run(mut self, door: SocketAddr, finals: &AtomicU64, end: &AtomicBool) -> Told {
        // A door that is gone already gets nothing.
        if let Ok(stream) = TcpStream::connect(door) {
            self.talk(stream, finals, end);
        }
        self.told.unanswered.extend(self.open.into_values());
        self.told.unanswered.extend(self.again);
        self.told
    }

    fn talk(&mut self, mut stream: TcpStream, finals: &AtomicU64, end: &AtomicBool) {
        stream.set_nodelay(true).unwrap();
        let start = Instant::now();
        let (mut inbox, mut chunk) = (Vec::new(), vec![0; 65_536]);
        loop {
            let ending = end.load(Ordering::Relaxed);
            if ending && self.open.is_empty() {
                return;
            }
            let due = start + self.pace * self.sent as u32;
            if !ending && Instant::now() >= due && !self.submit(&mut stream) {
                return;
            }
            let wait = due.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            stream.set_read_timeout(Some(wait)).unwrap();
            match stream.read(&mut chunk) {
                Ok(0) => return,
                Ok(count) => inbox.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
                Err(_) => return,
            }
            self.take(&mut inbox, finals);
        }
    }

    /// False if the door is gone.
    fn submit(&mut self, stream: &mut TcpStream) -> bool {
        let bytes = self.again.pop_front().unwrap_or_else(|| sign_transaction(&self.chain, &self.secret, self.sent, &[7; 300]));
        let mut request = Vec::new();
        write_request(&mut request, self.sent, &Request::Submit(&bytes));
        self.open.insert(self.sent, bytes);
        self.sent += 1;
        stream.write_all(&request).is_ok()
    }

    fn take(&mut self, inbox: &mut Vec<u8>, finals: &AtomicU64) {
        let mut at = 0;
        while let Some((used, request, kind, body)) = split_frame(&inbox[at..]).expect("whole frames") {
            at += used;
            match read_response(kind, body).expect("a response") {
                Response::Finalized { height, index } => {
                    let bytes = self.open.remove(&request).expect("one last answer to each submission");
                    let id = hex(&Transaction::parse(&bytes).unwrap().id(&self.chain).0);
                    self.told.finals.push(Final { id, height, index: index.into() });
                    finals.fetch_add(1, Ordering::Relaxed);
                }
                Response::Rejected(_) => self.told.unanswered.extend(self.open.remove(&request)),
                Response::Accepted | Response::Status { .. } => {}
            }
        }
        inbox.drain(..at);
    }
}
