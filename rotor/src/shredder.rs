//! The leader's side: a block becomes signed slices, and the order in which their shreds leave.

use crate::plan::{Dissemination, Planner};
use crate::seats::RelayTable;
use crate::wire;
use samara_crypto::IdentitySecret;
use samara_erasure::{CodeWord, Coder};
use samara_types::shred::CODE_GF16;
use samara_types::{Block, BlockHeader, ShredIndex, SigningDomain, SliceCommitment, SliceIndex, ValidatorIndex};
use std::sync::Arc;

/// One slice, coded and signed.
#[derive(Clone, Debug)]
pub struct SignedSlice {
    /// What is signed.
    pub commitment: SliceCommitment,
    /// The leader's Ed25519 signature over it.
    pub signature: [u8; 64],
    /// All chunks.
    pub word: CodeWord,
}

impl SignedSlice {
    /// Signs a code word as slice `slice` of the block of `view`.
    pub fn sign(
        header: &BlockHeader,
        slice: SliceIndex,
        last: bool,
        word: CodeWord,
        secret: &IdentitySecret,
        domain: &SigningDomain,
    ) -> Self {
        let commitment = SliceCommitment { view: header.view, slice, last, shape: word.shape(), code: CODE_GF16, root: word.root() };
        let signature = secret.sign(&commitment.signing_bytes(domain));
        SignedSlice { commitment, signature, word }
    }

    /// Appends shred `index` as a message. Panics if it is not below `total`.
    pub fn write_shred(&self, index: ShredIndex, out: &mut Vec<u8>) {
        wire::write_header(&self.commitment, index, self.signature, out);
        self.word.write_proof(index, out);
        out.extend_from_slice(self.word.chunk(index));
    }

    /// The slice announcement as a message.
    pub fn announcement(&self) -> Vec<u8> {
        wire::announcement(&self.commitment, self.signature)
    }
}

/// A block ready to leave.
#[derive(Clone, Debug)]
pub struct ShreddedBlock {
    /// The block.
    pub block: Arc<Block>,
    /// How it travels. [`Dissemination::Hybrid`]: announcements go to everybody first.
    pub class: Dissemination,
    /// Its slices in order.
    pub slices: Vec<SignedSlice>,
}

/// One shred the leader sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addressed {
    /// To whom.
    pub to: ValidatorIndex,
    /// Slice of the block.
    pub slice: SliceIndex,
    /// Shred of the slice.
    pub index: ShredIndex,
}

/// Cuts, codes and signs blocks, reusing one coder.
pub struct Shredder {
    coder: Coder,
    planner: Planner,
    domain: SigningDomain,
}

impl Shredder {
    /// For the plans of a chain.
    pub fn new(planner: Planner, domain: SigningDomain) -> Shredder {
        Shredder { coder: Coder::new(), planner, domain }
    }

    /// The shredded block. None if the header does not name the payload or no plan has a block of this size. Signing twice for one view is
    /// what equivocation is: the caller makes the proposal's record durable first.
    pub fn shred(&mut self, header: BlockHeader, payload: Vec<u8>, secret: &IdentitySecret) -> Option<ShreddedBlock> {
        let plan = self.planner.plan(header.block_bytes())?;
        let bytes = [header.to_bytes().as_slice(), &payload].concat();
        if bytes.len() != header.block_bytes() {
            return None;
        }
        let slices: Vec<_> = (0..plan.slices() as u16)
            .map(SliceIndex)
            .map(|slice| {
                let shape = plan.shape(slice);
                let word = self.coder.encode(&bytes[plan.range(slice)], shape.data, shape.total);
                SignedSlice::sign(&header, slice, slice == plan.last(), word, secret, &self.domain)
            })
            .collect();
        let roots = slices.iter().map(|slice| slice.commitment.root).collect();
        let block = Arc::new(Block::new(header, roots, payload)?);
        Some(ShreddedBlock { block, class: plan.class(), slices })
    }
}

impl ShreddedBlock {
    /// Every shred the leader sends, grouped by recipient: the next leader first, then by decreasing stake (white paper, section 2.2). Relays
    /// get the shreds of their seats; a direct block goes whole to everybody.
    pub fn send_order(&self, table: &mut RelayTable, by_stake: &[ValidatorIndex], next_leader: ValidatorIndex) -> Vec<Addressed> {
        let leader = self.block.header().leader;
        let seats: Vec<_> = self
            .slices
            .iter()
            .map(|slice| table.seats(slice.commitment.view, slice.commitment.slice, leader, slice.commitment.shape.total))
            .collect();
        let mut order = Vec::new();
        for to in recipients(by_stake, leader, next_leader) {
            for (slice, seats) in self.slices.iter().zip(&seats) {
                let (slice, total) = (slice.commitment.slice, slice.commitment.shape.total);
                let addressed = |index| Addressed { to, slice, index };
                if self.class == Dissemination::Direct {
                    order.extend((0..total).map(ShredIndex).map(addressed));
                } else {
                    order.extend(seats.of(to).map(addressed));
                }
            }
        }
        order
    }
}

