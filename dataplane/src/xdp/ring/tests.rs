//! The ring arithmetic against a `VecDeque` on one thread, and under loom on two. Indices start near the end of `u32`, so every run wraps.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::AtomicU32;

use proptest::prelude::*;

use super::*;

/// A ring on the heap, seen by both sides.
pub(crate) struct Heap<T> {
    shared: Rc<Shared<T>>,
}

pub(crate) struct Shared<T> {
    pub(crate) producer: AtomicU32,
    pub(crate) consumer: AtomicU32,
    slots: Vec<Cell<T>>,
}

impl<T: Copy + Default> Heap<T> {
    pub(crate) fn new(capacity: u32, start: u32) -> Heap<T> {
        let slots = (0..capacity).map(|_| Cell::default()).collect();
        Heap { shared: Rc::new(Shared { producer: AtomicU32::new(start), consumer: AtomicU32::new(start), slots }) }
    }

    /// The other side.
    pub(crate) fn other(&self) -> Heap<T> {
        Heap { shared: Rc::clone(&self.shared) }
    }

    pub(crate) fn shared(&self) -> &Shared<T> {
        &self.shared
    }
}

impl<T: Copy> RingMemory for Heap<T> {
    type Entry = T;
    type Index = AtomicU32;

    fn capacity(&self) -> u32 {
        self.shared.slots.len() as u32
    }

    fn producer(&self) -> &AtomicU32 {
        &self.shared.producer
    }

    fn consumer(&self) -> &AtomicU32 {
        &self.shared.consumer
    }

    fn flags(&self) -> u32 {
        0
    }

    fn read(&self, slot: u32) -> T {
        self.shared.slots[slot as usize].get()
    }

    fn write(&mut self, slot: u32, entry: T) {
        self.shared.slots[slot as usize].set(entry);
    }
}

proptest! {
    /// Steps: 0..=5 write, 6 publish, 7..=9 read what is there (at most this many), 10 release.
    #[test]
    fn the_ring_equals_a_queue_whatever_the_order_of_calls(
        steps in prop::collection::vec((0..=10_u8, 1..5_u32), 0..400),
        log_capacity in 0..4_u32,
        before_the_wrap in 0..12_u32,
    ) {
        let capacity = 1 << log_capacity;
        let memory = Heap::new(capacity, u32::MAX - before_the_wrap);
        let (mut producer, mut consumer) = (Producer::new(memory.other()), Consumer::new(memory));
        // The oracle: what was written, what of it is visible, what was read and not released.
        let (mut written, mut visible, mut unreleased, mut next) = (VecDeque::new(), VecDeque::new(), 0, 0_u64);
        for (step, count) in steps {
            match step {
                0..=5 => {
                    let used = written.len() + visible.len() + unreleased;
                    prop_assert!(producer.free(capacity) as usize == capacity as usize - used);
                    if producer.free(1) > 0 {
                        producer.push(next);
                        written.push_back(next);
                        next += 1;
                    }
                    prop_assert_eq!(producer.unpublished() as usize, written.len());
                }
                6 => {
                    producer.publish();
                    visible.append(&mut written);
                    prop_assert_eq!(producer.unconsumed() as usize, visible.len() + unreleased);
                }
                7..=9 => {
                    let available = consumer.available();
                    prop_assert!(available as usize <= visible.len());
                    prop_assert!((available == 0) == visible.is_empty());
                    for _ in 0..available.min(count) {
                        prop_assert_eq!(Some(consumer.pop()), visible.pop_front());
                        unreleased += 1;
                    }
                }
                _ => {
                    consumer.release();
                    unreleased = 0;
                }
            }
        }
        prop_assert_eq!((producer.unbelieved(), consumer.unbelieved()), (0, 0));
    }

    #[test]
    fn a_lying_index_is_counted_and_never_believed(lies in prop::collection::vec(any::<u32>(), 1..50), start: u32) {
        let memory = Heap::<u64>::new(4, start);
        let mut producer = Producer::new(memory.other());
        let mut consumer = Consumer::new(memory.other());
        for lie in lies {
            memory.shared().consumer.store(lie, Ordering::Release);
            let (published, seen) = (producer.published, producer.consumed);
            let free = producer.free(5);
            let sound = lie.wrapping_sub(seen) <= published.wrapping_sub(seen);
            prop_assert_eq!(producer.consumed, if sound { lie } else { seen });
            prop_assert!(free <= 4);
            memory.shared().producer.store(lie, Ordering::Release);
            prop_assert!(consumer.available() <= 4);
            memory.shared().producer.store(consumer.produced, Ordering::Release);
        }
    }
}

