//! `samara inspect`: reads a validator's block store and vote log without writing anything, beside a running validator or a stopped one.

use crate::cli::{DirArgs, InspectWhat, KindArg};
use crate::config::{CONFIG_FILE, Layout, NodeConfig};
use crate::exit::Exit;
use comfy_table::{Table, presets};
use samara_storage::{BlockStore, RocksStore, StoreError, StoredBlock, read_log};
use samara_types::digest::hex;
use samara_types::message::{Certificate, CertificateKind};
use samara_types::transaction::iterate;
use samara_types::{ChainId, Digest, Height, Transaction, View};
use serde_json::{Value, json};
use std::io::{ErrorKind, Write};
use std::path::Path;

/// Blocks read at a time.
const PAGE: usize = 64;

/// The command.
pub fn command(what: &InspectWhat) -> Result<(), Exit> {
    match what {
        InspectWhat::Chain { dir } => chain(dir),
        InspectWhat::Block { dir, height, digest } => block(dir, *height, digest.as_deref()),
        InspectWhat::Certificate { dir, view, kind } => certificates(dir, *view, *kind),
        InspectWhat::Votes { dir } => votes(dir),
        InspectWhat::Evidence { dir } => evidence(dir),
    }
}

/// Where the data of the validator in `dir` lies: as its configuration says.
pub fn layout(dir: &Path) -> Result<Layout, Exit> {
    if !dir.is_dir() {
        return Err(Exit::bad("--dir", dir.display(), "a validator's directory"));
    }
    let config = dir.join(CONFIG_FILE);
    if config.is_file() { NodeConfig::load(&config).map(|config| config.layout) } else { Ok(Layout::new(&dir.join("data"))) }
}

/// Opens the block store of the validator in `dir` for reading.
pub fn open_store(dir: &Path) -> Result<RocksStore, Exit> {
    let blocks = layout(dir)?.blocks;
    if !blocks.is_dir() {
        return Err(Exit::bad(
            "--dir",
            dir.display(),
            format!("the directory of a validator that has run ({} is missing)", blocks.display()),
        ));
    }
    RocksStore::open_read_only(&blocks).map_err(|error| Exit::failed(format!("{}: {error}", dir.display())))
}

/// Calls `visit` for every final block in height order. Each is read and decoded on its own; memory stays at one page.
pub fn for_each_block(store: &impl BlockStore, mut visit: impl FnMut(StoredBlock) -> Result<(), Exit>) -> Result<(), Exit> {
    let mut next = Height(1);
    loop {
        let page = store.blocks_from(next, PAGE).map_err(read_failed)?;
        let Some(last) = page.last() else { return Ok(()) };
        next = last.header().height.next();
        page.into_iter().try_for_each(&mut visit)?;
    }
}

/// Ids of the transactions of a payload. A stored payload was checked before it was voted for; anything else is corruption.
pub fn transaction_ids(chain: &ChainId, payload: &[u8]) -> Result<Vec<[u8; 32]>, Exit> {
    let id = |transaction: Transaction<'_>| transaction.id(chain).0;
    iterate(payload)
        .map(|transaction| transaction.map(id))
        .collect::<Result<_, _>>()
        .map_err(|_| Exit::failed("a stored payload is malformed"))
}

fn read_failed(error: StoreError) -> Exit {
    Exit::failed(error)
}

fn row(chain: &ChainId, block: &StoredBlock) -> Result<Value, Exit> {
    let header = block.header();
    let ids = transaction_ids(chain, block.payload())?;
    Ok(json!({
        "height": header.height.0,
        "view": header.view.0,
        "digest": block.digest().hex(),
        "parent_digest": header.parent_digest.hex(),
        "parent_view": header.parent_view.0,
        "leader": header.leader.0,
        "timestamp_ns": header.timestamp_ns,
        "payload_bytes": header.payload_length,
        "tx_ids": ids.iter().map(|id| hex(id)).collect::<Vec<_>>(),
    }))
}

fn chain(dir: &DirArgs) -> Result<(), Exit> {
    let store = open_store(&dir.dir)?;
    let id = store.chain();
    let mut table = Rows::new(&["height", "view", "leader", "txs", "bytes", "digest"]);
    let mut rows = Vec::new();
    for_each_block(&store, |block| {
        let header = block.header();
        if dir.json {
            rows.push(row(&id, &block)?);
        } else {
            let txs = transaction_ids(&id, block.payload())?.len();
            table.add([&header.height, &header.view, &header.leader, &txs, &header.payload_length, &block.digest().hex()]);
        }
        Ok(())
    })?;
    table.finish(dir.json, json!({ "chain": hex(&id.0), "blocks": rows }))
}

