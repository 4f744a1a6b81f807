//! The client door: submissions in over TCP, answers out, nothing dropped in silence.
//!
//! ```text
//! connection task: bytes -> frames -> in-flight check -> queue --(1 ms or 64)--> batch: verify_batch -> Waiting -> ToHot::Submit
//!        ^                                                                                                      |
//!        +---- out buffer <- Door::send <- Accepted/Rejected (ToService::Answer) | Finalized (after the synced commit)
//! ```
//! Every submission gets exactly one `Accepted` or `Rejected`, and after `Accepted` exactly one `Finalized` or `Rejected`, as long as its
//! connection lives. All of it is bounded: connections, unanswered submissions per connection, submissions waiting for verification,
//! transactions waiting for finality, and the answers a slow reader has not taken (it is disconnected). One task serves a connection, so
//! reading and writing need no lock; a client that closes its writing side is taken to be gone.

mod batch;
mod connection;
mod waiting;

use super::link::{HotLink, Signal};
use super::telemetry::{ServiceCounters, count};
use connection::{Close, Connection};
use glommio::TaskQueueHandle;
use glommio::net::TcpListener;
use samara_types::client::{RejectReason, Request, Response, read_request, split_frame};
use samara_types::{ChainId, TransactionId};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};
use waiting::{Waiter, Waiting};

/// Bounds of the door.
#[derive(Clone, Copy, Debug)]
pub struct DoorLimits {
    /// Connections at once; one more takes the place of the one that is idle for longest, or is closed at once if none is. Each costs about 40 KiB, plus its
    /// unread answers.
    pub connections_max: usize,
    /// A connection without a whole request and without an unanswered submission for this long is idle.
    pub idle_after: Duration,
    /// Submissions of one connection without their last answer; one more is `Rejected(TooManyInFlight)`.
    pub in_flight_max: usize,
    /// Bytes of answers a client has not read; beyond this it is disconnected.
    pub unread_bytes_max: usize,
    /// Submissions waiting for signature verification, all connections together; beyond this `Rejected(MempoolFull)`.
    pub unverified_max: usize,
    /// Transactions waiting for finality; beyond this `Rejected(MempoolFull)`.
    pub waiting_max: usize,
    /// Final transactions remembered for resubmissions, about 60 B each.
    pub recent_max: usize,
}

impl Default for DoorLimits {
    fn default() -> Self {
        DoorLimits {
            connections_max: 256,
            idle_after: Duration::from_secs(10),
            in_flight_max: 8_192,
            unread_bytes_max: 1 << 20,
            unverified_max: 8_192,
            waiting_max: 262_144,
            recent_max: 500_000,
        }
    }
}

/// A submission on its way to verification.
struct Submission {
    waiter: Waiter,
    read_at: Instant,
    transaction: Vec<u8>,
}

/// The door's state, shared by its tasks.
pub(super) struct Door {
    chain: ChainId,
    limits: DoorLimits,
    hot: Rc<HotLink>,
    counters: Rc<RefCell<ServiceCounters>>,
    open: Cell<bool>,
    /// View and durable height, for `Status`.
    standing: Cell<(u64, u64)>,
    connections: RefCell<HashMap<u64, Rc<Connection>>>,
    next_connection: Cell<u64>,
    waiting: RefCell<Waiting>,
    /// Requests of connections that closed before their last answer, since the last sweep.
    orphans: Cell<usize>,
    queue: RefCell<Vec<Submission>>,
    queued: Signal,
    batch_full: Signal,
}

impl Door {
    pub(super) fn new(chain: ChainId, limits: DoorLimits, hot: Rc<HotLink>, counters: Rc<RefCell<ServiceCounters>>) -> Rc<Door> {
        Rc::new(Door {
            chain,
            limits,
            hot,
            counters,
            open: Cell::new(true),
            standing: Cell::new((0, 0)),
            connections: RefCell::default(),
            next_connection: Cell::new(1),
            waiting: RefCell::new(Waiting::new(limits.waiting_max, limits.recent_max)),
            orphans: Cell::new(0),
            queue: RefCell::default(),
            queued: Signal::default(),
            batch_full: Signal::default(),
        })
    }

