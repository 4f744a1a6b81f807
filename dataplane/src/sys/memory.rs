//! One aligned region cut into equal buffers, each with exactly one owning token.
//!
//! ```text
//! socket rungs:  | headroom 64 | payload 2048 | headroom 64 | payload 2048 | ...      stride 2112 = 33 cache lines
//! XDP:           | chunk 2048 | chunk 2048 | ...                                      the UMEM: whole pages, huge ones when there are any
//! ```
//! The headroom of the socket rungs holds what the kernel writes before the payload of a multishot receive, so a payload always starts on a cache
//! line; the odd number of lines spreads the payload starts over the sets of the cache. The region lives until its last token is gone.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::io;
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
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// What a region lies in.
enum Backing {
    Heap(Layout),
    Mapped(usize),
}

/// Size of the pages behind a mapped region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// 2 MiB pages of the system's pool.
    Huge,
    /// Ordinary pages: the pool of huge pages had not enough.
    Normal,
}

/// The memory behind all buffers of one pool.
pub(crate) struct Region {
    base: NonNull<u8>,
    backing: Backing,
    stride: usize,
    abandoned: Mutex<Vec<u32>>,
    abandoned_count: AtomicUsize,
}

// SAFETY: `base` is only dereferenced through `Buffer`, whose tokens are unique; the other fields are Send and Sync.
unsafe impl Send for Region {}
// SAFETY: as above; shared access touches the mutex and the atomic only.
unsafe impl Sync for Region {}

impl Region {
    /// Allocates `count` buffers of `stride` bytes on the heap, touches every page, and returns one token per buffer in index order.
    pub(crate) fn allocate(count: usize, stride: usize) -> (Arc<Region>, Vec<Buffer>) {
        let bytes = stride.checked_mul(count).expect("the configuration bounds the number of frames");
        let layout = Layout::from_size_align(bytes.max(PAGE_BYTES), PAGE_BYTES).expect("a page is a power of two");
        // SAFETY: the layout has a size of at least one page.
        let raw = unsafe { alloc(layout) };
        let Some(base) = NonNull::new(raw) else { handle_alloc_error(layout) };
        // SAFETY: `base` is valid for `layout.size()` bytes. Writing all of it also faults every page in before traffic comes.
        unsafe { base.as_ptr().write_bytes(0, layout.size()) };
        Region::cut(base, Backing::Heap(layout), count, stride)
    }

    /// Maps `count` buffers of `stride` bytes, on huge pages when enough are free, every page present. Says which pages it got.
    pub(crate) fn map(count: usize, stride: usize) -> io::Result<(Arc<Region>, Vec<Buffer>, Pages)> {
        let bytes = stride.checked_mul(count).expect("the configuration bounds the number of frames").max(1);
        let huge = bytes.next_multiple_of(HUGE_PAGE_BYTES);
        let (base, bytes, pages) = match map_pages(huge, libc::MAP_HUGETLB | libc::MAP_HUGE_2MB) {
            Ok(base) => (base, huge, Pages::Huge),
            Err(_) => {
                let normal = bytes.next_multiple_of(PAGE_BYTES);
                (map_pages(normal, 0)?, normal, Pages::Normal)
            }
        };
        let (region, buffers) = Region::cut(base, Backing::Mapped(bytes), count, stride);
        Ok((region, buffers, pages))
    }

    /// Mints the tokens of fresh memory of at least `count * stride` initialised bytes.
    fn cut(base: NonNull<u8>, backing: Backing, count: usize, stride: usize) -> (Arc<Region>, Vec<Buffer>) {
        let abandoned = Mutex::new(Vec::with_capacity(count));
        let region = Arc::new(Region { base, backing, stride, abandoned, abandoned_count: AtomicUsize::new(0) });
        // SAFETY: every index below `count` is minted exactly once here.
        let buffers = (0..count).map(|index| unsafe { Buffer::mint(&region, index as u32) }).collect();
        (region, buffers)
    }

    /// Start and length, for the kernel to register. The kernel writes only into buffers whose tokens the registering structure holds.
    pub(crate) fn span(&self) -> (*mut u8, usize) {
        let bytes = match self.backing {
            Backing::Heap(layout) => layout.size(),
            Backing::Mapped(bytes) => bytes,
        };
        (self.base.as_ptr(), bytes)
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
        match self.backing {
            // SAFETY: allocated in `allocate` with this layout; no token is left, each holds an `Arc` of the region.
            Backing::Heap(layout) => unsafe { dealloc(self.base.as_ptr(), layout) },
            // SAFETY: mapped in `map` with this length; no token is left. A kernel that still has the pages pinned keeps them to itself.
            Backing::Mapped(bytes) => unsafe {
                libc::munmap(self.base.as_ptr().cast(), bytes);
            },
        }
    }
}

/// Anonymous, populated, private pages.
fn map_pages(bytes: usize, extra: i32) -> io::Result<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE | extra;
    // SAFETY: a fresh anonymous mapping at an address the kernel chooses touches no existing memory.
    let raw = unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if raw == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(NonNull::new(raw.cast()).expect("a mapping is never at address zero"))
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
        let start = unsafe { region.base.add(index as usize * region.stride) };
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

    /// Bytes of the buffer.
    pub(crate) fn stride(&self) -> usize {
        self.region.stride
    }

    /// The whole buffer, headroom included.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `start` points at a whole, initialised buffer that only this token reaches.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.region.stride) }
    }

    /// The whole buffer, headroom included.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and the token is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.region.stride) }
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
