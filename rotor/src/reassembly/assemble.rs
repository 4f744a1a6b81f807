//! From enough shreds to slices, from whole chains and wanted blocks to blocks.

use super::view::{Content, Decoded, Slice, Variant, ViewState};
use super::{Event, Origin, RELAYS_MAX, Reassembly, Relay};
use crate::wire::{announcement, write_header};
use samara_crypto::Mutant;
use samara_erasure::{Finished, Malformed};
use samara_types::datagram::MESSAGE_BYTES_MAX;
use samara_types::{
    BLOCK_HEADER_BYTES, Block, BlockHeader, Digest, Evidence, Nanos, Offence, ShredIndex, SliceCommitment, SliceIndex, View,
};
use std::sync::Arc;

impl Reassembly {
    /// Decodes a variant once it has as many shreds as data: once per root, whatever the verdict.
    pub(super) fn decode_if_enough(&mut self, now: Nanos, view: View, slice: SliceIndex, at: usize) {
        let Some(variant) = self.views.get_mut(&view).and_then(|state| state.variant_mut(slice, at)) else { return };
        if !variant.is_collecting() || variant.deficit() > 0 {
            return;
        }
        let commitment = variant.commitment;
        let Content::Collecting(Some(gathering)) = std::mem::replace(&mut variant.content, Content::Tainted) else { return };
        let unsent = self.unsent_seats(&commitment, at);
        let trusting = self.planted == Some(Mutant::VerdictByArrivals);
        match if trusting { gathering.finish_trusting(&mut self.coder) } else { gathering.finish(&mut self.coder) } {
            Ok(word) => {
                let recovered: Vec<_> =
                    unsent.into_iter().map(|(signature, index)| recovered(&commitment, signature, index, &word)).collect();
                let decoded = Decoded { chunks: word.into_data(), length: commitment.shape.payload_length as usize };
                self.counts.slices_decoded += 1;
                if let Some(variant) = self.state(view).variant_mut(slice, at) {
                    variant.content = Content::Decoded(decoded);
                }
                self.queue_recovered(view, recovered);
            }
            Err(Malformed) => {
                self.counts.slices_tainted += 1;
                self.tainted(view, slice, at);
            }
        }
        self.recharge(view);
        self.check_chain(view);
        self.complete_wants(now, view);
    }

    /// The shreds of own seats that this node never sent on, so that a leader that skipped it, or a lost packet, costs nobody a seat. Only
    /// what the leader disseminates and only while the view matters.
    fn unsent_seats(&mut self, commitment: &SliceCommitment, at: usize) -> Vec<([u8; 64], ShredIndex)> {
        let (view, slice, shape) = (commitment.view, commitment.slice, commitment.shape);
        let leader = self.schedule.leader(view);
        let direct = self.planner.admits(slice, commitment.last, &shape) != Some(false);
        if direct || view < self.current || leader == self.config.me {
            return Vec::new();
        }
        let me = self.config.me;
        let Some(variant) = self.views.get(&view).and_then(|state| state.variant(slice, at)) else { return Vec::new() };
        let Some(signature) = variant.signature else { return Vec::new() };
        let relayed = variant.relayed;
        let seats = variant.seats.clone().unwrap_or_else(|| self.table.seats(view, slice, leader, shape.total));
        seats.of(me).filter(|index| relayed & (1 << index.0) == 0).map(|index| (signature, index)).collect()
    }

    fn queue_recovered(&mut self, view: View, messages: Vec<Vec<u8>>) {
        let leader = self.schedule.leader(view);
        for message in messages {
            if self.relays.len() == RELAYS_MAX {
                self.relays.pop_front();
                self.relays_dropped += 1;
            }
            self.relays.push_back(Relay { leader, message });
        }
    }

    /// A root that is no code word: the chain dies if it is part of it, and so does every wanted block that names it.
    fn tainted(&mut self, view: View, slice: SliceIndex, at: usize) {
        let state = self.state(view);
        let Some(variant) = state.variant(slice, at) else { return };
        let commitment = variant.commitment;
        let proof = variant.signature.map_or_else(Vec::new, |signature| announcement(&commitment, signature));
        state.dead |= state.slice(slice).is_some_and(|slice| slice.first == Some(at));
        self.malformed(view, proof);
        self.give_up_wants(view, |manifest| manifest.contains(&commitment));
    }

