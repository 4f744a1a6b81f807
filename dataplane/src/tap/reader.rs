//! Attaching to a tap from another thread, and reading it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Active, RECORD_BYTES, SNAPLEN_MAX, TapSettings};

/// Somebody reads this tap already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tap has a reader already")]
pub struct TapBusy;

/// Where a reader leaves the ring for the reactor to take.
#[derive(Default)]
pub(super) struct Slot {
    taken: AtomicBool,
    offered: AtomicBool,
    next: Mutex<Option<Box<Active>>>,
}

impl Slot {
    /// A load while nothing is offered. The lock is held by an attaching thread for a pointer's copy, so the reactor does not wait for it.
    pub fn take(&self) -> Option<Box<Active>> {
        // Cleared before the look, so that an offer made meanwhile stays one.
        if !self.offered.load(Ordering::Acquire) || !self.offered.swap(false, Ordering::AcqRel) {
            return None;
        }
        self.next.try_lock().ok()?.take()
    }
}

/// Attaches readers to the tap of one reactor.
#[derive(Clone)]
pub struct TapHandle(pub(super) Arc<Slot>);

impl TapHandle {
    /// Turns the tap on, from the reactor's next housekeeping until the reader is dropped. One reader at a time.
    pub fn attach(&self, settings: TapSettings) -> Result<TapReader, TapBusy> {
        if self.0.taken.swap(true, Ordering::AcqRel) {
            return Err(TapBusy);
        }
        let (producer, consumer) = rtrb::RingBuffer::new(settings.ring_bytes.max(RECORD_BYTES + SNAPLEN_MAX));
        let lost = Arc::new(AtomicU64::new(0));
        let active = Box::new(Active::new(settings, producer, Arc::clone(&lost)));
        *self.0.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(active);
        self.0.offered.store(true, Ordering::Release);
        Ok(TapReader { consumer, lost, slot: Arc::clone(&self.0) })
    }
}

/// The reading end of a tap. Dropping it turns the tap off.
pub struct TapReader {
    consumer: rtrb::Consumer<u8>,
    lost: Arc<AtomicU64>,
    slot: Arc<Slot>,
}

impl TapReader {
    /// Bytes waiting: whole records, except for what an earlier [`Self::read`] took of the first.
    pub fn waiting(&self) -> usize {
        self.consumer.slots()
    }

    /// Gives at most `max` waiting bytes to `take`, which says how many it took. They may come in two parts, one a call.
    pub fn read<E>(&mut self, max: usize, take: impl FnOnce(&[u8]) -> Result<usize, E>) -> Result<usize, E> {
        let count = self.waiting().min(max);
        let chunk = self.consumer.read_chunk(count).expect("so many were just counted");
        let (first, _) = chunk.as_slices();
        let taken = take(first)?;
        chunk.commit(taken);
        Ok(taken)
    }

    /// Records lost since the start because the ring was full.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for TapReader {
    fn drop(&mut self) {
        self.slot.taken.store(false, Ordering::Release);
    }
}
