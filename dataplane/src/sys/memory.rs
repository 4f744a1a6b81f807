//! One aligned allocation cut into equal buffers, each with exactly one owning token.
//!
//! ```text
//! | headroom 64 | payload 2048 | headroom 64 | payload 2048 | ...      stride 2112 = 33 cache lines
//! ```
//! The headroom holds what the kernel writes before the payload of a multishot receive, so a payload always starts on a cache line; the odd
//! number of lines spreads the payload starts over the sets of the cache. The allocation lives until its last token is gone.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes in front of each payload that the kernel may fill.
pub(crate) const HEADROOM_BYTES: usize = 64;
/// Payload bytes of a buffer.
pub(crate) const PAYLOAD_BYTES: usize = 2048;
/// Distance of two buffers.
pub(crate) const STRIDE_BYTES: usize = HEADROOM_BYTES + PAYLOAD_BYTES;

const PAGE_BYTES: usize = 4096;

/// The allocation behind all buffers of one pool.
pub(crate) struct Region {
    base: NonNull<u8>,
    layout: Layout,
    abandoned: Mutex<Vec<u32>>,
    abandoned_count: AtomicUsize,
}

// SAFETY: `base` is only dereferenced through `Buffer`, whose tokens are unique; the other fields are Send and Sync.
unsafe impl Send for Region {}
// SAFETY: as above; shared access touches the mutex and the atomic only.
unsafe impl Sync for Region {}

impl Region {
    /// Allocates `count` buffers, touches every page, and returns one token per buffer in index order.
    pub(crate) fn allocate(count: usize) -> (Arc<Region>, Vec<Buffer>) {
        let bytes = STRIDE_BYTES.checked_mul(count).expect("the configuration bounds the number of frames");
        let layout = Layout::from_size_align(bytes.max(PAGE_BYTES), PAGE_BYTES).expect("a page is a power of two");
        // SAFETY: the layout has a size of at least one page.
        let raw = unsafe { alloc(layout) };
        let Some(base) = NonNull::new(raw) else { handle_alloc_error(layout) };
        // SAFETY: `base` is valid for `layout.size()` bytes. Writing all of it also faults every page in before traffic comes.
        unsafe { base.as_ptr().write_bytes(0, layout.size()) };
        let region =
            Arc::new(Region { base, layout, abandoned: Mutex::new(Vec::with_capacity(count)), abandoned_count: AtomicUsize::new(0) });
        // SAFETY: every index below `count` is minted exactly once here.
        let buffers = (0..count).map(|index| unsafe { Buffer::mint(&region, index as u32) }).collect();
        (region, buffers)
    }

    /// A token for a buffer whose former token was dropped; `None` when there is none.
    pub(crate) fn reclaim(self: &Arc<Self>) -> Option<Buffer> {
        if self.abandoned_count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let index = self.abandoned.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        self.abandoned_count.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the index came from the drop of the unique token of that buffer and was popped once.
        Some(unsafe { Buffer::mint(self, index) })
    }

    fn abandon(&self, index: u32) {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner).push(index);
        self.abandoned_count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated in `allocate` with this layout; no token is left, each holds an `Arc` of the region.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

/// The unique owner of one buffer of a [`Region`].
pub(crate) struct Buffer {
    start: NonNull<u8>,
    index: u32,
    region: Arc<Region>,
}

// SAFETY: the token owns its bytes exclusively; nothing about them is tied to a thread.
unsafe impl Send for Buffer {}
// SAFETY: a shared token gives shared slices only.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// # Safety
    /// `index` is below the region's count and no other token of it exists.
    unsafe fn mint(region: &Arc<Region>, index: u32) -> Buffer {
        // SAFETY: the caller keeps `index` below the count, so the offset stays inside the allocation.
        let start = unsafe { region.base.add(index as usize * STRIDE_BYTES) };
        Buffer { start, index, region: Arc::clone(region) }
    }

    /// Position of the buffer in its region.
    pub(crate) fn index(&self) -> usize {
        self.index as usize
    }

    /// Whether this buffer belongs to `region`.
    pub(crate) fn is_of(&self, region: &Arc<Region>) -> bool {
        Arc::ptr_eq(&self.region, region)
    }

    /// Headroom and payload.
    pub(crate) fn bytes(&self) -> &[u8; STRIDE_BYTES] {
        // SAFETY: `start` points at a whole, initialised buffer that only this token reaches.
        unsafe { self.start.cast().as_ref() }
    }

    /// Headroom and payload.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8; STRIDE_BYTES] {
        // SAFETY: as in `bytes`, and the token is borrowed exclusively.
        unsafe { self.start.cast().as_mut() }
    }

    /// Address of the headroom, for structures handed to the kernel by an owner of this token.
    pub(crate) fn address(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.region.abandon(self.index);
    }
}
