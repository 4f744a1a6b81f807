//! The text form of a genesis.

use super::{Addresses, Genesis};
use crate::exit::{Exit, one_line};
use crate::keys::PublicKeys;
use samara_types::digest::{from_hex, hex};
use samara_types::{Digest, Nanos, Params, Stake, ValidatorEntry, ValidatorSet};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::Path;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GenesisFile {
    chain: ChainPart,
    params: ParamsPart,
    validator: Vec<ValidatorPart>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChainPart {
    name: String,
    /// For people; checked against the content when present.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    seed: String,
    fault_stake: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ParamsPart {
    view_timeout_ms: u64,
    block_interval_ms: u64,
    idle_interval_ms: u64,
    payload_bytes_max: u32,
    relay_redundancy_percent: u16,
    hybrid_redundancy_percent: u16,
    dedup_heights: u32,
}

// Written out rather than flattened: serde's `flatten` and `deny_unknown_fields` exclude each other.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ValidatorPart {
    stake: u64,
    datagram: SocketAddr,
    client: SocketAddr,
    sync: SocketAddr,
    keys: PublicKeys,
}

pub(super) fn parse(text: &str, path: &Path) -> Result<Genesis, Exit> {
    let bad = |what: String| Exit::Usage(one_line(&format!("genesis = {}: {what}", path.display())));
    let file: GenesisFile = toml::from_str(text).map_err(|error| bad(error.to_string()))?;
    let seed = Digest::from_hex(&file.chain.seed)
        .ok_or_else(|| bad(format!("chain.seed = {}: allowed is 64 hexadecimal digits", file.chain.seed)))?;
    let params = params(&file.params);
    params.check().map_err(|error| bad(format!("params.{error}")))?;
    let entries = file.validator.iter().enumerate().map(|(index, part)| entry(index, part).map_err(&bad)).collect::<Result<_, _>>()?;
    let set = ValidatorSet::new(entries, Some(Stake(file.chain.fault_stake))).map_err(|error| bad(error.to_string()))?;
    let addresses = file.validator.iter().map(|part| Addresses { datagram: part.datagram, client: part.client, sync: part.sync });
    let genesis = Genesis::assemble(file.chain.name, seed, params, set, addresses.collect());
    match file.chain.id {
        Some(id) if id != hex(&genesis.chain.0) => {
            Err(bad(format!("chain.id = {id}: allowed is {}, the digest of this content", hex(&genesis.chain.0))))
        }
        _ => Ok(genesis),
    }
}

fn params(part: &ParamsPart) -> Params {
    Params {
        view_timeout: Nanos::from_millis(part.view_timeout_ms),
        block_interval: Nanos::from_millis(part.block_interval_ms),
        idle_interval: Nanos::from_millis(part.idle_interval_ms),
        payload_bytes_max: part.payload_bytes_max,
        relay_redundancy: part.relay_redundancy_percent,
        hybrid_redundancy: part.hybrid_redundancy_percent,
        dedup_heights: part.dedup_heights,
    }
}

fn entry(index: usize, part: &ValidatorPart) -> Result<ValidatorEntry, String> {
    fn key<const N: usize>(index: usize, name: &str, text: &str) -> Result<[u8; N], String> {
        let bytes = from_hex(text).and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| format!("validator[{index}].keys.{name} = {text}: allowed are {} hexadecimal digits", 2 * N))
    }
    Ok(ValidatorEntry {
        stake: Stake(part.stake),
        vote_key: key(index, "vote_key", &part.keys.vote_key)?,
        possession: key(index, "possession", &part.keys.possession)?,
        identity_key: key(index, "identity_key", &part.keys.identity_key)?,
        session_key: key(index, "session_key", &part.keys.session_key)?,
    })
}

pub(super) fn render(genesis: &Genesis) -> String {
    let ms = |nanos: Nanos| nanos.0 / 1_000_000;
    let params = &genesis.params;
    let file = GenesisFile {
        chain: ChainPart {
            name: genesis.name.clone(),
            id: Some(hex(&genesis.chain.0)),
            seed: genesis.seed.hex(),
            fault_stake: genesis.set.quorums().fault.0,
        },
        params: ParamsPart {
            view_timeout_ms: ms(params.view_timeout),
            block_interval_ms: ms(params.block_interval),
            idle_interval_ms: ms(params.idle_interval),
            payload_bytes_max: params.payload_bytes_max,
            relay_redundancy_percent: params.relay_redundancy,
            hybrid_redundancy_percent: params.hybrid_redundancy,
            dedup_heights: params.dedup_heights,
        },
        validator: genesis.set.entries().iter().zip(&genesis.addresses).map(|(entry, addresses)| validator(entry, addresses)).collect(),
    };
    toml::to_string(&file).expect("plain values serialize")
}

fn validator(entry: &ValidatorEntry, addresses: &Addresses) -> ValidatorPart {
    ValidatorPart {
        stake: entry.stake.0,
        datagram: addresses.datagram,
        client: addresses.client,
        sync: addresses.sync,
        keys: PublicKeys {
            vote_key: hex(&entry.vote_key),
            possession: hex(&entry.possession),
            identity_key: hex(&entry.identity_key),
            session_key: hex(&entry.session_key),
        },
    }
}
