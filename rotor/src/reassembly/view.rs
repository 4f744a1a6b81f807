//! What is held of one view: slices, their variants, whole blocks, and the certified blocks that are wanted.

use crate::plan::Plan;
use crate::seats::Seats;
use crate::wire::{self, ReceivedShred};
use samara_erasure::{Gathering, Leaf};
use samara_types::{Block, BlockHeader, CHUNK_BYTES, Digest, Nanos, Offence, SignerBitmap, SliceCommitment, SliceIndex, ValidatorIndex};
use std::sync::Arc;

/// Flat charge for a variant, its seats included.
pub(super) const VARIANT_BYTES: usize = 1024;
/// Flat charge for a view, its offences and wants included.
pub(super) const VIEW_BYTES: usize = 4096;
/// Most disseminated commitments kept for one slice: two prove equivocation, and both travel on.
pub(super) const VARIANTS_MAX: usize = 2;

/// What is there of a variant.
pub(super) enum Content {
    /// Verified shreds, fewer than decode the slice; None before the first.
    Collecting(Option<Box<Gathering>>),
    /// The slice.
    Decoded(Decoded),
    /// Part of a whole block.
    Placed(Arc<Block>),
    /// The root is not that of a canonical code word, for everybody and forever.
    Tainted,
}

/// A decoded slice in the memory it was gathered in.
pub(super) struct Decoded {
    pub(super) chunks: Vec<[u8; CHUNK_BYTES]>,
    pub(super) length: usize,
}

impl Decoded {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.chunks.as_flattened()[..self.length]
    }
}

/// One commitment for one slice.
pub(super) struct Variant {
    pub(super) commitment: SliceCommitment,
    /// Verified; None where only a certified block names the root.
    pub(super) signature: Option<[u8; 64]>,
    /// Who relays its shreds, drawn for its first shred.
    pub(super) seats: Option<Seats>,
    pub(super) content: Content,
    /// Shreds that are or were stored.
    pub(super) seen: u128,
    /// Shreds this node sent on.
    pub(super) relayed: u128,
    /// Seats from which a shred of it came with another signature than its own.
    pub(super) resigned: u128,
    /// When it became known or last gained a disseminated shred.
    pub(super) since: Nanos,
    /// Requests made for it.
    pub(super) attempts: u32,
}

impl Variant {
    pub(super) fn new(commitment: SliceCommitment, signature: Option<[u8; 64]>, since: Nanos) -> Variant {
        Variant {
            commitment,
            signature,
            seats: None,
            content: Content::Collecting(None),
            seen: 0,
            relayed: 0,
            resigned: 0,
            since,
            attempts: 0,
        }
    }

    /// Shreds still missing to decode it; zero once decoded or tainted.
    pub(super) fn deficit(&self) -> usize {
        match &self.content {
            Content::Collecting(gathering) => {
                usize::from(self.commitment.shape.data) - gathering.as_ref().map_or(0, |gathering| gathering.count())
            }
            _ => 0,
        }
    }

    pub(super) fn is_collecting(&self) -> bool {
        matches!(self.content, Content::Collecting(_))
    }

    pub(super) fn is_tainted(&self) -> bool {
        matches!(self.content, Content::Tainted)
    }

    /// Appends the slice to `out`; false as long as it is not decoded.
    pub(super) fn append_bytes(&self, out: &mut Vec<u8>, plan_of: impl FnOnce(&Block) -> Plan) -> bool {
        match &self.content {
            Content::Decoded(slice) => out.extend_from_slice(slice.bytes()),
            Content::Placed(block) => {
                let range = plan_of(block).range(self.commitment.slice);
                let header = block.header().to_bytes();
                let of_header = range.start.min(header.len())..range.end.min(header.len());
                let of_payload = range.start.saturating_sub(header.len())..range.end.saturating_sub(header.len());
                out.extend_from_slice(&header[of_header]);
                out.extend_from_slice(&block.payload()[of_payload]);
            }
            Content::Collecting(_) | Content::Tainted => return false,
        }
        true
    }

    /// Whether a shred leads to this root. Cheap once others did: its leaf and about one parent.
    pub(super) fn is_proven_by(&mut self, shred: &ReceivedShred<'_>, leaf: &Leaf) -> bool {
        match &mut self.content {
            Content::Collecting(Some(gathering)) => gathering.check(shred.index, leaf, shred.proof),
            _ => shred.root(leaf) == Some(self.commitment.root),
        }
    }

