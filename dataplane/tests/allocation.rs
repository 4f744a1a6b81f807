//! Opening, refusing and sealing datagrams allocates nothing. One test in a process of its own: the counter is global.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use samara_dataplane::session::{COOKIE_BYTES, DropReason, INIT_BYTES, Opened, RESPONSE_BYTES, SessionConfig, SessionLimits, Sessions};
use samara_types::datagram::DATAGRAM_BYTES_MAX;
use samara_types::{ChainId, Digest, MessageKind, Nanos, ValidatorIndex};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system allocator unchanged; the counter is a plain cell of the thread and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`; the pointer came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

fn secret(i: u8) -> [u8; 32] {
    *blake3::hash(&[i]).as_bytes()
}

fn machine(me: u8) -> Sessions {
    let public = |i| x25519_dalek::x25519(secret(i), x25519_dalek::X25519_BASEPOINT_BYTES);
    let config = SessionConfig {
        chain: ChainId([1; 32]),
        me: ValidatorIndex(me.into()),
        secret: secret(me),
        peers: (0..2).map(|i| (public(i), ([10, 0, 0, i], 7000).into())).collect(),
        cluster_fingerprint: Digest([2; 32]),
        boot_ns: 1,
        limits: SessionLimits::default(),
    };
    Sessions::new(config, [me; 32])
}

fn settle(machines: &mut [Sessions; 2]) {
    let mut out = [0; DATAGRAM_BYTES_MAX];
    for ms in 0..500 {
        for from in 0..2 {
            while let Some((_, len)) = machines[from].poll_transmit(Nanos::from_millis(ms), &mut out) {
                machines[1 - from].open(Nanos::from_millis(ms), ([10, 0, 0, from as u8], 7000).into(), &mut out[..len]);
            }
        }
    }
    assert!(machines.iter().all(|machine| machine.up() == 1));
}

#[test]
fn a_bad_datagram_and_a_good_one_allocate_nothing() {
    let mut machines = [machine(0), machine(1)];
    settle(&mut machines);
    let [sender, receiver] = &mut machines;
    let now = Nanos::from_millis(600);
    let mut noise = blake3::Hasher::new().finalize_xof();
    let mut buffer = [0u8; DATAGRAM_BYTES_MAX];
    let before = allocations();
    for round in 0..20_000u32 {
        // Random bytes dressed as each type, at the exact lengths of handshakes too.
        let len = [round as usize % DATAGRAM_BYTES_MAX, INIT_BYTES, RESPONSE_BYTES, COOKIE_BYTES][round as usize % 4];
        noise.fill(&mut buffer[..len]);
        buffer[..4].copy_from_slice(&[1 + (round / 4 % 4) as u8, 1, 0, 0]);
        let opened = receiver.open(now, ([9, 9, round as u8, 9], 9).into(), &mut buffer[..len]);
        assert!(matches!(opened, Opened::Dropped(_)));
    }
    for _ in 0..20_000 {
        let message = [7; 1200];
        let (len, _) = sender.seal(now, ValidatorIndex(1), MessageKind::Shred, &message, &mut buffer).expect("up");
        let copy = buffer;
        assert!(matches!(receiver.open(now, ([10, 0, 0, 0], 7000).into(), &mut buffer[..len]), Opened::Message { .. }));
        buffer = copy;
        let again = receiver.open(now, ([10, 0, 0, 0], 7000).into(), &mut buffer[..len]);
        assert_eq!(again, Opened::Dropped(DropReason::Replayed));
    }
    assert_eq!(allocations() - before, 0);
    drop(vec![1u8; 10]);
    assert!(allocations() > before, "the counter counts");
}
