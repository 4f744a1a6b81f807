//! Bounded single-producer single-consumer rings between reactors: `rtrb`, woken by an eventfd or a task waker only when the consumer
//! has declared that it sleeps (DESIGN §4).
//!
//! ```text
//! consumer: sleeping = true; fence; ring empty? -> sleep on fd | not empty? -> sleeping = false, go on
//! producer: push;            fence; sleeping?   -> sleeping = false, wake
//! ```
//! Invariant: the two fences are sequentially consistent, so at least one side sees the other's store: a pushed item is either found by the
//! consumer before it sleeps or followed by a wake-up. A producer that pushes to an awake consumer pays a fence and a load, no syscall.

use std::future::poll_fn;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use crossbeam::utils::CachePadded;

/// The ring is full (the item comes back) or its consumer is gone.
#[derive(Debug, PartialEq, Eq)]
pub enum PushError<T> {
    /// No free slot.
    Full(T),
    /// The receiver was dropped.
    Closed(T),
}

/// A ring could not be made.
#[derive(Debug, thiserror::Error)]
#[error("no eventfd for a ring: {0}")]
pub struct RingError(#[from] std::io::Error);

/// Producer end.
pub struct Sender<T> {
    producer: rtrb::Producer<T>,
    bell: Arc<Bell>,
}

/// Consumer end.
pub struct Receiver<T> {
    consumer: rtrb::Consumer<T>,
    bell: Arc<Bell>,
    /// Writes to the eventfd that a producer has made or is about to make and that were not read back yet.
    owed: u64,
}

/// A ring of `capacity` items.
pub fn ring<T>(capacity: usize) -> Result<(Sender<T>, Receiver<T>), RingError> {
    let (producer, consumer) = rtrb::RingBuffer::new(capacity);
    let bell = Arc::new(Bell::new()?);
    Ok((Sender { producer, bell: Arc::clone(&bell) }, Receiver { consumer, bell, owed: 0 }))
}

impl<T> Sender<T> {
    /// Puts `item` into the ring and wakes the consumer if it sleeps.
    pub fn push(&mut self, item: T) -> Result<(), PushError<T>> {
        if self.producer.is_abandoned() {
            return Err(PushError::Closed(item));
        }
        match self.producer.push(item) {
            Ok(()) => {
                self.bell.ring();
                Ok(())
            }
            Err(rtrb::PushError::Full(item)) => Err(PushError::Full(item)),
        }
    }

    /// Free slots, a lower bound.
    pub fn free(&self) -> usize {
        self.producer.slots()
    }

    /// Whether the receiver was dropped.
    pub fn is_closed(&self) -> bool {
        self.producer.is_abandoned()
    }
}

impl<T> Drop for Sender<T> {
    /// A sleeping consumer must learn that nothing more will come. The producer's own drop comes later, so the bell is marked first.
    fn drop(&mut self) {
        self.bell.closed.store(true, Ordering::SeqCst);
        self.bell.ring();
    }
}

impl<T> Receiver<T> {
    /// The oldest item, if any.
    pub fn pop(&mut self) -> Option<T> {
        self.consumer.pop().ok()
    }

    /// Items waiting, a lower bound.
    pub fn waiting(&self) -> usize {
        self.consumer.slots()
    }

    /// The sender was dropped and everything it sent was taken.
    pub fn is_finished(&self) -> bool {
        self.bell.closed.load(Ordering::SeqCst) && self.consumer.is_empty()
    }

    /// The eventfd for `ppoll`: readable after a push that followed [`Self::declare_sleep`].
    pub fn wake_fd(&self) -> RawFd {
        self.bell.event.as_raw_fd()
    }

    /// Declares sleep. False: something is there already, do not sleep. After true, sleep on [`Self::wake_fd`], then call [`Self::declare_awake`].
    pub fn declare_sleep(&mut self) -> bool {
        let quiet = self.try_sleep();
        if !quiet {
            self.wake_up();
        }
        quiet
    }

    /// Ends a sleep: producers stop writing, the eventfd is emptied.
    pub fn declare_awake(&mut self) {
        self.wake_up();
        if self.owed > 0 {
            self.owed -= self.bell.drain().min(self.owed);
        }
    }

    fn try_sleep(&mut self) -> bool {
        self.bell.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.consumer.is_empty() && !self.bell.closed.load(Ordering::Acquire)
    }

    /// A producer that won `sleeping` writes the eventfd, perhaps only after this returns; the debt makes a later call read it.
    fn wake_up(&mut self) {
        if !self.bell.sleeping.swap(false, Ordering::AcqRel) {
            self.owed += 1;
        }
    }

    /// The next item; None when the sender is gone and the ring empty. For any executor whose wakers may be called from other threads (glommio's may).
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|context| {
            if let Some(item) = self.pop() {
                return Poll::Ready(Some(item));
            }
            self.bell.register(context.waker());
            if self.try_sleep() {
                return Poll::Pending;
            }
            self.bell.sleeping.store(false, Ordering::Relaxed);
            // `closed` is set after the last push, so an empty ring here is empty for good.
            Poll::Ready(self.pop())
        })
        .await
    }
}

/// What wakes the consumer.
struct Bell {
    sleeping: CachePadded<AtomicBool>,
    closed: AtomicBool,
    event: OwnedFd,
    /// Taken by the producer only after it won `sleeping`, so the lock is free unless a consumer registers at that moment.
    waker: Mutex<Option<Waker>>,
}

