//! Small tools of the executor: the shared end of the ring to the hot reactor, a signal between tasks, a deadline.
//!
//! No task here is ever always-ready: work that could go on without end pauses with [`breathe`] between bounded batches, because a
//! self-waking task can be lost by the executor (DESIGN §4).

use crate::bridge::ToHot;
use futures_lite::future::{or, poll_fn};
use glommio::timer::sleep;
use samara_dataplane::ring::{PushError, Sender};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Wait between two attempts at a full ring.
const FULL_RING_PAUSE: Duration = Duration::from_millis(1);

/// The ring to the hot reactor, shared by the tasks of this executor.
pub(super) struct HotLink(RefCell<Sender<ToHot>>);

impl HotLink {
    pub(super) fn new(sender: Sender<ToHot>) -> HotLink {
        HotLink(RefCell::new(sender))
    }

    /// Pushes what may be refused; false if the ring is full or the hot reactor gone.
    pub(super) fn offer(&self, item: ToHot) -> bool {
        self.0.borrow_mut().push(item).is_ok()
    }

    /// Pushes what must arrive: waits while the ring is full. False if the hot reactor is gone.
    pub(super) async fn deliver(&self, mut item: ToHot) -> bool {
        loop {
            let pushed = self.0.borrow_mut().push(item);
            match pushed {
                Ok(()) => return true,
                Err(PushError::Closed(_)) => return false,
                Err(PushError::Full(back)) => item = back,
            }
            sleep(FULL_RING_PAUSE).await;
        }
    }
}

/// Wakes one waiting task; raised before the wait, it is not lost.
#[derive(Default)]
pub(super) struct Signal {
    raised: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Signal {
    /// Lets the waiter go on.
    pub(super) fn raise(&self) {
        self.raised.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Until raised; lowers it.
    pub(super) async fn wait(&self) {
        poll_fn(|context| {
            if self.raised.replace(false) {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// The result of `future`, None if it takes longer than `span`.
pub(super) async fn within<T>(span: Duration, future: impl Future<Output = T>) -> Option<T> {
    or(async { Some(future.await) }, async {
        sleep(span).await;
        None
    })
    .await
}

/// Lets every other task run before the caller goes on. A timer, not a yield: see the module.
pub(super) async fn breathe() {
    sleep(Duration::from_micros(1)).await;
}
