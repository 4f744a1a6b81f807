//! The key file of a validator: its three secrets, readable by its owner only.
//!
//! `"samara key file\n" 16 | version u8 | zero 7 | vote 32 | identity 32 | session 32 | checksum 32`, 152 bytes. The checksum is BLAKE3 over
//! all before it and finds damage, not tampering: whoever can write the file can replace the keys.
//!
//! Mode and content are read from one open descriptor, so the file that was judged is the file that is used. Buffers are erased.

use crate::bls::VoteSecret;
use crate::identity::{IdentitySecret, SessionSecret};
use samara_types::Digest;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const MAGIC: &[u8; 16] = b"samara key file\n";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 24;
const CHECKED_BYTES: usize = HEADER_BYTES + 3 * 32;
const FILE_BYTES: usize = CHECKED_BYTES + 32;

/// All secrets of one validator.
#[derive(Clone, Debug)]
pub struct Keyring {
    /// Votes and nullifies.
    pub vote: VoteSecret,
    /// Slice commitments.
    pub identity: IdentitySecret,
    /// Sessions.
    pub session: SessionSecret,
}

/// Why a key file is not read or written: one line that names the path and what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The system refused.
    #[error("key file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory, a socket or the like.
    #[error("key file {path}: is not a regular file: allowed is a file made by `samara keygen`")]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Group or others have access.
    #[error("key file {path}: mode = {mode:04o}: allowed is 0600, no access for group and others")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Too short, too long, or something else altogether.
    #[error("key file {path}: is not a Samara key file: allowed are {FILE_BYTES} bytes made by `samara keygen`")]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// Of another version.
    #[error("key file {path}: version = {found}: allowed is {VERSION}")]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it has.
        found: u8,
    },
    /// Damaged.
    #[error("key file {path}: its checksum does not match its content: restore it from a backup")]
    Checksum {
        /// The file.
        path: PathBuf,
    },
}

impl Keyring {
    /// Fresh keys from operating-system randomness.
    ///
    /// # Panics
    /// If the operating system has no randomness to give.
    pub fn generate() -> Keyring {
        Keyring { vote: VoteSecret::generate(), identity: IdentitySecret::generate(), session: SessionSecret::generate() }
    }

    /// Writes a key file with mode 0600 and waits until it and its name are on disk. Never overwrites: a lost vote key cannot be had again.
    pub fn save(&self, path: &Path) -> Result<(), KeyFileError> {
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(&*self.encode())?;
            file.sync_all()?;
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(directory)?.sync_all()
        };
        write().map_err(|source| KeyFileError::Io { path: path.into(), source })
    }

    /// Reads a key file, after checking that only its owner has access.
    pub fn load(path: &Path) -> Result<Keyring, KeyFileError> {
        let io = |source| KeyFileError::Io { path: path.into(), source };
        let mut file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(KeyFileError::NotAFile { path: path.into() });
        }
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Exposed { path: path.into(), mode });
        }
        if metadata.len() != FILE_BYTES as u64 {
            return Err(KeyFileError::Format { path: path.into() });
        }
        let mut bytes = Zeroizing::new([0; FILE_BYTES]);
        file.read_exact(&mut *bytes).map_err(io)?;
        Keyring::decode(&bytes, path)
    }

    fn encode(&self) -> Zeroizing<[u8; FILE_BYTES]> {
        let mut bytes = Zeroizing::new([0; FILE_BYTES]);
        bytes[..16].copy_from_slice(MAGIC);
        bytes[16] = VERSION;
        let secrets = [self.vote.to_bytes(), self.identity.to_bytes(), self.session.to_bytes()];
        for (slot, secret) in bytes[HEADER_BYTES..CHECKED_BYTES].chunks_exact_mut(32).zip(&secrets) {
            slot.copy_from_slice(&**secret);
        }
        let checksum = checksum(&bytes);
        bytes[CHECKED_BYTES..].copy_from_slice(&checksum);
        bytes
    }

    /// Magic, version, checksum, then the keys; `path` only names the file in errors.
    fn decode(bytes: &[u8; FILE_BYTES], path: &Path) -> Result<Keyring, KeyFileError> {
        let format = || KeyFileError::Format { path: path.into() };
        if bytes[..16] != *MAGIC {
            return Err(format());
        }
        if bytes[16] != VERSION {
            return Err(KeyFileError::Version { path: path.into(), found: bytes[16] });
        }
        if bytes[CHECKED_BYTES..] != checksum(bytes) {
            return Err(KeyFileError::Checksum { path: path.into() });
        }
        if bytes[17..HEADER_BYTES] != [0; 7] {
            return Err(format());
        }
        let secret = |at: usize| -> &[u8; 32] { bytes[HEADER_BYTES + 32 * at..][..32].try_into().expect("32 bytes") };
        let vote = VoteSecret::from_bytes(secret(0)).ok_or_else(format)?;
        Ok(Keyring { vote, identity: IdentitySecret::from_bytes(secret(1)), session: SessionSecret::from_bytes(secret(2)) })
    }
}

fn checksum(bytes: &[u8; FILE_BYTES]) -> [u8; 32] {
    Digest::of("samara 2026 key file", &[&bytes[..CHECKED_BYTES]]).0
}

#[cfg(test)]
mod tests;
