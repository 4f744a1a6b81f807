//! The frames of one port, and the books that show that none is lost.
//!
//! ```text
//!   free (rx | tx) -> kernel (armed for receive, or being sent) -> held by the caller -> queued for send -> free
//! ```
//! Receive and send frames are separate: a flood of arrivals cannot take the frames that votes leave in. A frame goes home by its index, so
//! a received frame may be sent as it is.

use std::sync::Arc;

use crate::frame::Frame;
use crate::sys::memory::{Buffer, HEADROOM_BYTES, Region, STRIDE_BYTES};

/// All frames of one port that are not in use, and the count of those the caller holds.
pub(crate) struct Pool {
    region: Arc<Region>,
    rx_free: Vec<Frame>,
    tx_free: Vec<Frame>,
    rx_total: usize,
    total: usize,
    held: usize,
    lost: u64,
    headroom: usize,
}

impl Pool {
    /// `rx` and `tx` frames in one allocation.
    pub(crate) fn new(rx: usize, tx: usize) -> Pool {
        let (region, buffers) = Region::allocate(rx + tx, STRIDE_BYTES);
        Pool::over(region, buffers, rx, HEADROOM_BYTES)
    }

    /// All buffers of a region, the first `rx` of them for receiving; payloads start at `headroom`.
    pub(crate) fn over(region: Arc<Region>, buffers: Vec<Buffer>, rx: usize, headroom: usize) -> Pool {
        let total = buffers.len();
        let mut rx_free: Vec<Frame> = buffers.into_iter().map(|buffer| Frame::new(buffer, headroom)).collect();
        let mut tx_free = rx_free.split_off(rx);
        // Lowest index first: a quiet port stays within few pages.
        rx_free.reverse();
        tx_free.reverse();
        Pool { region, rx_free, tx_free, rx_total: rx, total, held: 0, lost: 0, headroom }
    }

    /// A free receive frame.
    pub(crate) fn take_rx(&mut self) -> Option<Frame> {
        let mut frame = self.rx_free.pop()?;
        frame.reset(self.headroom);
        Some(frame)
    }

    /// A free send frame at full length, counted as held.
    pub(crate) fn lend_tx(&mut self) -> Option<Frame> {
        let mut frame = self.tx_free.pop()?;
        frame.reset(self.headroom);
        self.held += 1;
        Some(frame)
    }

    /// `count` frames go to the caller.
    pub(crate) fn lent(&mut self, count: usize) {
        self.held += count;
    }

    /// The caller gave a frame back, to be freed or sent. Panics on a frame of another port.
    pub(crate) fn returned(&mut self, frame: &Frame) {
        assert!(frame.buffer().is_of(&self.region), "a frame goes back to the port that lent it");
        self.held = self.held.checked_sub(1).expect("a frame that comes back was held");
    }

    /// Puts a frame on its free list.
    pub(crate) fn put(&mut self, frame: Frame) {
        if self.is_rx(&frame) { self.rx_free.push(frame) } else { self.tx_free.push(frame) }
    }

    /// Whether the frame belongs to the receive side.
    pub(crate) fn is_rx(&self, frame: &Frame) -> bool {
        frame.buffer().index() < self.rx_total
    }

    /// Brings dropped frames home and counts them.
    pub(crate) fn reclaim(&mut self) {
        while let Some(buffer) = self.region.reclaim() {
            self.lost += 1;
            self.held = self.held.checked_sub(1).expect("only the caller drops frames");
            self.put(Frame::new(buffer, self.headroom));
        }
    }

    /// The memory of the frames.
    pub(crate) fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Receive frames that are free.
    pub(crate) fn rx_free(&self) -> usize {
        self.rx_free.len()
    }

    /// Frames that are free.
    pub(crate) fn free(&self) -> usize {
        self.rx_free.len() + self.tx_free.len()
    }

    /// Frames the caller holds.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Frames of the pool.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// Frames that the caller dropped so far.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_goes_home_by_its_index() {
        let mut pool = Pool::new(2, 3);
        let received = pool.take_rx().expect("two are free");
        let sent = pool.lend_tx().expect("three are free");
        assert_eq!((pool.rx_free(), pool.free(), pool.held()), (1, 3, 1));
        pool.returned(&sent);
        pool.put(sent);
        pool.put(received);
        assert_eq!((pool.rx_free(), pool.free(), pool.held()), (2, 5, 0));
    }

    #[test]
    fn a_dropped_frame_is_counted_and_comes_home() {
        let mut pool = Pool::new(1, 1);
        drop(pool.lend_tx().expect("one is free"));
        assert!(pool.lend_tx().is_none());
        pool.reclaim();
        assert_eq!((pool.lost(), pool.held(), pool.free()), (1, 0, 2));
        assert!(pool.lend_tx().is_some());
    }

    #[test]
    fn buffers_do_not_overlap_and_outlive_the_pool() {
        let mut pool = Pool::new(0, 64);
        let mut frames: Vec<Frame> = std::iter::from_fn(|| pool.lend_tx()).collect();
        for (number, frame) in frames.iter_mut().enumerate() {
            frame.fill(number as u8);
        }
        drop(pool);
        for (number, frame) in frames.iter().enumerate() {
            assert!(frame.len() == frame.capacity() && frame.iter().all(|byte| *byte == number as u8));
            assert_eq!(frame.as_ptr() as usize % 64, 0, "payloads start on a cache line");
        }
    }

    #[test]
    #[should_panic(expected = "a frame goes back to the port that lent it")]
    fn a_frame_of_another_pool_is_refused() {
        let frame = Pool::new(0, 1).lend_tx().expect("one is free");
        Pool::new(0, 1).returned(&frame);
    }
}
