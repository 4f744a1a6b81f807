//! Writing blocks. Little-endian; times in nanoseconds.

use super::LINKTYPE_RAW;
use std::io::{self, Write};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const COMMENT: u16 = 1;
/// 10^-9 s.
const NANOSECONDS: u8 = 9;

/// Describes the one interface of a capture.
pub struct Interface<'a> {
    /// if_name.
    pub name: &'a str,
    /// if_description.
    pub description: &'a str,
    /// opt_comment.
    pub comment: &'a str,
    /// Bytes kept of a packet.
    pub snaplen: u32,
}

/// What an interface counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// First and last time, nanoseconds since 1970.
    pub times: (u64, u64),
    /// Packets seen, lost ones included; None if unknown.
    pub seen: Option<u64>,
    /// Packets lost; None if unknown.
    pub lost: Option<u64>,
}

/// Writes one section with one interface.
pub struct Pcapng<W: Write> {
    out: W,
    block: Vec<u8>,
}

impl<W: Write> Pcapng<W> {
    /// Writes what stands at the front.
    pub fn begin(out: W, application: &str, interface: &Interface<'_>) -> io::Result<Pcapng<W>> {
        let mut file = Pcapng { out, block: Vec::with_capacity(4096) };
        file.block.extend_from_slice(&BYTE_ORDER.to_le_bytes());
        file.block.extend_from_slice(&[1, 0, 0, 0]);
        // The length of a section that is still being written is not known.
        file.block.extend_from_slice(&u64::MAX.to_le_bytes());
        file.option(3, std::env::consts::OS.as_bytes());
        file.option(4, application.as_bytes());
        file.end_of_options();
        file.finish(SECTION_HEADER)?;
        file.block.extend_from_slice(&LINKTYPE_RAW.to_le_bytes());
        file.block.extend_from_slice(&[0, 0]);
        file.block.extend_from_slice(&interface.snaplen.to_le_bytes());
        file.option(COMMENT, interface.comment.as_bytes());
        file.option(2, interface.name.as_bytes());
        file.option(3, interface.description.as_bytes());
        file.option(9, &[NANOSECONDS]);
        file.end_of_options();
        file.finish(INTERFACE_DESCRIPTION)?;
        Ok(file)
    }

    /// A packet. `lost_before`: packets lost between the previous one and this one.
    pub fn packet(&mut self, unix_ns: u64, packet: &[u8], wire_len: usize, sent: bool, lost_before: u32, comment: &str) -> io::Result<()> {
        self.word(0);
        self.time(unix_ns);
        self.word(packet.len() as u32);
        self.word(wire_len as u32);
        self.block.extend_from_slice(packet);
        self.pad();
        self.option(COMMENT, comment.as_bytes());
        let direction: u32 = if sent { 0b10 } else { 0b01 };
        self.option(2, &direction.to_le_bytes());
        if lost_before > 0 {
            self.option(4, &u64::from(lost_before).to_le_bytes());
        }
        self.end_of_options();
        self.finish(ENHANCED_PACKET)
    }

    /// The interface's counters: the last block.
    pub fn statistics(&mut self, statistics: Statistics) -> io::Result<()> {
        self.word(0);
        self.time(statistics.times.1);
        for (code, time) in [(2, statistics.times.0), (3, statistics.times.1)] {
            let halves = [(time >> 32) as u32, time as u32].map(u32::to_le_bytes);
            self.option(code, halves.as_flattened());
        }
        for (code, count) in [(4, statistics.seen), (5, statistics.lost)] {
            count.iter().for_each(|count| self.option(code, &count.to_le_bytes()));
        }
        self.end_of_options();
        self.finish(INTERFACE_STATISTICS)
    }

    /// Everything written so far reaches the reader.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn word(&mut self, word: u32) {
        self.block.extend_from_slice(&word.to_le_bytes());
    }

    /// Times are two words, the upper first, whatever the byte order.
    fn time(&mut self, unix_ns: u64) {
        self.word((unix_ns >> 32) as u32);
        self.word(unix_ns as u32);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        self.block.extend_from_slice(&code.to_le_bytes());
        self.block.extend_from_slice(&(value.len() as u16).to_le_bytes());
        self.block.extend_from_slice(value);
        self.pad();
    }

    fn end_of_options(&mut self) {
        self.word(0);
    }

    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    fn finish(&mut self, kind: u32) -> io::Result<()> {
        let len = (self.block.len() as u32 + 12).to_le_bytes();
        let front = [kind.to_le_bytes(), len];
        self.out.write_all(front.as_flattened())?;
        self.out.write_all(&self.block)?;
        self.out.write_all(&len)?;
        self.block.clear();
        Ok(())
    }
}
