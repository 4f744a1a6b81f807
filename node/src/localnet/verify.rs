//! What the stores say after the run: one chain, every transaction once, everything clients were told is there.

use crate::exit::Exit;
use crate::inspect::{for_each_block, transaction_ids};
use crate::load::outcome::Acknowledged;
use samara_storage::BlockStore;
use samara_types::{ChainId, Digest, Height, TransactionId};
use std::collections::HashMap;
use std::path::Path;

/// Findings over all stores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Height of each validator's last durable block.
    pub tips: Vec<u64>,
    /// First contradiction between two stores, or inside one.
    pub disagreement: Option<String>,
    /// Transactions that are in the chain more than once, extra occurrences counted.
    pub duplicates: u64,
    /// Acknowledged transactions that are not in the chain.
    pub lost_acknowledged: u64,
    /// Acknowledged transactions that are in the chain, but not where the client was told.
    pub misplaced: u64,
    /// Blocks above the start height.
    pub blocks: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Payload bytes in them.
    pub payload_bytes: u64,
}

impl Findings {
    /// How many blocks each validator is behind the highest tip.
    pub fn behind(&self) -> Vec<u64> {
        let highest = self.tips.iter().copied().max().unwrap_or(0);
        self.tips.iter().map(|tip| highest - tip).collect()
    }
}

/// Reads every store; the one with the highest tip is read in full, the others are compared with it height by height.
pub fn check<S: BlockStore>(stores: &[S], chain: &ChainId, start: u64, acknowledged: &[Acknowledged]) -> Result<Findings, Exit> {
    let failed = |error| Exit::failed(format!("agreement cannot be checked: {error}"));
    let mut findings = Findings::default();
    for store in stores {
        findings.tips.push(store.tip().map_err(failed)?.map_or(0, |(height, ..)| height.0));
    }
    let Some(longest) = (0..stores.len()).max_by_key(|index| findings.tips[*index]) else { return Ok(findings) };
    let digests = read_longest(&stores[longest], chain, start, acknowledged, &mut findings)?;
    for (index, store) in stores.iter().enumerate().filter(|(index, _)| *index != longest) {
        compare(index, longest, store, &digests, &mut findings)?;
    }
    Ok(findings)
}

/// Position of a transaction: height and index in the block.
type Position = (u64, u32);

fn read_longest<S: BlockStore>(
    store: &S,
    chain: &ChainId,
    start: u64,
    acknowledged: &[Acknowledged],
    findings: &mut Findings,
) -> Result<Vec<Digest>, Exit> {
    let mut digests = Vec::new();
    let mut positions: HashMap<TransactionId, Position> = HashMap::new();
    let mut parent = samara_types::block::genesis_digest(chain);
    for_each_block(store, |stored| {
        let height = digests.len() as u64 + 1;
        let block = stored.to_block().filter(|block| block.header().height == Height(height) && block.header().parent_digest == parent);
        let Some(block) = block else {
            disagree(findings, format!("the block of height {height} is not one that continues its chain"));
            return Err(Exit::failed(findings.disagreement.clone().unwrap_or_default()));
        };
        parent = block.digest();
        digests.push(parent);
        let ids = transaction_ids(chain, block.payload())?;
        if height > start {
            findings.blocks += 1;
            findings.transactions += ids.len() as u64;
            findings.payload_bytes += block.payload().len() as u64;
        }
        for (index, id) in ids.into_iter().enumerate() {
            let first = *positions.entry(TransactionId(id)).or_insert((height, index as u32));
            findings.duplicates += u64::from(first != (height, index as u32));
        }
        Ok(())
    })?;
    for told in acknowledged {
        match positions.get(&told.id) {
            None => findings.lost_acknowledged += 1,
            Some(position) => findings.misplaced += u64::from(*position != (told.height, told.index)),
        }
    }
    Ok(digests)
}

fn compare<S: BlockStore>(index: usize, longest: usize, store: &S, digests: &[Digest], findings: &mut Findings) -> Result<(), Exit> {
    let mut height = 0;
    for_each_block(store, |stored| {
        height += 1;
        if digests.get(height - 1) != Some(&stored.digest()) {
            disagree(findings, format!("validators {index} and {longest} have different blocks at height {height}"));
        }
        Ok(())
    })?;
    if height as u64 != findings.tips[index] {
        disagree(findings, format!("validator {index} has {height} blocks below its tip at height {}", findings.tips[index]));
    }
    Ok(())
}

fn disagree(findings: &mut Findings, text: String) {
    findings.disagreement.get_or_insert(text);
}

/// Bytes of one row of the acknowledgement file: id, height, index.
const ROW: usize = 44;

