//! What a hostile member makes with its own keys: blocks, votes and certificates that are valid, almost valid, or not at all.

use super::HOSTILE;
use super::cluster::Honest;
use super::puppet::{Mouth, sessions};
use samara_crypto::{IdentitySecret, Keyring, sign_transaction};
use samara_erasure::CodeWord;
use samara_rotor::{Dissemination, Planner, RelayTable, ShreddedBlock, Shredder, SignedSlice};
use samara_types::block::payload_digest;
use samara_types::message::{Certificate, CertificateKind, Nullify, Vote, encode};
use samara_types::{
    BlockHeader, ChainId, Digest, Epoch, LeaderSchedule, MessageKind, Nanos, ShredIndex, SignerBitmap, SigningDomain, Subject,
    ValidatorIndex, View, transaction,
};

/// The member's keys and what is needed to lead.
pub struct Forge {
    chain: ChainId,
    domain: SigningDomain,
    keyring: Keyring,
    shredder: Shredder,
    table: RelayTable,
    by_stake: Vec<ValidatorIndex>,
    schedule: LeaderSchedule,
    client: IdentitySecret,
    nonce: u64,
}

impl Forge {
    pub fn new(honest: &Honest) -> Forge {
        let genesis = &honest.genesis;
        let domain = SigningDomain { chain: genesis.chain, epoch: Epoch(0) };
        Forge {
            chain: genesis.chain,
            domain,
            keyring: honest.hostile_keys(),
            shredder: Shredder::new(Planner::new(&genesis.params, &genesis.set), domain),
            table: RelayTable::new(&genesis.set, genesis.seed),
            by_stake: genesis.set.by_stake(),
            schedule: LeaderSchedule::new(&genesis.set, &genesis.seed, Epoch(0)),
            client: IdentitySecret::generate(),
            nonce: 0,
        }
    }

    /// A handshake of ours with `to` as an eavesdropper has it: genuine, of an earlier life of this member.
    pub fn handshake(honest: &Honest, to: ValidatorIndex) -> Vec<u8> {
        let mut sessions = sessions(honest, &honest.hostile_keys(), 1);
        let address = honest.genesis.addresses[to.at()].datagram;
        let mut out = vec![0; 2048];
        for second in 1..10 {
            while let Some((destination, len)) = sessions.poll_transmit(Nanos::from_millis(second * 1_000), &mut out) {
                if destination == address {
                    return out[..len].to_vec();
                }
            }
        }
        panic!("a session that is not up dials")
    }

    /// Whether we lead `view`.
    pub fn leads(&self, view: View) -> bool {
        self.schedule.leader(view) == HOSTILE
    }

    /// Whether `member` leads `view`.
    pub fn is_leader(&self, member: ValidatorIndex, view: View) -> bool {
        self.schedule.leader(view) == member
    }

    /// A signed transaction nobody has seen, with `bytes` of data.
    pub fn transaction(&mut self, bytes: usize) -> Vec<u8> {
        self.nonce += 1;
        sign_transaction(&self.chain, &self.client, self.nonce, &vec![0xa5; bytes])
    }

    /// A payload of `count` such transactions.
    pub fn payload(&mut self, count: usize, bytes: usize) -> Vec<u8> {
        let mut payload = Vec::new();
        (0..count).for_each(|_| transaction::append(&mut payload, &self.transaction(bytes)));
        payload
    }

    /// The block of `header` with another payload, signed.
    pub fn block(&mut self, header: &BlockHeader, payload: Vec<u8>) -> ShreddedBlock {
        let header = BlockHeader { payload_length: payload.len() as u32, payload_digest: payload_digest(&payload), ..*header };
        self.shredder.shred(header, payload, &self.keyring.identity).unwrap()
    }

    /// The same block with one bit of the last parity chunk of slice 0 flipped before the root was taken and signed.
    pub fn malformed(&mut self, honest: &ShreddedBlock) -> ShreddedBlock {
        let mut malformed = honest.clone();
        let slice = &honest.slices[0];
        let shape = slice.commitment.shape;
        let mut chunks: Vec<u8> = (0..shape.total).flat_map(|index| *slice.word.chunk(ShredIndex(index))).collect();
        *chunks.last_mut().unwrap() ^= 1;
        let word = CodeWord::uncoded(shape, chunks);
        let commitment = slice.commitment;
        malformed.slices[0] =
            SignedSlice::sign(honest.block.header(), commitment.slice, commitment.last, word, &self.keyring.identity, &self.domain);
        malformed
    }