    /// Accepts connections for ever; each is served in `queue`.
    pub(super) async fn accept(self: Rc<Self>, listener: TcpListener, queue: TaskQueueHandle) {
        loop {
            let stream = match listener.accept().await {
                Ok(stream) => stream,
                Err(error) => {
                    // Out of descriptors or a connection that died in the backlog: neither is a reason to close the door.
                    tracing::debug!(%error, "client connection not accepted");
                    count(&mut self.counters.borrow_mut().connections_refused, "accept_error");
                    glommio::timer::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            if self.connections.borrow().len() >= self.limits.connections_max && !self.make_room() {
                count(&mut self.counters.borrow_mut().connections_refused, "limit");
                continue;
            }
            let connection = self.enter();
            let served = Rc::clone(&self).serve(connection, stream);
            if let Ok(task) = glommio::spawn_local_into(served, queue) {
                task.detach();
            }
        }
    }

    /// The hot reactor's answer to a submission.
    pub(super) fn answered(&self, asked: u64, response: Response) {
        let mut answers = Vec::new();
        self.waiting.borrow_mut().answered(asked, response, &mut answers);
        self.send_all(&answers);
    }

    /// A durable block with these transactions: answers everybody who waits for one of them.
    pub(super) fn finalized(&self, height: u64, ids: &[TransactionId]) {
        let mut answers = Vec::new();
        {
            let (at, mut counters) = (Instant::now(), self.counters.borrow_mut());
            let waited = |since: Instant| counters.finality_us.record((at - since).as_micros() as u64);
            self.waiting.borrow_mut().finalized(height, ids, &mut answers, waited);
        }
        self.send_all(&answers);
        self.standing.set((self.standing.get().0, height));
    }

    /// A block of an earlier run, so that its transactions are known as final.
    pub(super) fn remember(&self, height: u64, ids: &[TransactionId]) {
        self.waiting.borrow_mut().remember(height, ids);
        self.standing.set((self.standing.get().0, height));
    }

    /// The view that `Status` answers.
    pub(super) fn set_view(&self, view: u64) {
        self.standing.set((view, self.standing.get().1));
    }

    /// Transactions somebody waits for.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Refuses submissions from here on; what waits goes on waiting.
    pub(super) fn refuse(&self) {
        self.open.set(false);
    }

    /// Refuses submissions from here on and gives up what waits.
    pub(super) fn shut(&self) {
        self.refuse();
        for submission in self.queue.take() {
            self.send(submission.waiter, Response::Rejected(RejectReason::Unavailable));
        }
        let mut answers = Vec::new();
        self.waiting.borrow_mut().give_up(&mut answers);
        self.send_all(&answers);
    }

    /// After [`Self::shut`]: lets clients read their last answers for at most `patience`, then closes every connection.
    pub(super) async fn drain(&self, patience: Duration) {
        let until = Instant::now() + patience;
        while Instant::now() < until && self.connections.borrow().values().any(|connection| connection.has_unread()) {
            glommio::timer::sleep(Duration::from_millis(2)).await;
        }
        for connection in self.connections.borrow().values() {
            connection.close(Close::Stopping);
        }
    }

    /// Closes the connection that is idle for longest: strangers who hold connections must not keep clients out. False if none is idle.
    fn make_room(&self) -> bool {
        let connections = self.connections.borrow();
        let idle = connections.values().filter(|connection| connection.is_idle(self.limits.idle_after));
        let Some(longest) = idle.min_by_key(|connection| connection.heard.get()) else { return false };
        longest.close(Close::Idle);
        true
    }

    fn enter(&self) -> Rc<Connection> {
        let number = self.next_connection.get();
        self.next_connection.set(number + 1);
        let connection = Rc::new(Connection::new(number));
        self.connections.borrow_mut().insert(number, Rc::clone(&connection));
        let mut counters = self.counters.borrow_mut();
        counters.connections_opened += 1;
        counters.connections += 1;
        connection
    }

    /// Serves one connection until it ends.
    async fn serve(self: Rc<Self>, connection: Rc<Connection>, mut stream: glommio::net::TcpStream) {
        // Answers are small and wanted at once.
        let _ = stream.set_nodelay(true);
        let mut input = Vec::new();
        let close = loop {
            match connection.next(&mut stream, &mut input).await {
                Ok(()) => {}
                Err(close) => break close,
            }
            if let Err(close) = self.take_requests(&connection, &mut input) {
                break close;
            }
        };
        self.leave(&connection, close);
    }

    /// Every whole frame of `input`.
    fn take_requests(&self, connection: &Connection, input: &mut Vec<u8>) -> Result<(), Close> {
        let mut taken = 0;
        loop {
            let frame = split_frame(&input[taken..]).map_err(|_| Close::MalformedFrame)?;
            let Some((used, request, kind, body)) = frame else { break };
            connection.heard.set(Instant::now());
            match read_request(kind, body).map_err(|_| Close::MalformedFrame)? {
                Request::Submit(transaction) => self.submit(connection, request, transaction),
                Request::Status => {
                    let (view, height) = self.standing.get();
                    connection.write(request, &Response::Status { view, height }, self.limits.unread_bytes_max);
                }
            }
            taken += used;
        }
        input.drain(..taken);
        Ok(())
    }

    /// Cheap checks first: in-flight bound, whether the door is open, room to verify.
    fn submit(&self, connection: &Connection, request: u64, transaction: &[u8]) {
        self.counters.borrow_mut().submissions += 1;
        let waiter = Waiter { connection: connection.number, request };
        if connection.in_flight.get() >= self.limits.in_flight_max {
            // Holds no slot, so it must not free one.
            count(&mut self.counters.borrow_mut().rejected, RejectReason::TooManyInFlight.as_str());
            connection.write(request, &Response::Rejected(RejectReason::TooManyInFlight), self.limits.unread_bytes_max);
            return;
        }
        connection.in_flight.set(connection.in_flight.get() + 1);
        if !self.open.get() {
            return self.send(waiter, Response::Rejected(RejectReason::Unavailable));
        }
        let queued = {
            let mut queue = self.queue.borrow_mut();
            if queue.len() < self.limits.unverified_max {
                queue.push(Submission { waiter, read_at: Instant::now(), transaction: transaction.to_vec() });
                queue.len()
            } else {
                0
            }
        };
        match queued {
            0 => self.send(waiter, Response::Rejected(RejectReason::MempoolFull)),
            1 => self.queued.raise(),
            n if n >= batch::BATCH_MAX => self.batch_full.raise(),
            _ => {}
        }
    }

    fn leave(&self, connection: &Connection, close: Close) {
        self.connections.borrow_mut().remove(&connection.number);
        {
            let mut counters = self.counters.borrow_mut();
            counters.connections -= 1;
            if close != Close::Gone {
                count(&mut counters.connections_refused, close.as_str());
            }
        }
        self.orphans.set(self.orphans.get() + connection.in_flight.get());
        // Amortised: a sweep looks at every entry, so it waits until half of them may be orphans.
        if self.orphans.get() * 2 > self.waiting.borrow().len() {
            let connections = self.connections.borrow();
            self.waiting.borrow_mut().sweep(|number| connections.contains_key(&number));
            self.orphans.set(0);
        }
    }

    fn send_all(&self, answers: &[(Waiter, Response)]) {
        for &(waiter, response) in answers {
            self.send(waiter, response);
        }
    }

    /// Writes an answer of a submission that holds an in-flight slot; its last answer frees the slot.
    fn send(&self, waiter: Waiter, response: Response) {
        {
            let mut counters = self.counters.borrow_mut();
            match response {
                Response::Accepted => counters.accepted += 1,
                Response::Finalized { .. } => counters.finalized_answers += 1,
                Response::Rejected(reason) => count(&mut counters.rejected, reason.as_str()),
                Response::Status { .. } => {}
            }
        }
        let connections = self.connections.borrow();
        let Some(connection) = connections.get(&waiter.connection) else { return };
        if matches!(response, Response::Rejected(_) | Response::Finalized { .. }) {
            connection.in_flight.set(connection.in_flight.get().saturating_sub(1));
        }
        connection.write(waiter.request, &response, self.limits.unread_bytes_max);
    }
}
