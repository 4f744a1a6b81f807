//! Finalized blocks from a peer that has them, proven before anybody acts on them. What carries them is the owner's.
//!
//! Height, parent digest and parent view of every block are checked against the one before, starting at the own tip; what links is kept
//! until an L-notarization of the newest certified block verifies. A finalized block finalizes its ancestors, so one certificate
//! proves the run; certificates in its middle are not verified and not passed on.

use samara_consensus::Tip;
use samara_crypto::{Certificate, Roster};
use samara_types::message::{ArchivedCertificate, CertificateKind, access};
use samara_types::{Block, BlockHeader};

/// Memory of a block beside its bytes, so that empty blocks count too.
const BLOCK_OVERHEAD: usize = 512;

/// Why a run is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunFault {
    /// A certificate that is none, before any block, or the second one of a block.
    Malformed,
    /// Not the next block of our chain: height, parent digest or parent view differ.
    Unlinked,
    /// A certificate that does not verify or is for another block.
    BadCertificate,
}

/// Blocks a sync stream delivers at once; the last has its L-notarization.
pub type ProvenBlocks = Vec<(Block, Option<Certificate>)>;

/// Linked blocks that are not proven yet.
#[derive(Debug, Default)]
pub struct Run {
    blocks: Vec<Block>,
    bytes: usize,
    /// Number of blocks up to and with the newest one that came with a certificate.
    certified: usize,
    /// That certificate, as it came.
    certificate: Vec<u8>,
}

impl Run {
    /// Takes the next block, which came as so many bytes. `tip` is where the proven chain ends.
    pub fn add_block(&mut self, tip: &Tip, block: Block, bytes: usize) -> Result<(), RunFault> {
        let below = self.blocks.last().map_or(*tip, tip_of);
        if !follows(block.header(), &below) {
            return Err(RunFault::Unlinked);
        }
        self.bytes += bytes + BLOCK_OVERHEAD;
        self.blocks.push(block);
        Ok(())
    }

    /// For the newest block, once. The signature is checked by [`Run::prove`].
    pub fn add_certificate(&mut self, body: Vec<u8>) -> Result<(), RunFault> {
        let certificate = access::<ArchivedCertificate>(&body).ok_or(RunFault::Malformed)?;
        let newest = self.blocks.last().ok_or(RunFault::Malformed)?;
        if self.certified == self.blocks.len() {
            return Err(RunFault::Malformed);
        }
        let fits = certificate.kind == CertificateKind::L as u8
            && certificate.digest == newest.digest().0
            && certificate.view == newest.header().view.0;
        if !fits {
            return Err(RunFault::BadCertificate);
        }
        self.certified = self.blocks.len();
        self.certificate = body;
        Ok(())
    }

    /// Blocks up to the newest one with a certificate.
    pub fn certified(&self) -> usize {
        self.certified
    }

    /// Bytes held, with an overhead for each block.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Verifies the newest certificate and gives everything up to its block, with the bytes it was charged. `tip` moves there.
    pub fn prove(&mut self, roster: &Roster, tip: &mut Tip) -> Result<(ProvenBlocks, u64), RunFault> {
        let archived = access::<ArchivedCertificate>(&self.certificate).ok_or(RunFault::Malformed)?;
        let certificate = roster.verify_certificate(archived).map_err(|_| RunFault::BadCertificate)?;
        let rest = self.blocks.split_off(self.certified);
        let mut proven: ProvenBlocks = std::mem::replace(&mut self.blocks, rest).into_iter().map(|block| (block, None)).collect();
        let last = proven.last_mut().expect("a certificate follows a block");
        *tip = tip_of(&last.0);
        last.1 = Some(certificate);
        let kept: usize = self.blocks.iter().map(|block| block.payload().len() + BLOCK_OVERHEAD).sum();
        let bytes = self.bytes.saturating_sub(kept) as u64;
        self.bytes = kept;
        self.certified = 0;
        self.certificate.clear();
        Ok((proven, bytes))
    }
}

fn follows(header: &BlockHeader, below: &Tip) -> bool {
    header.height == below.height.next() && header.parent_digest == below.digest && header.parent_view == below.view
}

fn tip_of(block: &Block) -> Tip {
    Tip { view: block.header().view, height: block.header().height, digest: block.digest() }
}