    /// Reports the leader once per view.
    pub(super) fn malformed(&mut self, view: View, proof: Vec<u8>) {
        let accused = self.schedule.leader(view);
        if self.state(view).is_first_offence(accused, Offence::MalformedBlock) {
            self.events.push_back(Event::Malformed(Evidence { accused, offence: Offence::MalformedBlock, view, proof }));
        }
    }

    /// Drops the wants whose manifest `is_lost`.
    fn give_up_wants(&mut self, view: View, is_lost: impl Fn(&[SliceCommitment]) -> bool) {
        let state = self.state(view);
        state.wants.retain(|want| want.manifest.as_ref().is_none_or(|(_, manifest)| !is_lost(manifest)));
        if state.wants.is_empty() {
            self.wanting.remove(&view);
        }
    }

    /// Judges the chain as soon as slice 0 tells the header: every commitment must be the one the plan of that block demands. Builds the
    /// block once all its slices are there.
    pub(super) fn check_chain(&mut self, view: View) {
        let Some(state) = self.views.get(&view) else { return };
        if state.done || state.dead {
            return;
        }
        let Some(header) = state.slices().first().and_then(chain_header) else { return };
        let manifest = match header.and_then(|header| Some((header, self.demanded(state, &header)?))) {
            Some((header, Ok(manifest))) => Some((header, manifest)),
            Some((_, Err(NotYet))) => return,
            None => None,
        };
        let built = manifest.map(|(header, manifest)| (self.build(view, &header, &manifest), manifest));
        match built {
            Some((Built::NotYet, _)) => {}
            Some((Built::Whole(block), manifest)) => {
                self.state(view).done = true;
                self.place(view, block, &manifest);
                self.recharge(view);
            }
            Some((Built::Malformed, _)) | None => self.chain_is_malformed(view),
        }
    }

    /// The commitments of the chain, if they are what the header demands. None: they contradict it.
    fn demanded(&self, state: &ViewState, header: &BlockHeader) -> Option<Result<Vec<SliceCommitment>, NotYet>> {
        let plan = self.planner.plan(header.block_bytes())?;
        let chain: Vec<_> = state.slices().iter().map(|slice| slice.first().map(|variant| variant.commitment)).collect();
        let as_planned = chain.iter().flatten().all(|commitment| {
            commitment.slice <= plan.last()
                && commitment.last == (commitment.slice == plan.last())
                && commitment.shape == plan.shape(commitment.slice)
        });
        let names_this_view = chain.iter().flatten().all(|commitment| commitment.view == header.view) && header.leader == state.leader;
        if !as_planned || !names_this_view {
            return None;
        }
        Some(chain.into_iter().take(plan.slices()).collect::<Option<Vec<_>>>().ok_or(NotYet))
    }

    fn chain_is_malformed(&mut self, view: View) {
        let state = self.state(view);
        state.dead = true;
        let signed = state.slices().iter().filter_map(Slice::first).filter_map(|variant| Some((variant.commitment, variant.signature?)));
        let proof = signed.flat_map(|(commitment, signature)| announcement(&commitment, signature)).collect();
        self.malformed(view, proof);
    }

    /// Puts the slices of a manifest together.
    fn build(&self, view: View, header: &BlockHeader, manifest: &[SliceCommitment]) -> Built {
        let state = &self.views[&view];
        let variant_of = |commitment: &SliceCommitment| {
            let slice = state.slice(commitment.slice)?;
            slice.variants.get(slice.position(commitment)?)
        };
        let mut variants = manifest.iter().map(variant_of);
        if variants.any(|variant| variant.is_none_or(Variant::is_collecting)) {
            return Built::NotYet;
        }
        let (mut first, mut payload) = (Vec::new(), Vec::with_capacity(header.payload_length as usize));
        let plan_of = |block: &Block| self.planner.plan(block.header().block_bytes()).expect("a placed block has a plan");
        for (at, commitment) in manifest.iter().enumerate() {
            // The header is not part of the payload: slice 0 is copied once more for that.
            let out = if at == 0 { &mut first } else { &mut payload };
            if !variant_of(commitment).is_some_and(|variant| variant.append_bytes(out, plan_of)) {
                return Built::NotYet;
            }
            if at == 0 {
                payload.extend_from_slice(&first[BLOCK_HEADER_BYTES.min(first.len())..]);
            }
        }
        let roots: Vec<Digest> = manifest.iter().map(|commitment| commitment.root).collect();
        match Block::new(*header, roots, payload) {
            Some(block) if first.starts_with(&header.to_bytes()) => Built::Whole(Arc::new(block)),
            _ => Built::Malformed,
        }
    }

