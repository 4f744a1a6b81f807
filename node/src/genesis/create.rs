//! `samara genesis`: makes a chain with fresh keys and one directory per validator.

use super::{Addresses, GENESIS_FILE, Genesis};
use crate::cli::{GenesisArgs, ParamArgs, TransportArg};
use crate::config;
use crate::exit::Exit;
use crate::keys::{KEY_FILE, key_file_exit, make_directory};
use samara_crypto::Keyring;
use samara_storage::{LogIdentity, UringVoteLog};
use samara_types::set::{Quorums, VALIDATORS_MAX};
use samara_types::{Digest, Nanos, Params, SetError, Stake, ValidatorEntry, ValidatorIndex, ValidatorSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// Ports a validator takes: datagrams, clients, sync.
const PORTS_EACH: u32 = 3;

/// What a new chain is made of.
#[derive(Clone, Debug)]
pub struct Create {
    /// Name for people.
    pub name: String,
    /// Stake of each validator.
    pub stakes: Vec<u64>,
    /// Fault bound; the largest allowed if None.
    pub fault_stake: Option<u64>,
    /// Parameters.
    pub params: Params,
    /// Host of all addresses; or one for each validator, which then all use the same ports.
    pub hosts: Vec<IpAddr>,
    /// First port.
    pub base_port: u16,
    /// Transport written into the configurations.
    pub transport: TransportArg,
}

impl Create {
    /// From command-line values, checked before any key is made.
    pub fn new(validators: usize, stakes: &[u64], params: &ParamArgs, base_port: u16) -> Result<Create, Exit> {
        if !(6..=VALIDATORS_MAX).contains(&validators) {
            return Err(Exit::bad("--validators", validators, format!("6 to {VALIDATORS_MAX} (fewer tolerate no fault)")));
        }
        if !stakes.is_empty() && stakes.len() != validators {
            return Err(Exit::bad("--stakes", list(stakes), format!("{validators} numbers, one per validator")));
        }
        let ports = PORTS_EACH * validators as u32;
        if u32::from(base_port) + ports > 65_536 || base_port == 0 {
            return Err(Exit::bad("--base-port", base_port, format!("1 to {}", 65_536 - ports)));
        }
        let stakes = if stakes.is_empty() { vec![1; validators] } else { stakes.to_vec() };
        let params = parameters(params)?;
        Ok(Create {
            name: "samara".into(),
            stakes,
            fault_stake: None,
            params,
            hosts: vec![[127, 0, 0, 1].into()],
            base_port,
            transport: TransportArg::Auto,
        })
    }

    /// Refuses weights that break a quorum guard, naming the argument.
    pub fn check_stakes(&self) -> Result<(), Exit> {
        let refuse = |error: SetError| {
            let named = self.fault_stake.filter(|_| matches!(error, SetError::Fault { .. }));
            let argument = named.map_or_else(|| format!("--stakes = {}", list(&self.stakes)), |fault| format!("--fault-stake = {fault}"));
            Exit::Usage(format!("{argument}: {error}"))
        };
        let total = self.stakes.iter().try_fold(0u64, |sum, stake| sum.checked_add(*stake)).ok_or_else(|| refuse(SetError::Overflow))?;
        if let Some(index) = self.stakes.iter().position(|stake| *stake == 0) {
            return Err(refuse(SetError::NoStake(index as u16)));
        }
        let quorums = Quorums::new(Stake(total), self.fault_stake.map(Stake)).map_err(refuse)?;
        let fault = quorums.fault.0;
        match self.stakes.iter().position(|stake| *stake > fault) {
            Some(index) => Err(refuse(SetError::Outweighs { index: index as u16, stake: self.stakes[index], fault, total })),
            None => Ok(()),
        }
    }

    /// Fresh keys and the genesis that names them.
    pub fn make(&self) -> Result<(Genesis, Vec<Keyring>), Exit> {
        assert!(self.hosts.len() == 1 || self.hosts.len() == self.stakes.len(), "one host, or one for each validator");
        self.check_stakes()?;
        let keyrings: Vec<Keyring> = self.stakes.iter().map(|_| Keyring::generate()).collect();
        let entries = self.stakes.iter().zip(&keyrings).map(|(stake, keyring)| entry(*stake, keyring)).collect();
        let set = ValidatorSet::new(entries, self.fault_stake.map(Stake)).map_err(|error| Exit::Usage(format!("--stakes: {error}")))?;
        let addresses = (0..self.stakes.len() as u16).map(|index| self.addresses(index)).collect();
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| Exit::Host(format!("the operating system gives no randomness: {error}")))?;
        Ok((Genesis::assemble(self.name.clone(), Digest(seed), self.params, set, addresses), keyrings))
    }

    fn addresses(&self, index: u16) -> Addresses {
        let (host, first) = match self.hosts[..] {
            [host] => (host, self.base_port + index * PORTS_EACH as u16),
            _ => (self.hosts[usize::from(index)], self.base_port),
        };
        let port = |at: u16| SocketAddr::new(host, first + at);
        Addresses { datagram: port(0), client: port(1), sync: port(2) }
    }

    /// Makes the chain and writes `out/genesis.toml` and `out/validator-I/{keys, samara.toml}`.
    pub fn write(&self, out: &Path) -> Result<Genesis, Exit> {
        let genesis_path = out.join(GENESIS_FILE);
        if genesis_path.exists() {
            return Err(Exit::bad("--out", out.display(), format!("a directory without {GENESIS_FILE}: a chain is never overwritten")));
        }
        let (genesis, keyrings) = self.make()?;
        for (index, keyring) in keyrings.iter().enumerate() {
            let directory = validator_directory(out, index);
            make_directory("--out", &directory)?;
            let keys = directory.join(KEY_FILE);
            keyring.save(&keys).map_err(|error| key_file_exit("--out", &keys, &error))?;
            write_file(&directory.join(config::CONFIG_FILE), &config::render(&genesis, index, self.transport))?;
            lay_vote_log(&genesis, index, keyring, &directory)?;
        }
        // Last, so that a directory with a genesis file is complete.
        write_file(&genesis_path, &genesis.to_text())?;
        Ok(genesis)
    }
}

