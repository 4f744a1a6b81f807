//! `samara keygen`: a key file and its public half.

use crate::cli::KeygenArgs;
use crate::exit::Exit;
use samara_crypto::{KeyFileError, Keyring};
use samara_types::digest::hex;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Name of the key file in the directory it is written to.
pub const KEY_FILE: &str = "keys";

/// The public half of a key file, as a genesis carries it (hexadecimal).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKeys {
    /// BLS12-381 G2 key for votes, 96 B.
    pub vote_key: String,
    /// Proof of possession of the vote key, 48 B.
    pub possession: String,
    /// Ed25519 key for slice commitments, 32 B.
    pub identity_key: String,
    /// X25519 key for sessions, 32 B.
    pub session_key: String,
}

impl PublicKeys {
    /// The public half of `keyring`.
    pub fn of(keyring: &Keyring) -> PublicKeys {
        PublicKeys {
            vote_key: hex(&keyring.vote.public_key()),
            possession: hex(&keyring.vote.possession()),
            identity_key: hex(&keyring.identity.public_key()),
            session_key: hex(&keyring.session.public_key()),
        }
    }
}

/// Writes a fresh key file and prints its public keys in the form of a `[[validator]]` entry.
pub fn keygen(args: &KeygenArgs) -> Result<(), Exit> {
    let path = args.out.join(KEY_FILE);
    make_directory("--out", &args.out)?;
    let keyring = Keyring::generate();
    keyring.save(&path).map_err(|error| key_file_exit("--out", &path, &error))?;
    print!("{}", toml::to_string(&PublicKeys::of(&keyring)).expect("four strings serialize"));
    Ok(())
}

/// Makes a directory that an argument or key names.
pub fn make_directory(key: &str, path: &Path) -> Result<(), Exit> {
    std::fs::create_dir_all(path).map_err(|error| Exit::bad(key, path.display(), format!("a directory that can be made ({error})")))
}

/// A key file that cannot be used, under the key that named it.
pub fn key_file_exit(key: &str, path: &Path, error: &KeyFileError) -> Exit {
    Exit::Usage(crate::exit::one_line(&format!("{key} = {}: {error}", path.display())))
}