#[test]
#[should_panic(expected = "the caller asked for room")]
fn writing_into_a_full_ring_is_a_mistake() {
    let mut producer = Producer::new(Heap::new(2, u32::MAX));
    (0..3).for_each(|entry: u64| producer.push(entry));
}

#[test]
#[should_panic(expected = "the caller asked for an entry")]
fn reading_from_an_empty_ring_is_a_mistake() {
    Consumer::new(Heap::<u64>::new(2, 7)).pop();
}

mod under_loom {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    use super::super::{Consumer, Index, Producer, RingMemory};

    impl Index for AtomicU32 {
        fn load(&self, order: Ordering) -> u32 {
            self.load(order)
        }

        fn store(&self, value: u32, order: Ordering) {
            self.store(value, order);
        }
    }

    /// Slots are relaxed atomics: loom then hands out every value that the indices' ordering does not forbid. The cell beside each is looked into for reading
    /// and for writing: loom reports a write that a read does not happen before.
    struct Memory {
        producer: AtomicU32,
        consumer: AtomicU32,
        slots: [(AtomicU64, UnsafeCell<()>); 2],
    }

    #[derive(Clone)]
    struct Side(Arc<Memory>);

    impl RingMemory for Side {
        type Entry = u64;
        type Index = AtomicU32;

        fn capacity(&self) -> u32 {
            2
        }

        fn producer(&self) -> &AtomicU32 {
            &self.0.producer
        }

        fn consumer(&self) -> &AtomicU32 {
            &self.0.consumer
        }

        fn flags(&self) -> u32 {
            0
        }

        fn read(&self, slot: u32) -> u64 {
            let (value, guard) = &self.0.slots[slot as usize];
            guard.with(|_| value.load(Ordering::Relaxed))
        }

        fn write(&mut self, slot: u32, entry: u64) {
            let (value, guard) = &self.0.slots[slot as usize];
            guard.with_mut(|_| value.store(entry, Ordering::Relaxed));
        }
    }

    /// Four entries through two slots, so that slots are used again while the other side may still read them; the indices wrap on the way.
    #[test]
    fn entries_arrive_once_in_order_under_every_interleaving() {
        const ENTRIES: u64 = 4;
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(4);
        model.check(|| {
            let start = u32::MAX - 1;
            let side = Side(Arc::new(Memory {
                producer: AtomicU32::new(start),
                consumer: AtomicU32::new(start),
                slots: [(AtomicU64::new(100), UnsafeCell::new(())), (AtomicU64::new(100), UnsafeCell::new(()))],
            }));
            let mut producer = Producer::new(side.clone());
            let mut consumer = Consumer::new(side);
            let writer = loom::thread::spawn(move || {
                let mut next = 0;
                while next < ENTRIES {
                    let free = u64::from(producer.free(1)).min(ENTRIES - next);
                    if free == 0 {
                        loom::thread::yield_now();
                        continue;
                    }
                    (0..free).for_each(|step| producer.push(next + step));
                    producer.publish();
                    next += free;
                }
                assert_eq!(producer.unbelieved(), 0);
            });
            let mut expected = 0;
            while expected < ENTRIES {
                let available = consumer.available();
                if available == 0 {
                    loom::thread::yield_now();
                    continue;
                }
                for _ in 0..available {
                    assert_eq!(consumer.pop(), expected);
                    expected += 1;
                }
                consumer.release();
            }
            assert_eq!(consumer.unbelieved(), 0);
            writer.join().expect("the writer ends");
        });
    }
}