/// What earlier runs on this directory were told is final. A missing file is an empty one.
pub fn load_acknowledged(path: &Path) -> Result<Vec<Acknowledged>, Exit> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| Exit::failed(format!("{}: {error}", path.display())))?,
    };
    // A run that died while it wrote leaves a torn last row; that one was never reported.
    let row = |row: &[u8]| Acknowledged {
        id: TransactionId(row[..32].try_into().expect("32 bytes")),
        height: u64::from_le_bytes(row[32..40].try_into().expect("8 bytes")),
        index: u32::from_le_bytes(row[40..].try_into().expect("4 bytes")),
    };
    Ok(bytes.chunks_exact(ROW).map(row).collect())
}

/// Keeps everything acknowledged so far for the next run on this directory.
pub fn save_acknowledged(path: &Path, acknowledged: &[Acknowledged]) -> Result<(), Exit> {
    let mut bytes = Vec::with_capacity(acknowledged.len() * ROW);
    for told in acknowledged {
        bytes.extend_from_slice(&told.id.0);
        bytes.extend_from_slice(&told.height.to_le_bytes());
        bytes.extend_from_slice(&told.index.to_le_bytes());
    }
    std::fs::write(path, bytes).map_err(|error| Exit::failed(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use samara_storage::{FinalizedBlock, MemoryStore};
    use samara_types::block::{Block, BlockHeader, genesis_digest, payload_digest};
    use samara_types::{ValidatorIndex, View, transaction};
    use std::sync::Arc;

    const CHAIN: ChainId = ChainId([3; 32]);

    fn bytes(number: u8) -> Vec<u8> {
        transaction::assemble(&[number; 32], &[0; 64], &[number; 8])
    }

    fn told(number: u8, height: u64, index: u32) -> Acknowledged {
        let id = samara_types::Transaction::parse(&bytes(number)).unwrap().id(&CHAIN);
        Acknowledged { id, height, index }
    }

    /// A store whose blocks hold these transactions.
    fn store(blocks: &[&[u8]]) -> MemoryStore {
        let store = MemoryStore::new(CHAIN);
        let (mut parent, mut parent_view) = (genesis_digest(&CHAIN), View::GENESIS);
        for (at, numbers) in blocks.iter().enumerate() {
            let mut payload = Vec::new();
            numbers.iter().for_each(|number| transaction::append(&mut payload, &bytes(*number)));
            let header = BlockHeader {
                view: parent_view.next(),
                parent_view,
                parent_digest: parent,
                height: Height(at as u64 + 1),
                timestamp_ns: 0,
                payload_length: payload.len() as u32,
                leader: ValidatorIndex(0),
                payload_digest: payload_digest(&payload),
            };
            let block = Block::new(header, vec![], payload).unwrap();
            (parent, parent_view) = (block.digest(), header.view);
            store.commit(&[FinalizedBlock { block: Arc::new(block), certificate: None }], &[], &[]).unwrap();
        }
        store
    }

    #[test]
    fn one_chain_at_different_heights_agrees() {
        let stores = [store(&[&[1], &[2, 3]]), store(&[&[1], &[2, 3], &[4]]), store(&[])];
        let findings = check(&stores, &CHAIN, 1, &[told(1, 1, 0), told(3, 2, 1), told(4, 3, 0)]).unwrap();
        assert_eq!(findings.disagreement, None);
        assert_eq!((findings.duplicates, findings.lost_acknowledged, findings.misplaced), (0, 0, 0));
        assert_eq!((findings.blocks, findings.transactions), (2, 3), "height 1 was there before the run");
        assert_eq!((findings.tips.clone(), findings.behind()), (vec![2, 3, 0], vec![1, 0, 3]));
    }

    #[test]
    fn a_fork_a_duplicate_and_a_lost_transaction_are_each_found() {
        let findings = check(&[store(&[&[1], &[2]]), store(&[&[1], &[9], &[3]])], &CHAIN, 0, &[]).unwrap();
        assert_eq!(findings.disagreement.as_deref(), Some("validators 0 and 1 have different blocks at height 2"));
        let findings = check(&[store(&[&[1, 2], &[2, 2]])], &CHAIN, 0, &[told(7, 1, 0), told(1, 1, 1), told(2, 1, 1)]).unwrap();
        assert_eq!((findings.duplicates, findings.lost_acknowledged, findings.misplaced), (2, 1, 1));
    }

    #[test]
    fn acknowledgements_survive_on_disk_without_a_torn_row() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acknowledged");
        assert_eq!(load_acknowledged(&path).unwrap(), []);
        let rows = [told(1, 5, 6), told(2, 7, 8)];
        save_acknowledged(&path, &rows).unwrap();
        assert_eq!(load_acknowledged(&path).unwrap(), rows);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(load_acknowledged(&path).unwrap(), rows[..1]);
    }
}
