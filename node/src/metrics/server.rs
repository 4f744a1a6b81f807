//! The endpoint: an ordinary thread with a tokio executor, serving whoever connects.
//!
//! Rule: a validator does not die, and does not stay away, because of its metrics. An address that cannot be taken (in use, not there yet) is
//! told in the log and tried again; `samara_endpoint_failures_total` says how often, once it is up.
//!
//! A stranger can do no more than keep [`CONNECTIONS_MAX`] connections busy for [`LEASE`] each: requests have no body worth reading, the
//! answer is made at most every [`MADE_EVERY`], a connection ends when its lease does, whatever it is doing, and where all are taken the oldest
//! goes: who scrapes is served although others hold connections open without a word.

use super::exposition::{CLASSIC, OPENMETRICS, Scrape, classic, openmetrics};
use super::{Picture, Source, URL_FILE};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// Connections at once; one more ends the oldest.
const CONNECTIONS_MAX: usize = 32;
/// How long a connection lives. Prometheus connects again without a word.
const LEASE: Duration = Duration::from_secs(120);
/// From one try to take the address to the next.
const RETRY: Duration = Duration::from_secs(2);
/// How long an answer's figures are taken for true: who asks without end costs a core no more than ten pictures a second.
const MADE_EVERY: Duration = Duration::from_millis(100);

/// An endpoint, serving or trying to. Dropping it ends it and removes its URL file.
pub struct Endpoint {
    address: Option<SocketAddr>,
    url_file: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// Serves at `listen`, at once or as soon as the address is free, and says where in `metrics.url` in `directory` while it does.
    pub fn start(listen: SocketAddr, directory: &Path, source: Source) -> Endpoint {
        let url_file = directory.join(URL_FILE);
        let (stop, stopped) = oneshot::channel();
        let place = Place { listen, url_file: url_file.clone(), failures: AtomicU64::new(0) };
        // The first try is made here, so that an address which is free is served when this returns.
        let first = place.listen();
        let address = first.as_ref().and_then(|listener| listener.local_addr().ok());
        let serve = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
                Ok(runtime) => runtime,
                Err(error) => return tracing::warn!(%error, "no metrics endpoint"),
            };
            runtime.block_on(async {
                tokio::select! {
                    () = serve_always(place, first, source) => {}
                    // An open connection must not keep the validator from ending: what is under way is dropped.
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("metrics".into()).spawn(serve);
        if let Err(error) = &thread {
            tracing::warn!(%error, "no metrics endpoint");
        }
        Endpoint { address, url_file, stop: Some(stop), thread: thread.ok() }
    }

    /// Where it listened at its start; None if the address could not be taken then.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.url_file);
    }
}

/// Where it shall listen.
struct Place {
    listen: SocketAddr,
    url_file: PathBuf,
    /// Times it could not, or ended.
    failures: AtomicU64,
}

impl Place {
    fn listen(&self) -> Option<std::net::TcpListener> {
        let bind = || {
            let listener = std::net::TcpListener::bind(self.listen)?;
            listener.set_nonblocking(true)?;
            let url = format!("http://{}/metrics", listener.local_addr()?);
            tracing::info!(url, "metrics endpoint");
            if let Err(error) = std::fs::write(&self.url_file, format!("{url}\n")) {
                tracing::warn!(%error, file = %self.url_file.display(), "not written: samara monitor --dir does not find the endpoint");
            }
            Ok(listener)
        };
        bind().map_err(|error| self.failed(&error)).ok()
    }

    /// Counts, and says so the first time and once a minute.
    fn failed(&self, error: &io::Error) {
        // Of a process that was killed: whoever has the address by now is not this validator.
        let _ = std::fs::remove_file(&self.url_file);
        let failures = self.failures.fetch_add(1, Ordering::Relaxed);
        if failures.is_multiple_of(60 / RETRY.as_secs()) {
            tracing::warn!(%error, address = %self.listen, "metrics.listen cannot be served; the validator runs without, and tries again");
        }
    }
}

/// What the requests share: the source, and the last picture taken of it.
struct Studio {
    source: Source,
    place: Place,
    last: Option<(Instant, Arc<Taken>)>,
}

/// One picture, in the forms that were asked for.
struct Taken {
    picture: Picture,
    scrape: Scrape,
    openmetrics: OnceLock<Bytes>,
    classic: OnceLock<Bytes>,
    snapshot: OnceLock<Bytes>,
}

type Shared = Arc<Mutex<Studio>>;

async fn serve_always(place: Place, first: Option<std::net::TcpListener>, source: Source) {
    let studio = Arc::new(Mutex::new(Studio { source, place, last: None }));
    let mut next = first;
    loop {
        if let Some(listener) = next
            && let Err(error) = serve(listener, &studio).await
        {
            lock(&studio).place.failed(&error);
        }
        tokio::time::sleep(RETRY).await;
        next = lock(&studio).place.listen();
    }
}

fn lock(studio: &Shared) -> std::sync::MutexGuard<'_, Studio> {
    studio.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: std::net::TcpListener, studio: &Shared) -> io::Result<()> {
    let router = Router::new()
        .route("/", get(|| async { "samara validator: /metrics for Prometheus, /snapshot for samara monitor\n" }))
        .route("/metrics", get(metrics))
        .route("/snapshot", get(snapshot))
        .with_state(Arc::clone(studio));
    axum::serve(Leased { listener: TcpListener::from_std(listener)?, open: VecDeque::new() }, router).await
}