    /// Bytes that storing a shred takes up.
    pub(super) fn needs(&self) -> usize {
        if matches!(self.content, Content::Collecting(None)) { Gathering::bytes_of(&self.commitment.shape) } else { 0 }
    }

    /// Stores a shred that proved itself; false if it was there. `places` is memory for the first one.
    pub(super) fn store(&mut self, shred: &ReceivedShred<'_>, leaf: &Leaf, places: Vec<[u8; CHUNK_BYTES]>) -> bool {
        let bit = 1 << shred.index.0;
        let Content::Collecting(gathering) = &mut self.content else { return false };
        if self.seen & bit != 0 {
            return false;
        }
        let SliceCommitment { shape, root, .. } = self.commitment;
        let gathering = gathering.get_or_insert_with(|| Box::new(Gathering::new_in(shape, root, places)));
        if !gathering.has_proven(shred.index, leaf) && !gathering.check(shred.index, leaf, shred.proof) {
            return false;
        }
        self.seen |= bit;
        gathering.insert(shred.index, shred.chunk)
    }

    fn charge(&self) -> usize {
        VARIANT_BYTES
            + match &self.content {
                Content::Collecting(None) => 0,
                Content::Collecting(Some(gathering)) => gathering.bytes_held(),
                Content::Decoded(slice) => slice.chunks.capacity() * CHUNK_BYTES,
                Content::Placed(_) | Content::Tainted => 0,
            }
    }
}

/// All variants of one slice.
#[derive(Default)]
pub(super) struct Slice {
    pub(super) variants: Vec<Variant>,
    /// The first one the leader's signature came with: part of the chain.
    pub(super) first: Option<usize>,
}

impl Slice {
    pub(super) fn signed(&self) -> usize {
        self.variants.iter().filter(|variant| variant.signature.is_some()).count()
    }

    pub(super) fn first(&self) -> Option<&Variant> {
        self.variants.get(self.first?)
    }

    /// The seats of a code word of `total` shreds, if a variant of that length had a shred.
    pub(super) fn seats(&self, total: u8) -> Option<&Seats> {
        self.variants.iter().filter(|variant| variant.commitment.shape.total == total).find_map(|variant| variant.seats.as_ref())
    }

    pub(super) fn position(&self, commitment: &SliceCommitment) -> Option<usize> {
        self.variants.iter().position(|variant| variant.commitment == *commitment)
    }
}

/// A block that a certificate names.
pub(super) struct Want {
    pub(super) digest: Digest,
    /// Who signed for it: they hold it.
    pub(super) holders: SignerBitmap,
    /// Its header and commitments, once known.
    pub(super) manifest: Option<(BlockHeader, Vec<SliceCommitment>)>,
    /// Manifest requests made.
    pub(super) attempts: u32,
}

/// One view.
pub(super) struct ViewState {
    pub(super) leader: ValidatorIndex,
    slices: Vec<Slice>,
    /// Slice with the last flag, first come.
    pub(super) last: Option<SliceIndex>,
    /// Highest slice of the chain.
    highest: Option<SliceIndex>,
    pub(super) equivocated: bool,
    /// The chain cannot become a block.
    pub(super) dead: bool,
    /// The chain became a block.
    pub(super) done: bool,
    pub(super) blocks: Vec<Arc<Block>>,
    pub(super) wants: Vec<Want>,
    offences: Vec<(ValidatorIndex, Offence)>,
    dropped: bool,
    charged: usize,
}

impl ViewState {
    pub(super) fn new(leader: ValidatorIndex, slices: usize) -> ViewState {
        ViewState {
            leader,
            slices: std::iter::repeat_with(Slice::default).take(slices).collect(),
            last: None,
            highest: None,
            equivocated: false,
            dead: false,
            done: false,
            blocks: Vec::new(),
            wants: Vec::new(),
            offences: Vec::new(),
            dropped: false,
            charged: 0,
        }
    }

    pub(super) fn slice(&self, slice: SliceIndex) -> Option<&Slice> {
        self.slices.get(slice.at())
    }

    pub(super) fn slice_mut(&mut self, slice: SliceIndex) -> Option<&mut Slice> {
        self.slices.get_mut(slice.at())
    }

