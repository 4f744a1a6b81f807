//! The file format: pcapng (draft-ietf-opsawg-pcapng), as far as a capture needs it.
//!
//! Written here, since four kinds of block are a page; read with `pcap-parser`, since files come from anywhere.

mod read;
mod write;

pub use read::{Capture, Captured, open};
pub use write::{Interface, Pcapng, Statistics};

/// LINKTYPE_RAW: packets begin with their IP header.
pub const LINKTYPE_RAW: u16 = 101;

#[cfg(test)]
mod tests;
