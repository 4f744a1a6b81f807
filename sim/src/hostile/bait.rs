//! What brings a planted bug out: each bait does one thing that correct code shrugs off. Not part of the swarm; the scenarios of
//! [`crate::mutants`] use them.
//!
//! | bait | does | reference |
//! |---|---|---|
//! | replayer | sends every certificate again under the next views | T20 |
//! | repeater | votes for a block that is none, five times, in every view it hears a vote of | T17, Kairos 3 |
//! | skipper | as leader builds on its grandparent, over a notarized view; votes for nobody else's block | T12 |
//! | splitter | as leader sends one half one block and one half another; says nothing else | T11, section 1.1 (n = 7) |
//! | tamperer | relays shreds as if they were not of the last slice | T16 |
//! | bad coder | as leader signs a code word with one wrong parity chunk | T16 |

use super::puppet::{Puppet, Words};
use crate::actor::{Hostile, Stage};
use crate::trace::Target;
use samara_erasure::CodeWord;
use samara_rotor::{Dissemination, Planner, RelayTable, ShreddedBlock, Shredder, SignedSlice};
use samara_types::message::{ArchivedCertificate, ArchivedVote, Certificate, Vote, access, encode};
use samara_types::{Block, BlockHeader, Digest, MessageKind, Nanos, ShredHeader, ShredIndex, SliceIndex, Subject, View};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Which bait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Bait {
    /// See the module.
    Replayer,
    /// See the module.
    Repeater,
    /// See the module.
    Skipper,
    /// See the module.
    Splitter,
    /// See the module.
    Tamperer,
    /// See the module.
    BadCoder,
}

impl Bait {
    /// All of them.
    pub const ALL: [Bait; 6] = [Self::Replayer, Self::Repeater, Self::Skipper, Self::Splitter, Self::Tamperer, Self::BadCoder];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Bait::Replayer => "replayer",
            Bait::Repeater => "repeater",
            Bait::Skipper => "skipper",
            Bait::Splitter => "splitter",
            Bait::Tamperer => "tamperer",
            Bait::BadCoder => "bad_coder",
        }
    }

    /// The module.
    pub fn make(self) -> Box<dyn Hostile> {
        match self {
            Bait::Replayer => Box::new(Replayer::default()),
            Bait::Repeater => Box::new(Repeater::default()),
            _ => Box::new(Speaker { bait: self, puppet: None }),
        }
    }
}

/// Views into the future a certificate is sent again under.
const REPLAYED_VIEWS: u64 = 3;
/// Remembered views or certificates; the oldest is forgotten.
const REMEMBERED_MAX: usize = 256;

#[derive(Default)]
struct Replayer(BTreeSet<(u64, u8)>);

impl Hostile for Replayer {
    fn name(&self) -> &'static str {
        "replayer"
    }

    fn deliver(&mut self, _: usize, kind: MessageKind, bytes: &[u8], stage: &mut Stage<'_>) {
        let Some(seen) = (kind == MessageKind::Certificate).then(|| access::<ArchivedCertificate>(bytes)).flatten() else { return };
        let view = seen.view.to_native();
        if !self.0.insert((view, seen.kind)) {
            return;
        }
        forget_oldest(&mut self.0);
        for later in 1..=REPLAYED_VIEWS {
            let (digest, signers) = (seen.digest, seen.signers.to_vec());
            let moved = Certificate { view: view + later, digest, kind: seen.kind, signature: seen.signature, signers };
            stage.broadcast(MessageKind::Certificate, &encode(&moved));
        }
    }
}

fn forget_oldest<T: Ord>(set: &mut BTreeSet<T>) {
    if set.len() > REMEMBERED_MAX {
        set.pop_first();
    }
}

#[derive(Default)]
struct Repeater(BTreeSet<View>);

impl Hostile for Repeater {
    fn name(&self) -> &'static str {
        "repeater"
    }

    fn deliver(&mut self, _: usize, kind: MessageKind, bytes: &[u8], stage: &mut Stage<'_>) {
        let Some(seen) = (kind == MessageKind::Vote).then(|| access::<ArchivedVote>(bytes)).flatten() else { return };
        let view = View(seen.view.to_native());
        if !self.0.insert(view) {
            return;
        }
        forget_oldest(&mut self.0);
        let digest = Digest::of("samara 2026 simulator no block", &[&view.0.to_le_bytes()]);
        let signature = stage.cluster.keys[stage.me].vote.sign(stage.cluster.roster.domain(), &Subject::Vote(view, digest));
        let vote = encode(&Vote { view: view.0, digest: digest.0, signature });
        (0..5).for_each(|_| stage.broadcast(MessageKind::Vote, &vote));
    }
}

/// Baits that follow the chain with a puppet.
struct Speaker {
    bait: Bait,
    puppet: Option<Puppet>,
}

impl Hostile for Speaker {
    fn name(&self) -> &'static str {
        self.bait.as_str()
    }

    fn start(&mut self, stage: &mut Stage<'_>) {
        self.puppet = Some(Puppet::new(stage));
        self.wake(stage);
    }

    fn deliver(&mut self, from: usize, kind: MessageKind, bytes: &[u8], stage: &mut Stage<'_>) {
        let Some(puppet) = &mut self.puppet else { return };
        let words = puppet.deliver(stage.now, from, kind, bytes);
        self.speak(words, stage);
    }

    fn wake(&mut self, stage: &mut Stage<'_>) {
        let Some(puppet) = &mut self.puppet else { return };
        let words = puppet.tick(stage.now);
        self.speak(words, stage);
    }
}