    pub(super) fn slices(&self) -> &[Slice] {
        &self.slices
    }

    pub(super) fn variant(&self, slice: SliceIndex, at: usize) -> Option<&Variant> {
        self.slice(slice)?.variants.get(at)
    }

    pub(super) fn variant_mut(&mut self, slice: SliceIndex, at: usize) -> Option<&mut Variant> {
        self.slice_mut(slice)?.variants.get_mut(at)
    }

    pub(super) fn block(&self, digest: &Digest) -> Option<&Arc<Block>> {
        self.blocks.iter().find(|block| block.digest() == *digest)
    }

    /// Adds a commitment the leader signed, or gives a wanted one its signature. Returns its position and, if it excludes an earlier one, the
    /// announcements of both.
    pub(super) fn add_signed(&mut self, commitment: SliceCommitment, signature: [u8; 64], now: Nanos) -> (usize, Option<Vec<u8>>) {
        let conflict = self.conflicting(&commitment).map(|(other, other_signature)| {
            [wire::announcement(&other, other_signature), wire::announcement(&commitment, signature)].concat()
        });
        let slice = &mut self.slices[commitment.slice.at()];
        let at = slice.position(&commitment).unwrap_or_else(|| {
            slice.variants.push(Variant::new(commitment, None, now));
            slice.variants.len() - 1
        });
        slice.variants[at].signature = Some(signature);
        if slice.first.is_none() {
            slice.first = Some(at);
            self.highest = self.highest.max(Some(commitment.slice));
            if commitment.last && self.last.is_none() {
                self.last = Some(commitment.slice);
            }
        }
        (at, conflict)
    }

    /// A commitment of the chain that cannot stand beside `commitment`: another one for the same slice, a last slice before it, or a slice
    /// behind it if it is last.
    fn conflicting(&self, commitment: &SliceCommitment) -> Option<(SliceCommitment, [u8; 64])> {
        let first = |slice: SliceIndex| self.slice(slice)?.first();
        let same_slice = first(commitment.slice).filter(|other| other.commitment != *commitment);
        let ended_before = || self.last.filter(|last| *last < commitment.slice).and_then(first);
        let goes_on_behind = || self.highest.filter(|highest| commitment.last && *highest > commitment.slice).and_then(first);
        let other = same_slice.or_else(ended_before).or_else(goes_on_behind)?;
        Some((other.commitment, other.signature.expect("the chain is signed")))
    }

    /// Adds a commitment that a certified block names.
    pub(super) fn add_wanted(&mut self, commitment: SliceCommitment, now: Nanos) {
        let slice = &mut self.slices[commitment.slice.at()];
        if slice.position(&commitment).is_none() {
            slice.variants.push(Variant::new(commitment, None, now));
        }
    }

    /// Whether this is the first time; remembers it. Bounded by validators times offences.
    pub(super) fn is_first_offence(&mut self, accused: ValidatorIndex, offence: Offence) -> bool {
        let first = !self.offences.contains(&(accused, offence));
        if first {
            self.offences.push((accused, offence));
        }
        first
    }

    /// After finalization: what is not part of a whole block goes.
    pub(super) fn keep_blocks_only(&mut self) {
        self.wants.clear();
        for slice in &mut self.slices {
            slice.variants.retain(|variant| matches!(variant.content, Content::Placed(_)));
            slice.first = None;
        }
    }

    /// Drops everything for want of room. Nothing disseminated is taken for this view until it is the current one.
    pub(super) fn drop_all(&mut self) {
        *self = ViewState { dropped: true, charged: self.charged, equivocated: self.equivocated, ..ViewState::new(self.leader, 0) };
    }

    pub(super) fn is_dropped(&self) -> bool {
        self.dropped
    }

    pub(super) fn charged(&self) -> usize {
        self.charged
    }

    /// Recomputes the charge; returns the change.
    pub(super) fn recharge(&mut self) -> isize {
        let before = self.charged as isize;
        let variants: usize = self.slices.iter().flat_map(|slice| &slice.variants).map(Variant::charge).sum();
        let blocks: usize = self.blocks.iter().map(|block| block.header().block_bytes()).sum();
        self.charged = if self.dropped { 0 } else { VIEW_BYTES + variants + blocks };
        self.charged as isize - before
    }
}
