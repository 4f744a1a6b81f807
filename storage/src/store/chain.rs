//! The rules of the store over any ordered tables: what may be committed, and under which keys.
//!
//! ```text
//! blocks        digest                              -> block as rkyv bytes
//! heights       height, big-endian                  -> digest
//! certificates  view, big-endian | kind | digest    -> certificate as rkyv bytes
//! evidence      accused | offence | view            -> evidence as rkyv bytes
//! consensus     "chain", "schema", "tip"            -> chain id, version, height | view | digest
//! ```

use super::block::{StoredBlock, encode_block};
use super::evidence::{self, Ledger};
use super::{BlockStore, FinalizedBlock, StoreError, Tip, genesis};
use samara_types::message::{self, ArchivedCertificate, Certificate, CertificateKind};
use samara_types::{ChainId, Digest, Evidence, Height, View};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Version of keys and values.
pub const SCHEMA: u32 = 1;
/// Most bytes [`BlockStore::blocks_from`] returns, the first block aside.
const BLOCKS_FROM_BYTES_MAX: usize = 16 << 20;

/// The tables of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Blocks by digest.
    Blocks,
    /// Digests by height.
    Heights,
    /// Certificates by view, kind, digest.
    Certificates,
    /// Chain, schema, tip.
    Consensus,
    /// Offences.
    Evidence,
}

impl Table {
    /// All tables.
    pub const ALL: [Table; 5] = [Table::Blocks, Table::Heights, Table::Certificates, Table::Consensus, Table::Evidence];

    /// Name of its column family.
    pub fn name(self) -> &'static str {
        match self {
            Table::Blocks => "blocks",
            Table::Heights => "heights",
            Table::Certificates => "certificates",
            Table::Consensus => "consensus",
            Table::Evidence => "evidence",
        }
    }
}

/// Everything one commit writes, by table and key.
pub type Batch = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// Sees a key and its value; false ends a scan.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<bool, StoreError>;

/// Ordered tables with an atomic synced write.
pub trait Tables: Send + Sync {
    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits keys from `from` on, ascending, while `visit` says so.
    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<(), StoreError>;

    /// Writes all or nothing, durable when it returns.
    fn write(&self, batch: Batch) -> Result<(), StoreError>;
}

/// A block store over some tables. One commit at a time; reads go beside it.
pub struct Store<T> {
    pub(super) tables: T,
    chain: ChainId,
    writer: Mutex<Writer>,
}

struct Writer {
    tip: Option<Tip>,
    ledger: Ledger,
    stopped: bool,
}

impl<T: Tables> Store<T> {
    /// Over tables whose chain and schema have been checked.
    pub(super) fn over(tables: T, chain: ChainId) -> Result<Store<T>, StoreError> {
        let tip = stored_tip(&tables)?;
        let mut ledger = Ledger::default();
        tables.scan(Table::Evidence, &[], &mut |key, _| {
            ledger.admit(evidence::charge(key).ok_or(corrupt(Table::Evidence))?);
            Ok(true)
        })?;
        Ok(Store { tables, chain, writer: Mutex::new(Writer { tip, ledger, stopped: false }) })
    }