fn taken(studio: &Shared) -> Arc<Taken> {
    let mut studio = lock(studio);
    if let Some((_, taken)) = studio.last.as_ref().filter(|(at, _)| at.elapsed() < MADE_EVERY) {
        return Arc::clone(taken);
    }
    let mut picture = studio.source.picture();
    picture.endpoint_failures = studio.place.failures.load(Ordering::Relaxed);
    let scrape = Scrape::of(&picture);
    let none = OnceLock::new;
    let taken = Arc::new(Taken { picture, scrape, openmetrics: none(), classic: none(), snapshot: none() });
    studio.last = Some((Instant::now(), Arc::clone(&taken)));
    taken
}

async fn metrics(State(studio): State<Shared>, headers: HeaderMap) -> Response {
    let taken = taken(&studio);
    let accepts = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let (kind, text) = if accepts.contains("application/openmetrics-text") {
        (OPENMETRICS, taken.openmetrics.get_or_init(|| openmetrics(taken.scrape.clone()).into()))
    } else {
        (CLASSIC, taken.classic.get_or_init(|| classic(taken.scrape.clone()).into()))
    };
    ([(CONTENT_TYPE, kind)], text.clone()).into_response()
}

/// The families as JSON, and what of the figures has no place in a family: the latest views and the weights that spoke in them.
async fn snapshot(State(studio): State<Shared>) -> Response {
    let taken = taken(&studio);
    let Some(metrics) = &taken.picture.metrics else {
        return (StatusCode::SERVICE_UNAVAILABLE, "nothing published yet\n").into_response();
    };
    let document = || {
        let node = &metrics.node;
        let document = serde_json::json!({
            "written_unix_ms": metrics.written_unix_ms,
            "chain": taken.picture.chain,
            "seat": node.me,
            "marks": node.marks,
            "standings": node.standings,
            "views": node.views,
            "families": taken.scrape.json(),
        });
        document.to_string().into()
    };
    ([(CONTENT_TYPE, "application/json")], taken.snapshot.get_or_init(document).clone()).into_response()
}

/// A listener whose connections are bounded in number and life.
struct Leased {
    listener: TcpListener,
    /// One for each connection, oldest first; dropping it ends the connection.
    open: VecDeque<oneshot::Sender<()>>,
}

impl axum::serve::Listener for Leased {
    type Io = Lease;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Lease, SocketAddr) {
        let (stream, from) = axum::serve::Listener::accept(&mut self.listener).await;
        self.open.retain(|connection| !connection.is_closed());
        if self.open.len() >= CONNECTIONS_MAX {
            self.open.pop_front();
        }
        let (connection, given_up) = oneshot::channel();
        self.open.push_back(connection);
        (Lease { stream, ends: Box::pin(tokio::time::sleep(LEASE)), given_up, over: false, asked: false, answering: false }, from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection for a while.
struct Lease {
    stream: TcpStream,
    ends: Pin<Box<Sleep>>,
    given_up: oneshot::Receiver<()>,
    /// One of the two has come; neither is asked again.
    over: bool,
    /// Something was read since the last answer was written.
    asked: bool,
    /// Something of an answer was written.
    answering: bool,
}

impl Lease {
    fn is_over(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if !self.over {
            self.over = self.ends.as_mut().poll(context).is_ready() || Pin::new(&mut self.given_up).poll(context).is_ready();
        }
        if self.over { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Lease {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.is_over(context)?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let ended = buffer.filled().len() == before;
        if ended && self.asked {
            // Who asks and closes its half (`nc -N`) waits for the answer; hyper takes the end of what it reads for the end of the connection. It is
            // told after the answer, and where there is none the lease ends it.
            return Poll::Pending;
        }
        self.asked |= !ended;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Lease {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.is_over(context)?;
        self.answering = true;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_over(context)?;
        // Flushed when all of it was written.
        if std::mem::take(&mut self.answering) {
            self.asked = false;
            // An end that was not told is now.
            context.waker().wake_by_ref();
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