    /// Looks whether wanted blocks of a view can be told from the chain, or are whole, or can never be.
    pub(super) fn complete_wants(&mut self, now: Nanos, view: View) {
        if !self.wanting.contains(&view) {
            return;
        }
        self.manifest_from_chain(now, view);
        let manifests: Vec<_> = self.state(view).wants.iter().filter_map(|want| want.manifest.clone()).collect();
        for (header, manifest) in manifests {
            match self.build(view, &header, &manifest) {
                Built::NotYet => {}
                Built::Whole(block) => self.place_repaired(view, block, &manifest),
                Built::Malformed => {
                    self.malformed(view, Vec::new());
                    self.give_up_wants(view, |other| *other == *manifest);
                }
            }
        }
        self.recharge(view);
    }

    /// If all commitments of the chain and its header are known and hash to a wanted digest, no manifest has to be asked for.
    fn manifest_from_chain(&mut self, now: Nanos, view: View) {
        let state = &self.views[&view];
        if state.wants.iter().all(|want| want.manifest.is_some()) {
            return;
        }
        let Some(Some(header)) = state.slices().first().and_then(chain_header) else { return };
        let Some(Ok(manifest)) = self.demanded(state, &header) else { return };
        let roots: Vec<Digest> = manifest.iter().map(|commitment| commitment.root).collect();
        self.set_manifest(now, view, header.digest(&roots), header, manifest);
    }

    fn place_repaired(&mut self, view: View, block: Arc<Block>, manifest: &[SliceCommitment]) {
        let chain_slices = self.views[&view].slices().iter().filter_map(Slice::first).map(|variant| variant.commitment);
        let is_chain = chain_slices.eq(manifest.iter().copied());
        self.state(view).done |= is_chain;
        self.place_as(view, block, manifest, Origin::Repaired);
    }

    fn place(&mut self, view: View, block: Arc<Block>, manifest: &[SliceCommitment]) {
        self.place_as(view, block, manifest, Origin::Disseminated);
    }

    /// Keeps a whole block in place of its slices and tells it, once.
    fn place_as(&mut self, view: View, block: Arc<Block>, manifest: &[SliceCommitment], origin: Origin) {
        if self.keep(view, &block, manifest) {
            self.events.push_back(Event::Block(block, origin));
        }
    }

    /// Keeps a whole block in place of its slices; false if it was held. Ends what was asked for it.
    pub(super) fn keep(&mut self, view: View, block: &Arc<Block>, manifest: &[SliceCommitment]) -> bool {
        let digest = block.digest();
        let mut emptied = Vec::new();
        let state = self.state(view);
        for commitment in manifest {
            let Some(slice) = state.slice_mut(commitment.slice) else { continue };
            if let Some(at) = slice.position(commitment) {
                let before = std::mem::replace(&mut slice.variants[at].content, Content::Placed(block.clone()));
                if let Content::Decoded(Decoded { chunks, .. }) = before {
                    emptied.push(chunks);
                }
            }
        }
        state.wants.retain(|want| want.digest != digest);
        let fresh = state.block(&digest).is_none();
        if fresh {
            state.blocks.push(block.clone());
        }
        if state.wants.is_empty() {
            self.wanting.remove(&view);
        }
        emptied.into_iter().for_each(|buffer| self.spares.put(buffer));
        self.end_requests(view, &digest, manifest);
        fresh
    }
}

/// Shred `index` of a decoded slice as the leader would have sent it.
fn recovered(commitment: &SliceCommitment, signature: [u8; 64], index: ShredIndex, word: &Finished<'_>) -> Vec<u8> {
    let mut message = Vec::with_capacity(MESSAGE_BYTES_MAX);
    write_header(commitment, index, signature, &mut message);
    word.write_proof(index, &mut message);
    message.extend_from_slice(word.chunk(index));
    message
}

/// Some shreds or slices are missing.
struct NotYet;

enum Built {
    NotYet,
    Whole(Arc<Block>),
    Malformed,
}

/// The header in a slice 0: outer None as long as it is not decoded, inner None if it is malformed.
fn chain_header(slice: &Slice) -> Option<Option<BlockHeader>> {
    match &slice.first()?.content {
        Content::Decoded(slice) => Some(BlockHeader::from_bytes(slice.bytes())),
        Content::Placed(block) => Some(Some(*block.header())),
        Content::Collecting(_) | Content::Tainted => None,
    }
}
