//! The genesis file: name and seed of the chain, parameters, the validators with stake, keys and addresses.
//!
//! The chain id is a digest over a canonical binary form (name, seed, parameter fingerprint, set fingerprint), not over the text, so
//! comments and key order do not matter. Addresses are not part of it: a validator may move. Everything else is: a changed stake,
//! key or timeout is another chain, and sessions between the two fail at the handshake.

mod create;
mod file;

pub(crate) use create::validator_directory;
pub use create::{Create, command};

use crate::exit::Exit;
use samara_types::params::Params;
use samara_types::{ChainId, Digest, ValidatorIndex, ValidatorSet};
use std::net::SocketAddr;
use std::path::Path;

/// Name of the genesis file.
pub const GENESIS_FILE: &str = "genesis.toml";

/// Where a validator is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Datagrams between validators (UDP).
    pub datagram: SocketAddr,
    /// Clients (TCP).
    pub client: SocketAddr,
    /// Catch-up streams (TCP).
    pub sync: SocketAddr,
}

/// A checked genesis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// Name for people.
    pub name: String,
    /// Beacon of epoch 0: seeds the leader schedule and the relay seats.
    pub seed: Digest,
    /// Cluster-wide parameters.
    pub params: Params,
    /// Members and quorums.
    pub set: ValidatorSet,
    /// Addresses in index order.
    pub addresses: Vec<Addresses>,
    /// Identity of the chain.
    pub chain: ChainId,
}

impl Genesis {
    /// Puts checked parts together and derives the chain id.
    fn assemble(name: String, seed: Digest, params: Params, set: ValidatorSet, addresses: Vec<Addresses>) -> Genesis {
        assert_eq!(set.len(), addresses.len(), "one address entry per member");
        let chain = chain_id(&name, &seed, &params, &set);
        Genesis { name, seed, params, set, addresses, chain }
    }

    /// Reads and checks a genesis file. Proofs of possession are checked by whoever builds the roster.
    pub fn load(path: &Path) -> Result<Genesis, Exit> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Exit::bad("genesis", path.display(), format!("a readable genesis file ({error})")))?;
        file::parse(&text, path)
    }

    /// The text of the genesis file.
    pub fn to_text(&self) -> String {
        file::render(self)
    }

    /// Digest of what all validators must share besides the chain id: compared in the session handshake.
    pub fn fingerprint(&self) -> Digest {
        Digest::of("samara 2026 cluster", &[&self.chain.0, &self.params.fingerprint().0, &self.set.fingerprint().0])
    }

    /// The seat whose session key is `session_key`.
    pub fn seat_of(&self, session_key: &[u8; 32]) -> Option<ValidatorIndex> {
        self.set.indexes().find(|index| self.set.get(*index).is_some_and(|entry| entry.session_key == *session_key))
    }
}

fn chain_id(name: &str, seed: &Digest, params: &Params, set: &ValidatorSet) -> ChainId {
    let name_length = (name.len() as u64).to_le_bytes();
    let parts: [&[u8]; 5] = [&name_length, name.as_bytes(), &seed.0, &params.fingerprint().0, &set.fingerprint().0];
    ChainId(Digest::of("samara 2026 chain", &parts).0)
}

#[cfg(test)]
mod tests;
