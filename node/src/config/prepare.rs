//! Configuration, genesis and keys together: does this validator have a seat on this chain?

use super::NodeConfig;
use crate::exit::Exit;
use crate::genesis::Genesis;
use crate::keys::key_file_exit;
use samara_crypto::{Keyring, Roster};
use samara_types::digest::hex;
use samara_types::{Epoch, SigningDomain, ValidatorIndex};
use std::net::SocketAddr;
use std::path::Path;

/// Everything `run` starts from, each part checked against the others.
pub struct Prepared {
    /// Host values.
    pub config: NodeConfig,
    /// The chain.
    pub genesis: Genesis,
    /// The validator's secrets.
    pub keyring: Keyring,
    /// The validator's seat.
    pub me: ValidatorIndex,
    /// Decoded keys of the set; every proof of possession holds.
    pub roster: Roster,
}

impl Prepared {
    /// Loads and checks all of it. The cheap checks come first; proofs of possession cost about a millisecond per member.
    pub fn load(path: &Path) -> Result<Prepared, Exit> {
        let config = NodeConfig::load(path)?;
        let genesis = Genesis::load(&config.genesis)?;
        if config.chain != genesis.chain {
            let allowed = format!("{}, the chain of {}", hex(&genesis.chain.0), config.genesis.display());
            return Err(Exit::bad("chain.id", hex(&config.chain.0), allowed));
        }
        let keyring = Keyring::load(&config.keys).map_err(|error| key_file_exit("node.keys", &config.keys, &error))?;
        let me = seat(&config, &genesis, &keyring)?;
        family(&config, &genesis, me)?;
        let domain = SigningDomain { chain: genesis.chain, epoch: Epoch(0) };
        let roster = Roster::new(genesis.set.clone(), domain)
            .map_err(|error| Exit::Usage(format!("node.genesis = {}: {error}", config.genesis.display())))?;
        Ok(Prepared { config, genesis, keyring, me, roster })
    }

    /// Local address of the datagram port.
    pub fn datagram_listen(&self) -> SocketAddr {
        self.config.network.listen.unwrap_or(self.genesis.addresses[self.me.at()].datagram)
    }

    /// Local address of the client door.
    pub fn client_listen(&self) -> SocketAddr {
        self.config.client.listen.unwrap_or(self.genesis.addresses[self.me.at()].client)
    }

    /// Local address of the sync server.
    pub fn sync_listen(&self) -> SocketAddr {
        self.config.network.sync_listen.unwrap_or(self.genesis.addresses[self.me.at()].sync)
    }
}

/// A socket of one family reaches no peer of the other (`[::]` means IPv6 alone): one that would reach nobody is a mistake.
fn family(config: &NodeConfig, genesis: &Genesis, me: ValidatorIndex) -> Result<(), Exit> {
    let Some(listen) = config.network.listen else { return Ok(()) };
    let mut peers = genesis.addresses.iter().enumerate().filter(|(at, _)| *at != me.at()).map(|(_, addresses)| addresses.datagram);
    if peers.any(|peer| peer.is_ipv6() == listen.is_ipv6()) {
        return Ok(());
    }
    let family = if listen.is_ipv6() { "IPv4" } else { "IPv6" };
    Err(Exit::bad("network.listen", listen, format!("an {family} address, as all peers in {} have", config.genesis.display())))
}

/// The seat of these keys: all three must be those of one member, and of the one the operator named.
fn seat(config: &NodeConfig, genesis: &Genesis, keyring: &Keyring) -> Result<ValidatorIndex, Exit> {
    let keys = config.keys.display();
    let bad = |allowed: String| Err(Exit::bad("node.keys", keys, allowed));
    let Some(seat) = genesis.seat_of(&keyring.session.public_key()) else {
        return bad(format!("a key file of one of the {} validators in {}", genesis.set.len(), config.genesis.display()));
    };
    let entry = genesis.set.get(seat).expect("a seat that was found");
    if entry.vote_key != keyring.vote.public_key() || entry.identity_key != keyring.identity.public_key() {
        return bad(format!("a key file whose three keys are those of validator {seat}"));
    }
    match config.index {
        Some(index) if index != seat.0 => bad(format!("the key file of validator {index} (node.index); this one is of validator {seat}")),
        _ => Ok(seat),
    }
}
