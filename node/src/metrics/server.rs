//! The endpoint: an ordinary thread with a tokio executor, serving whoever connects.
//!
//! A stranger can do no more than keep [`CONNECTIONS_MAX`] connections busy for [`LEASE`] each: requests have no body worth reading, the
//! answer is made anew for each, and a connection ends when its lease does, whatever it is doing.

use super::exposition::{CLASSIC, OPENMETRICS, Scrape, classic, openmetrics};
use super::{Source, URL_FILE};
use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Sleep;

/// Connections at once; more wait in the kernel's backlog.
const CONNECTIONS_MAX: usize = 32;
/// How long a connection lives. Prometheus connects again without a word.
const LEASE: Duration = Duration::from_secs(120);

/// A running endpoint. Dropping it ends it and removes its URL file.
pub struct Endpoint {
    address: SocketAddr,
    url_file: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// Binds `listen`, writes `metrics.url` into `directory`, and serves.
    pub fn start(listen: SocketAddr, directory: &Path, source: Source) -> io::Result<Endpoint> {
        let listener = std::net::TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let url_file = directory.join(URL_FILE);
        std::fs::write(&url_file, format!("http://{address}/metrics\n"))?;
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let serve = move || {
            let served = runtime.block_on(serve(listener, Arc::new(Mutex::new(source)), stopped));
            if let Err(error) = served {
                tracing::error!(%error, "metrics endpoint ended");
            }
        };
        let thread = std::thread::Builder::new().name("metrics".into()).spawn(serve)?;
        Ok(Endpoint { address, url_file, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.url_file);
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Shared = Arc<Mutex<Source>>;

async fn serve(listener: std::net::TcpListener, source: Shared, stopped: oneshot::Receiver<()>) -> io::Result<()> {
    let listener = Leased { listener: TcpListener::from_std(listener)?, free: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
    let router = Router::new()
        .route("/", get(|| async { "samara validator: /metrics for Prometheus, /snapshot for samara monitor\n" }))
        .route("/metrics", get(metrics))
        .route("/snapshot", get(snapshot))
        .with_state(source);
    // An open connection must not keep the validator from ending: what is under way is dropped.
    tokio::select! {
        served = std::future::IntoFuture::into_future(axum::serve(listener, router)) => served,
        _ = stopped => Ok(()),
    }
}

fn scrape(source: &Shared) -> (Scrape, super::Picture) {
    let picture = source.lock().unwrap_or_else(PoisonError::into_inner).picture();
    (Scrape::of(&picture), picture)
}

async fn metrics(State(source): State<Shared>, headers: HeaderMap) -> Response {
    let (scrape, _) = scrape(&source);
    let accepts = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accepts.contains("application/openmetrics-text") {
        ([(CONTENT_TYPE, OPENMETRICS)], openmetrics(scrape)).into_response()
    } else {
        ([(CONTENT_TYPE, CLASSIC)], classic(scrape)).into_response()
    }
}

/// The families as JSON, and what of the figures has no place in a family: the latest views and the weights that spoke in them.
async fn snapshot(State(source): State<Shared>) -> Response {
    let (scrape, picture) = scrape(&source);
    let Some(metrics) = &picture.metrics else {
        return (StatusCode::SERVICE_UNAVAILABLE, "nothing published yet\n").into_response();
    };
    let node = &metrics.node;
    let document = serde_json::json!({
        "written_unix_ms": metrics.written_unix_ms,
        "chain": picture.chain,
        "seat": node.me,
        "marks": node.marks,
        "standings": node.standings,
        "views": node.views,
        "families": scrape.json(),
    });
    ([(CONTENT_TYPE, "application/json")], document.to_string()).into_response()
}

/// A listener whose connections are bounded in number and life.
struct Leased {
    listener: TcpListener,
    free: Arc<Semaphore>,
}

impl axum::serve::Listener for Leased {
    type Io = Lease;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Lease, SocketAddr) {
        let permit = Arc::clone(&self.free).acquire_owned().await.expect("the semaphore is never closed");
        let (stream, from) = axum::serve::Listener::accept(&mut self.listener).await;
        (Lease { stream, ends: Box::pin(tokio::time::sleep(LEASE)), _permit: permit }, from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection for a while.
struct Lease {
    stream: TcpStream,
    ends: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    fn is_over(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.ends.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Lease {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.is_over(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Lease {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.is_over(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_over(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