    /// The chain it belongs to.
    pub fn chain(&self) -> ChainId {
        self.chain
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn digest_at(&self, height: Height) -> Result<Option<Digest>, StoreError> {
        let stored = self.tables.get(Table::Heights, &height.0.to_be_bytes())?;
        stored.map(|bytes| digest_from(&bytes, Table::Heights)).transpose()
    }

    fn add_blocks(&self, batch: &mut Batch, mut tip: Option<Tip>, blocks: &[FinalizedBlock]) -> Result<Option<Tip>, StoreError> {
        for finalized in blocks {
            let (header, digest) = (finalized.block.header(), finalized.block.digest());
            let (top, parent) = tip.map_or((Height(0), genesis(&self.chain)), |(height, _, digest)| (height, digest));
            if header.height <= top {
                self.check_stored(batch, header.height, digest)?;
            } else {
                check_follows(finalized, top, parent)?;
                batch.insert((Table::Blocks, digest.0.to_vec()), encode_block(&finalized.block));
                batch.insert((Table::Heights, header.height.0.to_be_bytes().to_vec()), digest.0.to_vec());
                tip = Some((header.height, header.view, digest));
            }
            if let Some(certificate) = &finalized.certificate {
                check_notarizes(certificate, finalized)?;
                self.add_certificate(batch, certificate)?;
            }
        }
        Ok(tip)
    }

    /// The height is stored, in the tables or by this very commit, with this digest.
    fn check_stored(&self, batch: &Batch, height: Height, offered: Digest) -> Result<(), StoreError> {
        let key = (Table::Heights, height.0.to_be_bytes().to_vec());
        let stored = match batch.get(&key) {
            Some(bytes) => digest_from(bytes, Table::Heights)?,
            None => self.digest_at(height)?.ok_or(corrupt(Table::Heights))?,
        };
        if stored == offered { Ok(()) } else { Err(StoreError::Conflict { height, stored, offered }) }
    }

    /// The first certificate of a subject stays; an L-notarization of another block of its view is the alarm.
    fn add_certificate(&self, batch: &mut Batch, certificate: &Certificate) -> Result<(), StoreError> {
        let (view, offered) = (View(certificate.view), Digest(certificate.digest));
        let kind = CertificateKind::from_byte(certificate.kind).ok_or(StoreError::ForeignCertificate { kind: certificate.kind, view })?;
        if kind == CertificateKind::L {
            let staged = batch.range((Table::Certificates, certificate_prefix(view, kind))..).next();
            let staged =
                staged.filter(|((table, key), _)| *table == Table::Certificates && key.starts_with(&certificate_prefix(view, kind)));
            let stored = match staged {
                Some((_, value)) => Some(certificate_from(value)?),
                None => self.certificate(view, kind)?,
            };
            if let Some(stored) = stored.map(|stored| Digest(stored.digest)).filter(|stored| *stored != offered) {
                return Err(StoreError::ConflictingNotarization { view, stored, offered });
            }
        }
        let key = [&certificate_prefix(view, kind)[..], &offered.0].concat();
        if self.tables.get(Table::Certificates, &key)?.is_none() {
            batch.entry((Table::Certificates, key)).or_insert_with(|| message::encode(certificate).into_vec());
        }
        Ok(())
    }

    fn add_evidence(&self, batch: &mut Batch, ledger: &mut Ledger, offences: &[Evidence]) -> Result<(), StoreError> {
        let mut seen = BTreeSet::new();
        for offence in offences {
            let offender = evidence::offender(offence);
            let key = evidence::key(offender);
            let fresh = seen.insert(offender) && self.tables.get(Table::Evidence, &key)?.is_none();
            if fresh && ledger.admit((offence.accused, offence.offence as u8)) {
                batch.insert((Table::Evidence, key), evidence::encode(offence));
            }
        }
        Ok(())
    }
}

impl<T: Tables> BlockStore for Store<T> {
    fn commit(&self, blocks: &[FinalizedBlock], extra_certificates: &[Certificate], evidence: &[Evidence]) -> Result<(), StoreError> {
        let mut writer = self.writer();
        if writer.stopped {
            return Err(StoreError::Stopped);
        }
        let mut batch = Batch::new();
        let mut ledger = writer.ledger.clone();
        let tip = self.add_blocks(&mut batch, writer.tip, blocks)?;
        for certificate in extra_certificates {
            self.add_certificate(&mut batch, certificate)?;
        }
        self.add_evidence(&mut batch, &mut ledger, evidence)?;
        if batch.is_empty() {
            return Ok(());
        }
        if let Some(tip) = tip.filter(|_| tip != writer.tip) {
            batch.insert((Table::Consensus, b"tip".to_vec()), tip_bytes(tip));
        }
        if let Err(error) = self.tables.write(batch) {
            writer.stopped = !matches!(error, StoreError::ReadOnly);
            return Err(error);
        }
        (writer.tip, writer.ledger) = (tip, ledger);
        Ok(())
    }

    fn tip(&self) -> Result<Option<Tip>, StoreError> {
        stored_tip(&self.tables)
    }

    fn block_at(&self, height: Height) -> Result<Option<StoredBlock>, StoreError> {
        let Some(digest) = self.digest_at(height)? else { return Ok(None) };
        self.block(&digest)?.ok_or(corrupt(Table::Blocks)).map(Some)
    }

    fn blocks_from(&self, from: Height, blocks_max: usize) -> Result<Vec<StoredBlock>, StoreError> {
        let mut blocks: Vec<StoredBlock> = Vec::new();
        let mut bytes = 0;
        if blocks_max == 0 {
            return Ok(blocks);
        }
        self.tables.scan(Table::Heights, &from.0.to_be_bytes(), &mut |_, digest| {
            let block = self.block(&digest_from(digest, Table::Heights)?)?.ok_or(corrupt(Table::Blocks))?;
            bytes += block.as_bytes().len();
            if !blocks.is_empty() && bytes > BLOCKS_FROM_BYTES_MAX {
                return Ok(false);
            }
            blocks.push(block);
            Ok(blocks.len() < blocks_max)
        })?;
        Ok(blocks)
    }

