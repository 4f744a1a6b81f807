//! The four rings between this process and the kernel, as arithmetic over any memory.
//!
//! ```text
//!   fill, tx        we produce   | free | written, not published | published, not consumed |
//!   rx, completion  we consume   | read, not released | available | free |
//! ```
//! Both indices run through all of `u32` and wrap; a slot is the index modulo the capacity, a power of two. Each side caches the other's index and reads the
//! shared word only when the cache says "nothing": one cache miss per batch. A slot is written before its index is published (release) and read after
//! the index was seen (acquire).
//!
//! The other side's index is input. One that claims more than the capacity is counted and not believed: the ring then looks empty (or full) until
//! the index makes sense again.

use std::sync::atomic::Ordering;

/// A shared index word.
pub(crate) trait Index {
    /// Reads the word.
    fn load(&self, order: Ordering) -> u32;
    /// Writes the word.
    fn store(&self, value: u32, order: Ordering);
}

impl Index for std::sync::atomic::AtomicU32 {
    fn load(&self, order: Ordering) -> u32 {
        self.load(order)
    }

    fn store(&self, value: u32, order: Ordering) {
        self.store(value, order);
    }
}

/// The memory of one ring.
pub(crate) trait RingMemory {
    /// What a slot holds.
    type Entry: Copy;
    /// The index words.
    type Index: Index;

    /// Slots, a power of two.
    fn capacity(&self) -> u32;
    /// Entries produced so far.
    fn producer(&self) -> &Self::Index;
    /// Entries consumed so far.
    fn consumer(&self) -> &Self::Index;
    /// Flags that the kernel sets.
    fn flags(&self) -> u32;
    /// Reads slot `slot`, below the capacity. Only the consumer calls it, for a slot that was published to it.
    fn read(&self, slot: u32) -> Self::Entry;
    /// Writes slot `slot`, below the capacity. Only the producer calls it, for a slot that it has not published.
    fn write(&mut self, slot: u32, entry: Self::Entry);
}

/// Our end of a ring that the kernel consumes.
pub(crate) struct Producer<M> {
    memory: M,
    next: u32,
    published: u32,
    consumed: u32,
    unbelieved: u64,
}

impl<M: RingMemory> Producer<M> {
    /// Takes the producing end; the indices go on where the memory has them.
    pub(crate) fn new(memory: M) -> Producer<M> {
        assert!(memory.capacity().is_power_of_two(), "slots are found by a mask");
        let next = memory.producer().load(Ordering::Acquire);
        let consumed = memory.consumer().load(Ordering::Acquire);
        assert!(next.wrapping_sub(consumed) <= memory.capacity(), "a ring is taken over in a sound state");
        Producer { next, published: next, consumed, memory, unbelieved: 0 }
    }

    /// Slots that can be written. Looks at the shared index only when the cached one leaves fewer than `wanted`.
    pub(crate) fn free(&mut self, wanted: u32) -> u32 {
        let cached = self.memory.capacity() - self.next.wrapping_sub(self.consumed);
        if cached >= wanted {
            return cached;
        }
        self.refresh();
        self.memory.capacity() - self.next.wrapping_sub(self.consumed)
    }

    /// Writes one slot. Panics when [`Self::free`] said there is none.
    pub(crate) fn push(&mut self, entry: M::Entry) {
        let capacity = self.memory.capacity();
        assert!(self.next.wrapping_sub(self.consumed) < capacity, "the caller asked for room");
        self.memory.write(self.next & (capacity - 1), entry);
        self.next = self.next.wrapping_add(1);
    }

    /// Shows the kernel what was written.
    pub(crate) fn publish(&mut self) {
        if self.published != self.next {
            self.memory.producer().store(self.next, Ordering::Release);
            self.published = self.next;
        }
    }

    /// Entries written and not published.
    pub(crate) fn unpublished(&self) -> u32 {
        self.next.wrapping_sub(self.published)
    }

    /// Entries published that the kernel has not taken: reads the shared index.
    pub(crate) fn unconsumed(&mut self) -> u32 {
        self.refresh();
        self.published.wrapping_sub(self.consumed)
    }

    /// Whether the kernel wants a system call to go on.
    pub(crate) fn needs_wakeup(&self) -> bool {
        self.memory.flags() & libc::XDP_RING_NEED_WAKEUP != 0
    }

    /// Times the kernel's index made no sense.
    pub(crate) fn unbelieved(&self) -> u64 {
        self.unbelieved
    }

    fn refresh(&mut self) {
        let consumed = self.memory.consumer().load(Ordering::Acquire);
        // It may be anywhere from what we saw last to what we published last.
        if consumed.wrapping_sub(self.consumed) <= self.published.wrapping_sub(self.consumed) {
            self.consumed = consumed;
        } else {
            self.unbelieved += 1;
        }
    }
}

/// Our end of a ring that the kernel produces.
pub(crate) struct Consumer<M> {
    memory: M,
    next: u32,
    released: u32,
    produced: u32,
    unbelieved: u64,
}

impl<M: RingMemory> Consumer<M> {
    /// Takes the consuming end; the indices go on where the memory has them.
    pub(crate) fn new(memory: M) -> Consumer<M> {
        assert!(memory.capacity().is_power_of_two(), "slots are found by a mask");
        let next = memory.consumer().load(Ordering::Acquire);
        Consumer { next, released: next, produced: next, memory, unbelieved: 0 }
    }

    /// Entries that can be read. Looks at the shared index only when the cache is used up.
    pub(crate) fn available(&mut self) -> u32 {
        if self.produced == self.next {
            self.refresh();
        }
        self.produced.wrapping_sub(self.next)
    }

    /// Reads one entry. Panics when [`Self::available`] said there is none.
    pub(crate) fn pop(&mut self) -> M::Entry {
        assert!(self.produced != self.next, "the caller asked for an entry");
        let entry = self.memory.read(self.next & (self.memory.capacity() - 1));
        self.next = self.next.wrapping_add(1);
        entry
    }

    /// Gives the slots of what was read back to the kernel.
    pub(crate) fn release(&mut self) {
        if self.released != self.next {
            self.memory.consumer().store(self.next, Ordering::Release);
            self.released = self.next;
        }
    }

    /// Times the kernel's index made no sense.
    pub(crate) fn unbelieved(&self) -> u64 {
        self.unbelieved
    }

    fn refresh(&mut self) {
        let produced = self.memory.producer().load(Ordering::Acquire);
        if produced.wrapping_sub(self.released) <= self.memory.capacity()
            && produced.wrapping_sub(self.released) >= self.produced.wrapping_sub(self.released)
        {
            self.produced = produced;
        } else {
            self.unbelieved += 1;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