    /// What a leader sends of `block`, to those of `chosen` only.
    pub fn disseminate(&mut self, block: &ShreddedBlock, chosen: impl Fn(ValidatorIndex) -> bool, mouth: &mut Mouth<'_>) {
        if block.class == Dissemination::Hybrid {
            for to in self.by_stake.iter().filter(|to| **to != HOSTILE && chosen(**to)) {
                for slice in &block.slices {
                    mouth.send(*to, MessageKind::Announce, &slice.announcement());
                }
            }
        }
        let next = self.schedule.leader(block.block.header().view.next());
        let order = block.send_order(&mut self.table, &self.by_stake, next);
        let mut message = Vec::new();
        for shred in order.into_iter().filter(|shred| chosen(shred.to)) {
            message.clear();
            block.slices[shred.slice.at()].write_shred(shred.index, &mut message);
            mouth.send(shred.to, MessageKind::Shred, &message);
        }
    }

    fn sign(&self, subject: &Subject) -> [u8; 96] {
        self.keyring.vote.sign(&self.domain, subject)
    }

    /// Our vote.
    pub fn vote(&self, view: View, digest: Digest) -> Vec<u8> {
        let signature = self.sign(&Subject::Vote(view, digest));
        encode(&Vote { view: view.0, digest: digest.0, signature }).to_vec()
    }

    /// A vote with a signature that is a good point, but over another subject, or no point at all.
    pub fn bad_vote(&self, view: View, digest: Digest) -> Vec<u8> {
        let signature = if view.0.is_multiple_of(2) { self.sign(&Subject::Nullify(view)) } else { [0x5a; 96] };
        encode(&Vote { view: view.0, digest: digest.0, signature }).to_vec()
    }

    /// The same for a nullify.
    pub fn bad_nullify(&self, view: View) -> Vec<u8> {
        let signature = if view.0.is_multiple_of(2) { self.sign(&Subject::Nullify(view.next())) } else { [0x5a; 96] };
        encode(&Nullify { view: view.0, signature }).to_vec()
    }

    /// Certificates of a view nobody is in yet that only we ever signed: one member three times in the bitmap's bytes, one member alone,
    /// two others named without a signature, all named, a bitmap bit beyond the set, a kind that does not exist.
    pub fn bad_certificates(&self, view: View) -> Vec<Vec<u8>> {
        let signature = compressed(&self.sign(&Subject::Nullify(view)));
        let named = |members: &[u16]| members.iter().map(|member| ValidatorIndex(*member)).collect::<SignerBitmap>().to_bytes(6);
        let make = |kind: u8, signers: Vec<u8>| encode(&Certificate { view: view.0, digest: [0; 32], kind, signature, signers }).to_vec();
        let nullification = CertificateKind::Nullification as u8;
        vec![
            make(nullification, named(&[HOSTILE.0]).repeat(3)),
            make(nullification, named(&[HOSTILE.0])),
            make(nullification, named(&[1, 3, HOSTILE.0])),
            make(nullification, named(&[0, 1, 2, 3, 4, HOSTILE.0])),
            make(nullification, vec![0xff]),
            make(9, named(&[1, 3, HOSTILE.0])),
        ]
    }
}

/// A point of G1 as a certificate carries it (ZCash form): x, with bit 7 set, and bit 5 where y is the larger root, above (p - 1) / 2.
fn compressed(point: &[u8; 96]) -> [u8; 48] {
    const HALF: [u8; 48] = [
        0x0d, 0x00, 0x88, 0xf5, 0x1c, 0xbf, 0xf3, 0x4d, 0x25, 0x8d, 0xd3, 0xdb, 0x21, 0xa5, 0xd6, 0x6b, 0xb2, 0x3b, 0xa5, 0xc2, 0x79, 0xc2,
        0x89, 0x5f, 0xb3, 0x98, 0x69, 0x50, 0x7b, 0x58, 0x7b, 0x12, 0x0f, 0x55, 0xff, 0xff, 0x58, 0xa9, 0xff, 0xff, 0xdc, 0xff, 0x7f, 0xff,
        0xff, 0xff, 0xd5, 0x55,
    ];
    let (x, y) = point.split_at(48);
    let mut bytes: [u8; 48] = x.try_into().unwrap();
    bytes[0] |= 0x80 | if *y > HALF[..] { 0x20 } else { 0 };
    bytes
}