    fn block(&self, digest: &Digest) -> Result<Option<StoredBlock>, StoreError> {
        let Some(bytes) = self.tables.get(Table::Blocks, &digest.0)? else { return Ok(None) };
        let block = StoredBlock::from_bytes(bytes).ok_or(corrupt(Table::Blocks))?;
        if block.digest() == *digest { Ok(Some(block)) } else { Err(corrupt(Table::Blocks)) }
    }

    fn certificate(&self, view: View, kind: CertificateKind) -> Result<Option<Certificate>, StoreError> {
        let prefix = certificate_prefix(view, kind);
        let mut found = None;
        self.tables.scan(Table::Certificates, &prefix, &mut |key, value| {
            if key.starts_with(&prefix) {
                found = Some(certificate_from(value)?);
            }
            Ok(false)
        })?;
        Ok(found)
    }

    fn certificates_after(&self, view: View, certificates_max: usize) -> Result<Vec<Certificate>, StoreError> {
        let mut found = Vec::new();
        if certificates_max == 0 || view.0 == u64::MAX {
            return Ok(found);
        }
        self.tables.scan(Table::Certificates, &view.next().0.to_be_bytes(), &mut |_, value| {
            found.push(certificate_from(value)?);
            Ok(found.len() < certificates_max)
        })?;
        Ok(found)
    }

    fn evidence(&self) -> Result<Vec<Evidence>, StoreError> {
        let mut found = Vec::new();
        self.tables.scan(Table::Evidence, &[], &mut |_, value| {
            found.push(evidence::decode(value).ok_or(corrupt(Table::Evidence))?);
            Ok(true)
        })?;
        Ok(found)
    }
}

fn check_follows(finalized: &FinalizedBlock, top: Height, stored: Digest) -> Result<(), StoreError> {
    let (header, digest) = (finalized.block.header(), finalized.block.digest());
    if header.height != top.next() {
        return Err(StoreError::Gap { expected: top.next(), offered: header.height });
    }
    if header.parent_digest != stored {
        return Err(StoreError::BrokenLink { height: header.height, digest, parent: header.parent_digest, stored });
    }
    Ok(())
}

fn check_notarizes(certificate: &Certificate, finalized: &FinalizedBlock) -> Result<(), StoreError> {
    let fits = certificate.kind == CertificateKind::L as u8
        && certificate.view == finalized.block.header().view.0
        && certificate.digest == finalized.block.digest().0;
    if fits { Ok(()) } else { Err(StoreError::ForeignCertificate { kind: certificate.kind, view: View(certificate.view) }) }
}

fn certificate_prefix(view: View, kind: CertificateKind) -> Vec<u8> {
    [&view.0.to_be_bytes()[..], &[kind as u8]].concat()
}

fn certificate_from(bytes: &[u8]) -> Result<Certificate, StoreError> {
    let stored = message::access::<ArchivedCertificate>(bytes).ok_or(corrupt(Table::Certificates))?;
    Ok(Certificate {
        view: stored.view.into(),
        digest: stored.digest,
        kind: stored.kind,
        signature: stored.signature,
        signers: stored.signers.to_vec(),
    })
}

fn stored_tip(tables: &impl Tables) -> Result<Option<Tip>, StoreError> {
    tables.get(Table::Consensus, b"tip")?.map(|bytes| tip_from(&bytes)).transpose()
}

fn tip_bytes((height, view, digest): Tip) -> Vec<u8> {
    [&height.0.to_be_bytes()[..], &view.0.to_be_bytes(), &digest.0].concat()
}

fn tip_from(bytes: &[u8]) -> Result<Tip, StoreError> {
    let number = |at: usize| bytes.get(at..at + 8).and_then(|part| part.try_into().ok()).map(u64::from_be_bytes);
    let (Some(height), Some(view), 48) = (number(0), number(8), bytes.len()) else { return Err(corrupt(Table::Consensus)) };
    Ok((Height(height), View(view), digest_from(&bytes[16..], Table::Consensus)?))
}

fn digest_from(bytes: &[u8], table: Table) -> Result<Digest, StoreError> {
    bytes.try_into().map(Digest).map_err(|_| corrupt(table))
}

fn corrupt(table: Table) -> StoreError {
    StoreError::Corrupt { table: table.name() }
}