/// Everybody but the leader, the next leader first, then by decreasing stake: also the order in which a relay sends on.
pub fn recipients(
    by_stake: &[ValidatorIndex],
    leader: ValidatorIndex,
    next_leader: ValidatorIndex,
) -> impl Iterator<Item = ValidatorIndex> + '_ {
    let first = (next_leader != leader).then_some(next_leader);
    first.into_iter().chain(by_stake.iter().copied().filter(move |&to| to != leader && to != next_leader))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Cluster, set_of};
    use crate::wire::ReceivedShred;
    use samara_types::block::payload_digest;
    use samara_types::{Digest, View};

    #[test]
    fn every_shred_of_a_shredded_block_proves_its_signed_root() {
        let cluster = Cluster::new(6);
        for length in [0, 500, 921, 5_000, 70_000] {
            let shredded = cluster.block(View(4), length, 1);
            for slice in &shredded.slices {
                let leader = shredded.block.header().leader;
                assert!(cluster.roster.verify_slice(leader, &slice.commitment, &slice.signature));
                assert_eq!(wire::parse_announcement(&slice.announcement()), Some((slice.commitment, slice.signature)));
                for index in (0..slice.commitment.shape.total).map(ShredIndex) {
                    let mut bytes = Vec::new();
                    slice.write_shred(index, &mut bytes);
                    let shred = ReceivedShred::parse(&bytes).unwrap();
                    assert_eq!(shred.commitment(shred.root(&shred.leaf()).unwrap()), Some(slice.commitment));
                }
            }
        }
    }

    #[test]
    fn a_header_that_does_not_name_the_payload_is_not_signed() {
        let cluster = Cluster::new(6);
        let header = *cluster.block(View(4), 300, 1).block.header();
        let mut shredder = Shredder::new(cluster.planner(), *cluster.roster.domain());
        let secret = &cluster.keys[header.leader.at()].identity;
        assert!(shredder.shred(header, vec![9; 300], secret).is_none());
        assert!(shredder.shred(header, vec![9; 299], secret).is_none());
        let other = BlockHeader { payload_digest: payload_digest(&[9; 300]), ..header };
        assert!(shredder.shred(other, vec![9; 300], secret).is_some());
        let long = BlockHeader { payload_length: u32::MAX, ..header };
        assert!(shredder.shred(long, vec![9; 300], secret).is_none());
    }

    #[test]
    fn the_next_leader_comes_first_then_decreasing_stake_and_each_relay_gets_its_seats() {
        let cluster = Cluster::new(6);
        let shredded = cluster.block(View(4), 40_000, 1);
        let leader = shredded.block.header().leader;
        let by_stake = set_of(&[5, 4, 5, 5, 5, 5, 6]).by_stake();
        let next = ValidatorIndex((leader.0 + 1) % 6);
        let order: Vec<_> = recipients(&by_stake, leader, next).collect();
        assert_eq!(order[0], next);
        assert!(!order.contains(&leader));
        assert_eq!(order.len(), by_stake.len() - 1);

        let mut table = RelayTable::new(cluster.roster.set(), Digest([1; 32]));
        let sent = shredded.send_order(&mut table, &cluster.roster.set().by_stake(), next);
        assert_eq!(sent.len(), shredded.slices.iter().map(|slice| usize::from(slice.commitment.shape.total)).sum::<usize>());
        assert!(sent.iter().all(|shred| {
            let total = shredded.slices[shred.slice.at()].commitment.shape.total;
            table.seats(View(4), shred.slice, leader, total).holder(shred.index) == Some(shred.to)
        }));
        let groups = sent.chunk_by(|a, b| a.to == b.to).count();
        assert_eq!(groups, 5, "each recipient is one run");
        assert_eq!(sent[0].to, next);
    }

    #[test]
    fn a_direct_block_goes_whole_to_everybody() {
        let cluster = Cluster::new(6);
        let shredded = cluster.block(View(4), 100, 1);
        let mut table = RelayTable::new(cluster.roster.set(), Digest([1; 32]));
        let leader = shredded.block.header().leader;
        let sent = shredded.send_order(&mut table, &cluster.roster.set().by_stake(), leader);
        assert_eq!(sent.len(), 5);
        assert!(sent.iter().all(|shred| shred.to != leader));
    }
}