/// An empty vote log says "has never voted"; a validator that finds none at its start must assume that it lost one.
fn lay_vote_log(genesis: &Genesis, index: usize, keyring: &Keyring, directory: &Path) -> Result<(), Exit> {
    let layout = config::Layout::new(&directory.join("data"));
    let identity = LogIdentity { chain: genesis.chain, validator: ValidatorIndex(index as u16), vote_key: keyring.vote.public_key() };
    UringVoteLog::open(&layout.votes, identity).map(drop).map_err(|error| Exit::Host(error.to_string()))
}

/// `DIR/validator-I`.
pub(crate) fn validator_directory(out: &Path, index: usize) -> PathBuf {
    out.join(format!("validator-{index}"))
}

fn write_file(path: &Path, text: &str) -> Result<(), Exit> {
    std::fs::write(path, text).map_err(|error| Exit::bad("--out", path.display(), format!("a file that can be written ({error})")))
}

fn entry(stake: u64, keyring: &Keyring) -> ValidatorEntry {
    ValidatorEntry {
        stake: Stake(stake),
        vote_key: keyring.vote.public_key(),
        possession: keyring.vote.possession(),
        identity_key: keyring.identity.public_key(),
        session_key: keyring.session.public_key(),
    }
}

fn list(stakes: &[u64]) -> String {
    stakes.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

/// The defaults with what the command line changes, checked.
fn parameters(args: &ParamArgs) -> Result<Params, Exit> {
    let default = Params::default();
    let ms = |value: Option<u64>, default: Nanos| value.map_or(default, Nanos::from_millis);
    let view_timeout = ms(args.view_timeout_ms, default.view_timeout);
    let block_interval = ms(args.block_interval_ms, default.block_interval);
    let idle_interval = default.idle_interval.min(Nanos(view_timeout.0 / 2)).max(block_interval);
    let params = Params {
        view_timeout,
        block_interval,
        idle_interval: ms(args.idle_interval_ms, idle_interval),
        payload_bytes_max: args.block_size.map_or(Ok(default.payload_bytes_max), |bytes| {
            u32::try_from(bytes).map_err(|_| Exit::bad("--block-size", bytes, "below 4G"))
        })?,
        relay_redundancy: args.relay_redundancy_percent.unwrap_or(default.relay_redundancy),
        hybrid_redundancy: args.hybrid_redundancy_percent.unwrap_or(default.hybrid_redundancy),
        dedup_heights: args.dedup_heights.unwrap_or(default.dedup_heights),
    };
    params.check().map(|()| params).map_err(|error| {
        let flag = if error.key == "payload_bytes_max" { "block-size".into() } else { error.key.replace('_', "-") };
        Exit::bad(format!("--{flag}"), error.value, error.allowed)
    })
}

/// The command.
pub fn command(args: &GenesisArgs) -> Result<(), Exit> {
    let mut create = Create::new(args.validators, &args.stakes, &args.params, args.base_port)?;
    create.name.clone_from(&args.name);
    create.hosts = vec![args.host];
    create.fault_stake = args.fault_stake;
    let genesis = create.write(&args.out)?;
    println!("chain {}", samara_types::digest::hex(&genesis.chain.0));
    println!("genesis {}", args.out.join(GENESIS_FILE).display());
    for (index, addresses) in genesis.addresses.iter().enumerate() {
        let config = validator_directory(&args.out, index).join(config::CONFIG_FILE);
        println!("validator {index}: {}, clients at {}", config.display(), addresses.client);
    }
    Ok(())
}
