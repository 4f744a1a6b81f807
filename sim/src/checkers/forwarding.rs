//! l.2-3, I23: on a good network a new notarization (each block of a view) or nullification that one correct validator sends to all, every
//! correct validator sends to all within δ, unless the view was final to it before. l.20: who leaves a view that was not nullified has voted or
//! nullified in it. And a relay sends one shred to one peer once.

use super::{Checker, Court, Facts, Promise, Said};
use crate::trace::{Event, Target, What};
use samara_types::{Digest, MessageKind, Nanos, ShredHeader, View};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Timers and bursts, as in the timing checker.
const SLACK: u64 = 1_500_000;
/// Views whose shreds are remembered as sent.
const VIEWS_KEPT: u64 = 128;

type Named = (View, u8, Digest);

/// See the module.
pub struct Forwarding {
    facts: Facts,
    delta: u64,
    write: u64,
    settled: bool,
    sent: BTreeMap<Named, BTreeSet<usize>>,
    due: BTreeMap<(Nanos, Named), ()>,
    /// Who said a word in a view, and who owes one by when.
    spoke: BTreeMap<View, BTreeSet<usize>>,
    nullified: BTreeMap<View, BTreeSet<usize>>,
    owed: BTreeSet<(Nanos, usize, View)>,
    tips: Vec<View>,
    relayed: HashMap<(usize, View), HashSet<(usize, u64)>>,
}

impl Forwarding {
    /// Nothing sent.
    pub fn new(facts: &Facts) -> Forwarding {
        Forwarding {
            tips: vec![View(0); facts.stakes.len()],
            facts: facts.clone(),
            delta: 0,
            write: 0,
            settled: false,
            sent: BTreeMap::new(),
            due: BTreeMap::new(),
            spoke: BTreeMap::new(),
            nullified: BTreeMap::new(),
            owed: BTreeSet::new(),
            relayed: HashMap::new(),
        }
    }

    fn judge(&mut self, now: Nanos, court: &mut Court) {
        while let Some(entry) = self.due.first_entry()
            && entry.key().0 < now
        {
            let (_, (view, kind, digest)) = *entry.key();
            entry.remove();
            let sent = &self.sent[&(view, kind, digest)];
            let correct = (0..self.tips.len()).filter(|node| !self.facts.hostile[*node]);
            let late: Vec<usize> = correct.filter(|node| !sent.contains(node) && self.tips[*node] < view).collect();
            if !late.is_empty() {
                let text = format!("l.2-3: view {view}, kind {kind}, {digest}: not forwarded by {late:?} within δ of the first");
                court.accuse(Promise::Timing, text);
            }
        }
    }

    fn owes(&mut self, now: Nanos, court: &mut Court) {
        while let Some((due, node, view)) = self.owed.first().copied()
            && due < now
        {
            self.owed.pop_first();
            let spoke = self.spoke.get(&view).is_some_and(|seats| seats.contains(&node));
            let nullified = self.nullified.get(&view).is_some_and(|seats| self.facts.weight(seats) >= self.facts.m);
            if !spoke && !nullified && self.tips[node] < view {
                court.accuse(Promise::Timing, format!("l.20: validator {node} left view {view} without a word"));
            }
        }
    }

    fn relays(&mut self, node: usize, to: usize, bytes: &[u8], court: &mut Court) {
        let Some(view) = ShredHeader::view_of(bytes) else { return };
        let hash = blake3::hash(bytes);
        let hash = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("8 of 32 bytes"));
        if !self.relayed.entry((node, view)).or_default().insert((to, hash)) {
            court.accuse(Promise::Conservation, format!("validator {node} sent {to} the same shred of view {view} twice"));
        }
    }
}

impl Checker for Forwarding {
    fn observe(&mut self, event: &Event, said: Option<&Said>, court: &mut Court) {
        self.judge(event.at, court);
        self.owes(event.at, court);
        let node = event.node;
        if let Some(Said::Vote(view, ..) | Said::Nullify(view, _)) = said {
            self.spoke.entry(*view).or_default().insert(node);
            if matches!(said, Some(Said::Nullify(..))) {
                self.nullified.entry(*view).or_default().insert(node);
            }
        }
        match &event.what {
            What::Healed { delta, disk } => (self.delta, self.write) = (delta.0, disk.0),
            What::Entered(view) if self.settled => {
                // A body and a record, each behind a write that was under way, and the ends of bursts.
                let due = Nanos(event.at.0 + 4 * self.write + 2 * SLACK);
                self.owed.insert((due, node, view.previous()));
            }
            What::Settled => self.settled = true,
            What::Traffic(_) | What::Chain(_) => self.settled = false,
            What::Started { .. } => self.relayed.retain(|(of, _), _| *of != node),
            What::Finalized(finalized) => {
                self.tips[node] = finalized.header.view;
                let floor = View(finalized.header.view.0.saturating_sub(VIEWS_KEPT));
                self.relayed.retain(|(of, view), _| *of != node || *view >= floor);
            }
            What::Sent(Target::One(to), MessageKind::Shred, bytes) if !self.facts.hostile[node] => self.relays(node, to.at(), bytes, court),
            What::Sent(Target::All, ..) if !self.facts.hostile[node] => {
                let Some(Said::Certificate { view, digest, kind: kind @ (0 | 1), .. }) = said else { return };
                let named = (*view, *kind, *digest);
                let sent = self.sent.entry(named).or_default();
                let first = sent.is_empty();
                sent.insert(node);
                if first && self.settled {
                    self.due.insert((Nanos(event.at.0 + self.delta + SLACK), named), ());
                }
            }
            _ => {}
        }
    }
}
