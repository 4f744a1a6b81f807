//! Reading captures. A file may come from anywhere: every error is one line, memory is bounded by the buffer of one block.

use super::LINKTYPE_RAW;
use pcap_parser::pcapng::{Block, OptionCode, PcapNGOption};
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{Linktype, PcapBlockOwned, PcapError, PcapNGReader};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Largest block: a packet with its options is far below.
const BLOCK_BYTES_MAX: usize = 1 << 20;
/// Interfaces of a section that are remembered.
const INTERFACES_MAX: usize = 1024;
/// Linux's "cooked" and Ethernet captures have headers we would have to strip; ours have none.
const ALLOWED: &str = "a pcapng file of `samara capture` (raw IP packets)";

/// A capture that is read packet by packet.
pub struct Capture<R: Read> {
    reader: PcapNGReader<R>,
    section: Section,
}

/// What the packets of a section are read by.
#[derive(Default)]
struct Section {
    /// Numbers in options are; the reader knows it of all others.
    big_endian: bool,
    interfaces: Vec<Interface>,
}

struct Interface {
    raw: bool,
    /// Units per second.
    resolution: u64,
    comment: String,
}

/// A packet of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Nanoseconds since 1970.
    pub unix_ns: u64,
    /// The IP packet as far as it was kept.
    pub packet: Vec<u8>,
    /// Bytes it had.
    pub wire_len: usize,
    /// Sent by the captured validator; None if the file does not say.
    pub sent: Option<bool>,
    /// Packets lost before it.
    pub lost_before: u64,
    /// Its comment.
    pub comment: String,
    /// The comment of its interface.
    pub interface: String,
}

/// Opens a regular file: a replay reads it more than once, and of a pipe there is only one reading.
pub fn open(path: &Path) -> Result<Capture<File>, String> {
    // Without O_NONBLOCK opening a pipe waits for a writer.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = opened.map_err(|error| format!("a readable file ({error})"))?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err("a regular file: it is read more than once (write what comes from a pipe into a file first)".into());
    }
    Capture::new(file)
}

impl<R: Read> Capture<R> {
    /// Reads what stands at the front.
    pub fn new(reader: R) -> Result<Capture<R>, String> {
        let reader = PcapNGReader::new(BLOCK_BYTES_MAX, reader).map_err(|error| format!("{ALLOWED} ({})", name(&error)))?;
        Ok(Capture { reader, section: Section::default() })
    }

    /// The next packet; None at the end. A file that was cut in the middle of a block ends with an error.
    pub fn next_packet(&mut self) -> Result<Option<Captured>, String> {
        let mut refilled = false;
        loop {
            match self.reader.next() {
                Ok((len, block)) => {
                    let found = match block {
                        PcapBlockOwned::NG(block) => self.section.take(&block),
                        _ => Err(ALLOWED.to_string()),
                    };
                    self.reader.consume(len);
                    refilled = false;
                    if let Some(captured) = found? {
                        return Ok(Some(captured));
                    }
                }
                Err(PcapError::Eof) => return Ok(None),
                Err(PcapError::Incomplete(_)) if !refilled => {
                    refilled = true;
                    self.reader.refill().map_err(|error| format!("a whole file ({})", name(&error)))?;
                }
                Err(error) => return Err(format!("a whole, undamaged file ({})", name(&error))),
            }
        }
    }
}

impl Section {
    fn take(&mut self, block: &Block<'_>) -> Result<Option<Captured>, String> {
        match block {
            Block::SectionHeader(section) => *self = Section { big_endian: section.big_endian(), interfaces: Vec::new() },
            Block::InterfaceDescription(interface) => {
                if self.interfaces.len() >= INTERFACES_MAX {
                    return Err(format!("a file of at most {INTERFACES_MAX} interfaces"));
                }
                self.interfaces.push(Interface {
                    raw: interface.linktype == Linktype(i32::from(LINKTYPE_RAW)),
                    resolution: interface.ts_resolution().filter(|resolution| *resolution > 0).unwrap_or(1_000_000),
                    comment: comment(&interface.options),
                });
            }
            Block::EnhancedPacket(packet) => {
                let interface = self.interfaces.get(packet.if_id as usize).ok_or("a file whose packets name their interface")?;
                if !interface.raw {
                    return Err(ALLOWED.to_string());
                }
                let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let unix_ns = u128::from(ticks) * 1_000_000_000 / u128::from(interface.resolution);
                return Ok(Some(Captured {
                    unix_ns: u64::try_from(unix_ns).unwrap_or(u64::MAX),
                    packet: packet.packet_data().to_vec(),
                    wire_len: packet.orig_len() as usize,
                    sent: self.number(&packet.options, 2).and_then(|flags| [None, Some(false), Some(true), None][flags as usize & 3]),
                    lost_before: self.number(&packet.options, 4).unwrap_or(0),
                    comment: comment(&packet.options),
                    interface: interface.comment.clone(),
                }));
            }
            _ => {}
        }
        Ok(None)
    }

    /// An option of four or eight bytes.
    fn number(&self, options: &[PcapNGOption<'_>], code: u16) -> Option<u64> {
        let bytes = option(options, code)?;
        let mut wide = [0; 8];
        if !matches!(bytes.len(), 4 | 8) {
            return None;
        }
        wide[..bytes.len()].copy_from_slice(bytes);
        if self.big_endian {
            wide[..bytes.len()].reverse();
        }
        Some(u64::from_le_bytes(wide))
    }
}

fn option<'a>(options: &'a [PcapNGOption<'_>], code: u16) -> Option<&'a [u8]> {
    let option = options.iter().find(|option| option.code == OptionCode(code))?;
    option.as_bytes().ok()
}

fn comment(options: &[PcapNGOption<'_>]) -> String {
    option(options, 1).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
}

fn name<I>(error: &PcapError<I>) -> &'static str {
    match error {
        PcapError::Eof | PcapError::UnexpectedEof | PcapError::Incomplete(_) => "it ends in the middle",
        PcapError::BufferTooSmall => "a block is too long",
        PcapError::ReadError => "it cannot be read",
        PcapError::HeaderNotRecognized => "it is no pcapng",
        _ => "a block is malformed",
    }
}