impl Bell {
    fn new() -> Result<Bell, RingError> {
        // SAFETY: eventfd takes no pointers; a negative result is turned into an error before it is owned.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(RingError(std::io::Error::last_os_error()));
        }
        // SAFETY: `fd` is a fresh descriptor that nothing else owns.
        let event = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Bell { sleeping: CachePadded::new(AtomicBool::new(false)), closed: AtomicBool::new(false), event, waker: Mutex::new(None) })
    }

    fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::AcqRel) {
            let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
            match waker {
                Some(waker) => waker.wake(),
                None => self.write(),
            }
        }
    }

    fn register(&self, waker: &Waker) {
        let mut slot = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    fn write(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: writes eight bytes from a live array to an eventfd this value owns. EAGAIN means that it is readable already.
        unsafe { libc::write(self.event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Writes read back since the last call.
    fn drain(&self) -> u64 {
        let mut count = [0u8; 8];
        // SAFETY: reads at most eight bytes into a live array of eight. EAGAIN means that there was nothing.
        let read = unsafe { libc::read(self.event.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        if read == 8 { u64::from_ne_bytes(count) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const ITEMS: u64 = 300_000;

    fn readable(fd: RawFd, timeout_ms: i32) -> bool {
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one live pollfd, and the count says one.
        unsafe { libc::poll(&mut poll, 1, timeout_ms) == 1 }
    }

    /// Sends with pauses of every length, so that pushes fall on each step of the consumer's way to sleep.
    fn produce(mut sender: Sender<u64>) {
        let mut pause = 1u64;
        for item in 0..ITEMS {
            let mut back = item;
            while let Err(PushError::Full(item)) = sender.push(back) {
                back = item;
                std::thread::yield_now();
            }
            pause = pause.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (0..pause >> 57).for_each(|_| std::hint::spin_loop());
            if pause >> 52 == 0 {
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn no_wake_up_is_lost_on_the_descriptor() {
        let (sender, mut receiver) = ring::<u64>(64).expect("an eventfd");
        let producer = std::thread::spawn(move || produce(sender));
        let (mut expected, mut sleeps) = (0, 0);
        while !receiver.is_finished() {
            while let Some(item) = receiver.pop() {
                assert_eq!(item, expected);
                expected += 1;
            }
            if receiver.declare_sleep() {
                sleeps += 1;
                assert!(readable(receiver.wake_fd(), 30_000), "asleep for good after {expected} items");
            }
            receiver.declare_awake();
        }
        producer.join().expect("the producer ends");
        assert_eq!(expected, ITEMS);
        assert!(sleeps > 0, "the consumer never slept, so nothing was shown");
    }

    /// A waker that unparks a thread, and an executor of one future that parks with a limit.
    fn block_on<T>(future: impl Future<Output = T>) -> T {
        struct Unpark(std::thread::Thread, AtomicBool);
        impl std::task::Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.1.store(true, Ordering::SeqCst);
                self.0.unpark();
            }
        }
        let unpark = Arc::new(Unpark(std::thread::current(), AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&unpark));
        let mut future = std::pin::pin!(future);
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
                return value;
            }
            while !unpark.1.swap(false, Ordering::SeqCst) {
                let asleep = std::time::Instant::now();
                std::thread::park_timeout(Duration::from_secs(30));
                assert!(asleep.elapsed() < Duration::from_secs(30), "asleep for good");
            }
        }
    }

    #[test]
    fn no_wake_up_is_lost_on_the_waker() {
        let (sender, mut receiver) = ring::<u64>(64).expect("an eventfd");
        let producer = std::thread::spawn(move || produce(sender));
        block_on(async {
            for expected in 0..ITEMS {
                assert_eq!(receiver.recv().await, Some(expected));
            }
            assert_eq!(receiver.recv().await, None);
        });
        producer.join().expect("the producer ends");
    }

    #[test]
    fn a_producer_writes_nothing_while_the_consumer_is_awake() {
        let (mut sender, mut receiver) = ring::<u8>(8).expect("an eventfd");
        sender.push(1).expect("room");
        assert!(!readable(receiver.wake_fd(), 0));
        assert!(!receiver.declare_sleep(), "an item waits");
        receiver.declare_awake();
        assert_eq!(receiver.pop(), Some(1));
        assert!(receiver.declare_sleep());
        sender.push(2).expect("room");
        sender.push(3).expect("room");
        assert!(readable(receiver.wake_fd(), 0));
        receiver.declare_awake();
        assert!(!readable(receiver.wake_fd(), 0), "one write for two pushes, read back");
    }

    #[test]
    fn full_and_closed_rings_give_the_item_back() {
        let (mut sender, receiver) = ring::<u8>(1).expect("an eventfd");
        sender.push(1).expect("room");
        assert_eq!(sender.push(2), Err(PushError::Full(2)));
        drop(receiver);
        assert_eq!(sender.push(3), Err(PushError::Closed(3)));
    }

    #[test]
    fn the_last_items_come_before_the_end() {
        let (mut sender, mut receiver) = ring::<u8>(4).expect("an eventfd");
        sender.push(1).expect("room");
        drop(sender);
        assert!(!receiver.is_finished());
        assert_eq!(block_on(receiver.recv()), Some(1));
        assert_eq!(block_on(receiver.recv()), None);
        assert!(receiver.is_finished());
    }
}