impl Speaker {
    fn speak(&mut self, words: Words, stage: &mut Stage<'_>) {
        stage.wake = self.puppet.as_ref().and_then(Puppet::next_deadline).map(|at| at.max(stage.now.after(Nanos(100_000))));
        match self.bait {
            Bait::Tamperer => stage.sends.extend(words.sends.into_iter().map(tampered)),
            Bait::Splitter => words.proposals.iter().for_each(|block| split(block, stage)),
            Bait::Skipper => self.skip(words, stage),
            _ => miscode(words, stage),
        }
    }

    /// Its own proposal becomes a child of its grandparent; it votes for that alone.
    fn skip(&mut self, words: Words, stage: &mut Stage<'_>) {
        // Certificates of its puppet count votes that nobody else ever got.
        let kept = |kind| {
            matches!(kind, MessageKind::CertificateRequest | MessageKind::Status | MessageKind::ManifestRequest | MessageKind::ShredRequest)
        };
        stage.sends.extend(words.sends.into_iter().filter(|(_, kind, _)| kept(*kind)));
        for block in &words.proposals {
            let header = *block.header();
            let parent = self.puppet.as_ref().and_then(|puppet| {
                puppet.validator().consensus().block(header.parent_view, &header.parent_digest).map(|parent| *parent.header())
            });
            let Some(parent) = parent else { continue };
            let skipping =
                BlockHeader { parent_view: parent.parent_view, parent_digest: parent.parent_digest, height: parent.height, ..header };
            let made = shredded(skipping, block.payload().to_vec(), stage);
            send_block(&made, |_| true, stage);
            vote_for(&made.block, |_| true, stage);
        }
    }
}

/// Two blocks, one for each half; no word more.
fn split(block: &Arc<Block>, stage: &mut Stage<'_>) {
    let others: Vec<usize> = (0..stage.cluster.len()).filter(|seat| *seat != stage.me).collect();
    let first: BTreeSet<usize> = others[..others.len() / 2].iter().copied().collect();
    for later in [false, true] {
        let header = BlockHeader { timestamp_ns: block.header().timestamp_ns + u64::from(later), ..*block.header() };
        let made = shredded(header, block.payload().to_vec(), stage);
        send_block(&made, |seat| first.contains(&seat) != later, stage);
    }
}

/// The flag of the last slice, in the shreds it relays.
fn tampered((target, kind, bytes): (Target, MessageKind, Arc<[u8]>)) -> (Target, MessageKind, Arc<[u8]>) {
    if kind != MessageKind::Shred {
        return (target, kind, bytes);
    }
    let mut altered = bytes.to_vec();
    altered[std::mem::offset_of!(ShredHeader, last)] ^= 1;
    (target, kind, altered.into())
}

/// A code word with a wrong parity chunk, under a true root and signature. It votes for the block as if it were good.
fn miscode(words: Words, stage: &mut Stage<'_>) {
    let Some(block) = words.proposals.first() else { return stage.sends.extend(words.sends) };
    let mut made = shredded(*block.header(), block.payload().to_vec(), stage);
    let (secret, domain) = (&stage.cluster.keys[stage.me].identity, *stage.cluster.roster.domain());
    let last = made.slices.len() - 1;
    for (at, slice) in made.slices.iter_mut().enumerate() {
        let shape = slice.commitment.shape;
        let mut bytes: Vec<u8> = (0..shape.total).flat_map(|index| *slice.word.chunk(ShredIndex(index))).collect();
        *bytes.last_mut().expect("a code word has chunks") ^= 1;
        *slice = SignedSlice::sign(block.header(), SliceIndex(at as u16), at == last, CodeWord::uncoded(shape, bytes), secret, &domain);
    }
    let roots = made.slices.iter().map(|slice| slice.commitment.root).collect();
    if let Some(block) = Block::new(*block.header(), roots, block.payload().to_vec()) {
        made.block = Arc::new(block);
    }
    send_block(&made, |_| true, stage);
    vote_for(&made.block, |_| true, stage);
}

fn shredded(header: BlockHeader, payload: Vec<u8>, stage: &Stage<'_>) -> ShreddedBlock {
    let planner = Planner::new(stage.params, stage.cluster.roster.set());
    let mut shredder = Shredder::new(planner, *stage.cluster.roster.domain());
    shredder.shred(header, payload, &stage.cluster.keys[stage.me].identity).expect("payload and plan are those of a good block")
}

fn vote_for(block: &Block, to: impl Fn(usize) -> bool, stage: &mut Stage<'_>) {
    let (view, digest) = (block.header().view, block.digest());
    let signature = stage.cluster.keys[stage.me].vote.sign(stage.cluster.roster.domain(), &Subject::Vote(view, digest));
    let vote = encode(&Vote { view: view.0, digest: digest.0, signature });
    (0..stage.cluster.len()).filter(|seat| to(*seat)).for_each(|seat| stage.send(seat, MessageKind::Vote, &vote));
}

fn send_block(made: &ShreddedBlock, to: impl Fn(usize) -> bool, stage: &mut Stage<'_>) {
    let set = stage.cluster.roster.set();
    let mut table = RelayTable::new(set, stage.cluster.beacon);
    let next = stage.cluster.schedule.leader(made.block.header().view.next());
    if made.class == Dissemination::Hybrid {
        for slice in &made.slices {
            (0..stage.cluster.len())
                .filter(|seat| to(*seat))
                .for_each(|seat| stage.send(seat, MessageKind::Announce, &slice.announcement()));
        }
    }
    let mut bytes = Vec::new();
    for addressed in made.send_order(&mut table, &set.by_stake(), next).into_iter().filter(|addressed| to(addressed.to.at())) {
        bytes.clear();
        made.slices[addressed.slice.at()].write_shred(addressed.index, &mut bytes);
        stage.send(addressed.to.at(), MessageKind::Shred, &bytes);
    }
}