fn block(dir: &DirArgs, height: Option<u64>, digest: Option<&str>) -> Result<(), Exit> {
    let store = open_store(&dir.dir)?;
    let (found, name) = match (height, digest) {
        (Some(height), _) => (store.block_at(Height(height)).map_err(read_failed)?, format!("height {height}")),
        (None, digest) => {
            let text = digest.unwrap_or_default();
            let digest = Digest::from_hex(text).ok_or_else(|| Exit::bad("--digest", text, "64 hexadecimal digits"))?;
            (store.block(&digest).map_err(read_failed)?, format!("digest {text}"))
        }
    };
    let block = found.ok_or_else(|| Exit::failed(format!("no final block of {name} in {}", dir.dir.display())))?;
    let mut row = row(&store.chain(), &block)?;
    row["slice_roots"] = block.roots().iter().map(Digest::hex).collect();
    let certificate = store.certificate(block.header().view, CertificateKind::L).map_err(read_failed)?;
    row["certificate"] = certificate.as_ref().map(certificate_row).into();
    if dir.json { print_text(&format!("{row}\n")) } else { print_text(&format!("{row:#}\n")) }
}

fn certificate_row(certificate: &Certificate) -> Value {
    let kind = CertificateKind::from_byte(certificate.kind).map_or("unknown", CertificateKind::as_str);
    json!({
        "view": certificate.view,
        "kind": kind,
        "digest": hex(&certificate.digest),
        "signature": hex(&certificate.signature),
        "signers": signers(certificate),
    })
}

fn signers(certificate: &Certificate) -> Vec<u16> {
    let bit = |index: usize| certificate.signers[index / 8] >> (index % 8) & 1 == 1;
    (0..certificate.signers.len() * 8).filter(|index| bit(*index)).map(|index| index as u16).collect()
}

fn certificates(dir: &DirArgs, view: Option<u64>, kind: Option<KindArg>) -> Result<(), Exit> {
    let store = open_store(&dir.dir)?;
    let kind = kind.map(|kind| match kind {
        KindArg::Nullification => CertificateKind::Nullification,
        KindArg::M => CertificateKind::M,
        KindArg::L => CertificateKind::L,
    });
    let mut found = Vec::new();
    match view {
        Some(view) => {
            for kind in [CertificateKind::Nullification, CertificateKind::M, CertificateKind::L] {
                found.extend(store.certificate(View(view), kind).map_err(read_failed)?);
            }
        }
        None => found = store.certificates_after(View::GENESIS, usize::MAX).map_err(read_failed)?,
    }
    found.retain(|certificate| kind.is_none_or(|kind| certificate.kind == kind as u8));
    let mut table = Rows::new(&["view", "kind", "signers", "digest"]);
    for certificate in &found {
        let kind = CertificateKind::from_byte(certificate.kind).map_or("unknown", CertificateKind::as_str);
        table.add([&certificate.view, &kind, &signers(certificate).len(), &hex(&certificate.digest)]);
    }
    table.finish(dir.json, json!({ "certificates": found.iter().map(certificate_row).collect::<Vec<_>>() }))
}

fn votes(dir: &DirArgs) -> Result<(), Exit> {
    let path = layout(&dir.dir)?.votes;
    let records = read_log(&path).map_err(|error| Exit::failed(format!("{}: {error}", path.display())))?;
    let mut table = Rows::new(&["view", "kind", "digest"]);
    records.iter().for_each(|record| table.add([&record.view(), &record.kind(), &record.digest().hex()]));
    let row = |record: &samara_types::Record| json!({ "view": record.view().0, "kind": record.kind(), "digest": record.digest().hex() });
    table.finish(dir.json, json!({ "votes": records.iter().map(row).collect::<Vec<_>>() }))
}

fn evidence(dir: &DirArgs) -> Result<(), Exit> {
    let kept = open_store(&dir.dir)?.evidence().map_err(read_failed)?;
    let mut table = Rows::new(&["accused", "offence", "view", "proof bytes"]);
    kept.iter().for_each(|evidence| table.add([&evidence.accused, &evidence.offence.as_str(), &evidence.view, &evidence.proof.len()]));
    let row = |evidence: &samara_types::Evidence| {
        json!({
            "accused": evidence.accused.0,
            "offence": evidence.offence.as_str(),
            "view": evidence.view.0,
            "proof": hex(&evidence.proof),
        })
    };
    table.finish(dir.json, json!({ "evidence": kept.iter().map(row).collect::<Vec<_>>() }))
}

/// A plain table, or one JSON document.
struct Rows(Table);

impl Rows {
    fn new(header: &[&str]) -> Rows {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(header);
        Rows(table)
    }

    fn add<const N: usize>(&mut self, cells: [&dyn std::fmt::Display; N]) {
        self.0.add_row(cells.map(|cell| cell.to_string()));
    }

    fn finish(self, as_json: bool, document: Value) -> Result<(), Exit> {
        print_text(&if as_json { format!("{document}\n") } else { format!("{}\n", self.0) })
    }
}

/// Prints; a reader that went away (`| head`) is a normal end.
fn print_text(text: &str) -> Result<(), Exit> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Exit::failed(format!("stdout: {error}"))),
        _ => Ok(()),
    }
}
