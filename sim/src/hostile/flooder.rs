//! T21: messages of views long past and far ahead, well signed, and requests that cost their receiver more than their sender.
//!
//! The rate is what the dataplane's class buckets would let through many times over; what it costs in memory and time is the checkers' business.

use super::proposals::{announce, everybody, send_block, shred};
use crate::actor::{Hostile, Stage};
use samara_types::message::{
    ArchivedCertificate, CertificateRequest, ManifestRequest, Nullify, ShredRequest, Status, TransactionBatch, Vote, access, encode,
};
use samara_types::{BlockHeader, Digest, Height, MessageKind, Nanos, Subject, View};
use std::collections::VecDeque;
use std::sync::Arc;

/// Between two waves.
const WAVE: Nanos = Nanos::from_millis(8);
/// Real certificates kept to be sent again.
const KEPT_MAX: usize = 32;

/// See the module.
#[derive(Default)]
pub struct Flooder {
    view: View,
    kept: VecDeque<Arc<[u8]>>,
}

impl Hostile for Flooder {
    fn name(&self) -> &'static str {
        "flooder"
    }

    fn start(&mut self, stage: &mut Stage<'_>) {
        stage.wake = Some(stage.now.after(WAVE));
    }

    fn deliver(&mut self, from: usize, kind: MessageKind, bytes: &[u8], stage: &mut Stage<'_>) {
        let MessageKind::Certificate = kind else { return };
        if let Some(certificate) = access::<ArchivedCertificate>(bytes)
            && !stage.allies.contains(&from)
        {
            self.view = self.view.max(View(certificate.view.to_native()));
            if self.kept.len() == KEPT_MAX {
                self.kept.pop_front();
            }
            self.kept.push_back(bytes.into());
        }
    }

    fn wake(&mut self, stage: &mut Stage<'_>) {
        stage.wake = Some(stage.now.after(WAVE));
        let view = self.some_view(stage);
        match stage.dice.below(10) {
            0 | 1 => self.sign(Subject::Vote(view, Digest::of("samara 2026 simulator flood", &[&view.0.to_le_bytes()])), stage),
            2 | 3 => self.sign(Subject::Nullify(view), stage),
            4 => {
                if let Some(old) = self.kept.front().cloned() {
                    stage.broadcast(MessageKind::Certificate, &old);
                }
            }
            5 => {
                let status =
                    Status { view: view.0, finalized_view: view.0, finalized_height: stage.dice.any() >> 20, finalized_digest: [7; 32] };
                stage.broadcast(MessageKind::Status, &encode(&status));
            }
            6 => self.request(view, stage),
            7 => {
                let payload = vec![stage.dice.any() as u8; 900];
                stage.broadcast(MessageKind::Transactions, &encode(&TransactionBatch { payload }));
            }
            _ => self.propose(stage),
        }
    }
}

impl Flooder {
    /// Past, near or far.
    fn some_view(&self, stage: &mut Stage<'_>) -> View {
        let now = self.view.0;
        let dice = &mut *stage.dice;
        View(match dice.below(5) {
            0 => now.saturating_sub(dice.range(1, 100)).max(1),
            1 => now + dice.range(1, 64),
            2 => now + dice.range(64, 5_000),
            3 => u64::MAX - dice.below(2),
            _ => dice.any().max(1),
        })
    }

    fn sign(&self, subject: Subject, stage: &mut Stage<'_>) {
        let signature = stage.cluster.keys[stage.me].vote.sign(stage.cluster.roster.domain(), &subject);
        match subject {
            Subject::Vote(view, digest) => {
                stage.broadcast(MessageKind::Vote, &encode(&Vote { view: view.0, digest: digest.0, signature }));
            }
            Subject::Nullify(view) => stage.broadcast(MessageKind::Nullify, &encode(&Nullify { view: view.0, signature })),
        }
    }

    fn request(&self, view: View, stage: &mut Stage<'_>) {
        match stage.dice.below(3) {
            0 => stage.broadcast(MessageKind::CertificateRequest, &encode(&CertificateRequest { from: 0, to: u64::MAX })),
            1 => stage.broadcast(MessageKind::ManifestRequest, &encode(&ManifestRequest { view: view.0, digest: [3; 32] })),
            _ => {
                let wanted = ShredRequest { view: view.0, slice: u16::MAX, root: [3; 32], wanted: [0xff; 16] };
                stage.broadcast(MessageKind::ShredRequest, &encode(&wanted));
            }
        }
    }

    /// Blocks of views it will lead, far too early: several in each.
    fn propose(&self, stage: &mut Stage<'_>) {
        let led: Vec<u64> =
            (1..200).map(|ahead| self.view.0 + ahead).filter(|view| stage.cluster.schedule.leader(View(*view)).at() == stage.me).collect();
        if led.is_empty() {
            return;
        }
        let view = View(*stage.dice.pick(&led));
        let header = BlockHeader {
            view,
            parent_view: view.previous(),
            parent_digest: Digest([9; 32]),
            height: Height(view.0),
            timestamp_ns: stage.dice.any(),
            payload_length: 0,
            leader: stage.cluster.schedule.leader(view),
            payload_digest: Digest::ZERO,
        };
        let bytes = stage.dice.below(3_000) as usize;
        let Some(block) = shred(header, vec![1; bytes], stage) else { return };
        let seats = everybody(stage);
        for slice in &block.slices {
            announce(slice, &seats, stage);
        }
        send_block(&block, &seats, stage);
    }
}
