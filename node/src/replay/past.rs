//! Blocks from before the capture: the sync stream of a replay, read from a validator's store beside its writer.

use crate::exit::Exit;
use crate::inspect::open_store;
use samara_crypto::{Certificate, Roster};
use samara_storage::{BlockStore, RocksStore, StoreError};
use samara_types::message::{self, CertificateKind};
use samara_types::{Block, ChainId, Height, View};
use std::path::Path;

/// Blocks read at once.
const PAGE: usize = 64;

/// A run as the machine takes it.
pub type Run = Vec<(Block, Option<Certificate>)>;

/// A validator's finalized blocks.
pub struct Past(RocksStore);

impl Past {
    /// The store of the validator in `directory`.
    pub fn open(directory: &Path, chain: ChainId) -> Result<Past, Exit> {
        let store = open_store(directory)?;
        if store.chain() != chain {
            return Err(Exit::bad("--from", directory.display(), "a validator of the captured chain"));
        }
        Ok(Past(store))
    }

    /// A page of blocks above a height and below a view, cut behind the last one with an L-notarization; empty if there is no more. The machine
    /// must not be told more than its peers knew at that time.
    pub fn run(&self, roster: &Roster, above: Height, below: View) -> Result<Run, Exit> {
        let (mut run, mut proven): (Run, usize) = (Vec::new(), 0);
        let mut next = above.next();
        loop {
            let page = self.0.blocks_from(next, PAGE).map_err(Exit::failed)?;
            let full = page.len() == PAGE;
            for stored in page {
                if stored.header().view >= below {
                    run.truncate(proven);
                    return Ok(run);
                }
                next = stored.header().height.next();
                let certificate = self.certificate(roster, stored.header().view)?;
                let block = stored.to_block().ok_or(StoreError::Corrupt { table: "blocks" }).map_err(Exit::failed)?;
                let is_proven = certificate.is_some();
                run.push((block, certificate));
                proven = if is_proven { run.len() } else { proven };
            }
            // A page without any proof is rare; then the next is looked at.
            if proven > 0 || !full {
                run.truncate(proven);
                return Ok(run);
            }
        }
    }

    fn certificate(&self, roster: &Roster, view: View) -> Result<Option<Certificate>, Exit> {
        let Some(wire) = self.0.certificate(view, CertificateKind::L).map_err(Exit::failed)? else { return Ok(None) };
        let bytes = message::encode(&wire);
        let archived = message::access(&bytes).expect("bytes that were just encoded");
        Ok(roster.verify_certificate(archived).ok())
    }
}
