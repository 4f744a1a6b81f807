//! The unsafe room of the ports: memory, socket calls, message headers, io_uring. Everything it exports is safe to call.
//!
//! Two rules carry the safety notes of the files below:
//! - a [`memory::Buffer`] is the only token of its bytes, so whoever owns the token owns the bytes;
//! - the kernel gets an address only while the structure that made the call owns the token behind it.

pub(crate) mod address;
pub(crate) mod bpf;
pub(crate) mod memory;
pub(crate) mod message;
pub(crate) mod ring;
pub(crate) mod schedule;
pub(crate) mod socket;
pub(crate) mod xsk;
