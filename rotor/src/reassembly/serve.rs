//! Answering other nodes' requests from what is held: own proposals, whole blocks, decoded slices, and shreds of slices still incomplete.
//!
//! Whole blocks are kept without their code words; a slice that is asked for is encoded again (about 15 us) and the last one is remembered.

use super::Reassembly;
use super::requests::indexes;
use super::view::Content;
use crate::shredder::ShreddedBlock;
use crate::wire::{self, UNSIGNED};
use samara_types::message::{self, ArchivedManifestRequest, ArchivedShredRequest, Manifest};
use samara_types::{Block, Digest, Nanos, SliceCommitment, SliceIndex, View};
use std::sync::Arc;

impl Reassembly {
    /// Keeps this leader's own block to answer for it. False if its view is finalized.
    pub fn insert_own(&mut self, now: Nanos, shredded: &ShreddedBlock) -> bool {
        let view = shredded.block.header().view;
        if view <= self.finalized {
            return false;
        }
        self.revive(view);
        for slice in &shredded.slices {
            self.state(view).add_signed(slice.commitment, slice.signature, now);
        }
        self.insert_block(now, &shredded.block);
        self.state(view).done = true;
        true
    }

    /// Keeps a whole block that came otherwise (from the store, by sync) to answer for it and to need no repair. False if it is outside the
    /// window or no leader may propose it.
    pub fn insert_block(&mut self, now: Nanos, block: &Arc<Block>) -> bool {
        let view = block.header().view;
        let ahead = self.current.0.saturating_add(self.config.window_views);
        let Some(manifest) = self.manifest(block.header(), block.roots()) else { return false };
        if view <= self.floor || view.0 > ahead {
            return false;
        }
        self.revive(view);
        for &commitment in &manifest {
            self.state(view).add_wanted(commitment, now);
        }
        self.keep(view, block, &manifest);
        self.recharge(view);
        true
    }

    /// The answer to a [`samara_types::MessageKind::ManifestRequest`], if the block is whole here.
    pub fn serve_manifest(&self, request: &[u8]) -> Option<Vec<u8>> {
        let request = message::access::<ArchivedManifestRequest>(request)?;
        let block = self.block(View(request.view.to_native()), &Digest(request.digest))?;
        let roots = block.roots().iter().map(|root| root.0).collect();
        Some(message::encode(&Manifest { header: block.header().to_bytes().to_vec(), roots }).to_vec())
    }

    /// Calls `each` with the [`samara_types::MessageKind::RepairShred`] of every shred asked for that is here: at most one per bit of the
    /// request, 128.
    pub fn serve_shreds(&mut self, request: &[u8], mut each: impl FnMut(&[u8])) {
        let Some(request) = message::access::<ArchivedShredRequest>(request) else { return };
        let (view, slice, root) = (View(request.view.to_native()), SliceIndex(request.slice.to_native()), Digest(request.root));
        let wanted = u128::from_le_bytes(request.wanted);
        let Some(variants) = self.views.get(&view).and_then(|state| state.slice(slice)).map(|slice| &slice.variants) else { return };
        let of_root = || variants.iter().filter(|variant| variant.commitment.root == root);
        let whole = of_root().find(|variant| matches!(variant.content, Content::Decoded(_) | Content::Placed(_)));
        let Some(variant) = whole.or_else(|| of_root().next()) else { return };
        let commitment = variant.commitment;
        // Who asks by root needs no signature; where none is known, zeros say so.
        let signature = variant.signature.unwrap_or(UNSIGNED);
        let mut message = Vec::with_capacity(samara_types::datagram::MESSAGE_BYTES_MAX);
        if let Content::Collecting(gathering) = &variant.content {
            let Some(gathering) = gathering else { return };
            for (index, chunk) in indexes(wanted).filter_map(|index| Some((index, gathering.chunk(index)?))) {
                message.clear();
                wire::write_header(&commitment, index, signature, &mut message);
                gathering.write_proof(index, &mut message);
                message.extend_from_slice(chunk);
                each(&message);
            }
            return;
        }
        let Some(word) = self.encoded(view, &commitment) else { return };
        for index in indexes(wanted).filter(|index| index.0 < commitment.shape.total) {
            message.clear();
            wire::write_header(&commitment, index, signature, &mut message);
            word.write_proof(index, &mut message);
            message.extend_from_slice(word.chunk(index));
            each(&message);
        }
    }

    /// The code word of a slice that is whole.
    fn encoded(&mut self, view: View, commitment: &SliceCommitment) -> Option<&samara_erasure::CodeWord> {
        let is_this = |(of, slice, word): &(View, SliceIndex, samara_erasure::CodeWord)| {
            *of == view && *slice == commitment.slice && word.root() == commitment.root && word.shape() == commitment.shape
        };
        if !self.served.as_ref().is_some_and(is_this) {
            let slice = self.views.get(&view)?.slice(commitment.slice)?;
            let variant = slice.variants.get(slice.position(commitment)?)?;
            let mut bytes = Vec::new();
            let plan_of = |block: &Block| self.planner.plan(block.header().block_bytes()).expect("a placed block has a plan");
            if !variant.append_bytes(&mut bytes, plan_of) {
                return None;
            }
            let word = self.coder.encode(&bytes, commitment.shape.data, commitment.shape.total);
            self.served = Some((view, commitment.slice, word));
        }
        self.served.as_ref().map(|(_, _, word)| word)
    }
}
