//! Every order of the rules' steps for n = 6, f = 1 over up to three views.
//!
//! Real validators are too heavy to branch at every delivery (a step is a signature and a pass over books), so what is explored is a model of the
//! rules, and [`follow`] checks it against the real thing: every word correct validators said in a recorded run of whole validators must be a step
//! the model allows at that point.
//!
//! **The model is generous**: whatever was sent can have reached anybody, or not. A step is possible as soon as *some* delivery makes it possible,
//! and a validator acts in a view as soon as anybody could have entered it. So it has every run of the protocol, and more; what is safe here is safe
//! there. The hostile validator has signed everything in advance. With that, views hang together only through what was sent in them, and correct
//! validators differ only in what they said.
//!
//! **Symmetry**: a view is the number of correct validators for each set of words {vote A, vote B, nullify}, and not who they are; the two blocks
//! of a hostile leader are interchangeable, the larger column first. With round robin at most one of three views has the hostile leader.
//!
//! Checked in every state: X1, X2, agreement along parents. Checked in every final state of a run without the hostile validator's votes: every
//! view that somebody could enter can be left (no stall).

use crate::checkers::Said;
use crate::swarm::Plan;
use crate::trace::{Event, What};
use samara_crypto::Mutant;
use samara_types::{BlockHeader, Digest, View};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Most views.
pub const VIEWS_MAX: usize = 3;
/// Sets of words: bit 0 a vote for A, bit 1 a vote for B, bit 2 a nullify.
const WORDS: usize = 8;
const A: usize = 1;
const B: usize = 2;
const NULLIFY: usize = 4;
/// No such block.
const NONE: u8 = 7;

/// What is explored.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// n; one of them is hostile.
    pub validators: usize,
    /// f.
    pub fault: usize,
    /// Views, at most [`VIEWS_MAX`].
    pub views: usize,
    /// Which of them the hostile validator leads.
    pub hostile_leads: Option<usize>,
    /// Whether it votes for everything, or says nothing but its proposals.
    pub hostile_votes: bool,
    /// A bug of all correct validators.
    pub mutant: Option<Mutant>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Explored {
    /// Different states.
    pub states: usize,
    /// Steps between them.
    pub steps: u64,
    /// The shortest way to a broken promise, if there is one.
    pub broken: Option<Vec<String>>,
    /// Nothing was left out.
    pub complete: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct State {
    words: [[u8; WORDS]; VIEWS_MAX],
    /// Parent of block A and B of each view: 0 genesis, 1 + 2 * view + (0 A, 1 B), or none.
    parents: [[u8; 2]; VIEWS_MAX],
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Propose(usize, usize, u8),
    Say(usize, usize, usize),
}

impl State {
    fn start(bound: &Bound) -> State {
        let mut view = [0; WORDS];
        view[0] = bound.correct() as u8;
        State { words: [view; VIEWS_MAX], parents: [[NONE; 2]; VIEWS_MAX] }
    }

    /// Packed, with the blocks of a view in their canonical order where nothing names them.
    fn key(&self, views: usize) -> u128 {
        let mut key = 0u128;
        for view in 0..views {
            let swapped = self.swapped(view);
            let named = (view + 1..views).any(|later| {
                self.parents[later]
                    .iter()
                    .any(|parent| *parent != NONE && *parent as usize > 2 * view && (*parent as usize) <= 2 * view + 2)
            });
            let (words, parents) = (self.words[view], self.parents[view]);
            let (words, parents) = if !named && swapped < (words, parents) { swapped } else { (words, parents) };
            for count in words {
                key = key << 3 | u128::from(count);
            }
            for parent in parents {
                key = key << 3 | u128::from(parent);
            }
        }
        key
    }

    fn swapped(&self, view: usize) -> ([u8; WORDS], [u8; 2]) {
        let mut words = [0; WORDS];
        for (set, count) in self.words[view].iter().enumerate() {
            words[(set & NULLIFY) | (set & A) << 1 | (set & B) >> 1] = *count;
        }
        (words, [self.parents[view][1], self.parents[view][0]])
    }

    /// Correct validators that said any of these words.
    fn said(&self, view: usize, any: usize) -> usize {
        (0..WORDS).filter(|set| set & any != 0).map(|set| usize::from(self.words[view][set])).sum()
    }
}

impl Bound {
    /// n = 6, f = 1 with everything in the hands of the hostile validator.
    pub fn six(views: usize, hostile_leads: Option<usize>, mutant: Option<Mutant>) -> Bound {
        Bound { validators: 6, fault: 1, views, hostile_leads, hostile_votes: true, mutant }
    }

    fn correct(&self) -> usize {
        self.validators - 1
    }

    fn hostile(&self) -> usize {
        usize::from(self.hostile_votes)
    }

    fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn m(&self) -> usize {
        if self.has(Mutant::QuorumAtThreeFLess) { self.validators - 3 * self.fault } else { 2 * self.fault + 1 }
    }

    fn l(&self) -> usize {
        self.validators - self.fault * if self.has(Mutant::FinalityAtTwoFLess) { 2 } else { 1 }
    }

    fn contradiction(&self) -> usize {
        if self.has(Mutant::ContradictionAtFPlus1) { self.fault + 1 } else { self.m() }
    }

    fn notarized(&self, state: &State, view: usize, slot: usize) -> bool {
        state.parents[view][slot] != NONE && state.said(view, 1 << slot) + self.hostile() >= self.m()
    }

    fn is_final(&self, state: &State, view: usize, slot: usize) -> bool {
        state.parents[view][slot] != NONE && state.said(view, 1 << slot) + self.hostile() >= self.l()
    }

    fn nullified(&self, state: &State, view: usize) -> bool {
        let in_view = |view| state.said(view, NULLIFY) + self.hostile() >= self.m();
        // Without the view under the signature the nullification of one view is that of every other.
        if self.has(Mutant::CrossViewReplay) { (0..self.views).any(in_view) } else { in_view(view) }
    }

    fn may_enter(&self, state: &State, view: usize) -> bool {
        view == 0 || self.nullified(state, view - 1) || (0..2).any(|slot| self.notarized(state, view - 1, slot))
    }

    /// (ii) and (iii).
    fn parent_is_proven(&self, state: &State, view: usize, parent: u8) -> bool {
        let (notarized, first_gap) = match parent {
            0 => (true, 0),
            _ => {
                let (of, slot) = (usize::from(parent - 1) / 2, usize::from(parent - 1) % 2);
                (self.notarized(state, of, slot), of + 1)
            }
        };
        notarized && (self.has(Mutant::NoGapCheck) || (first_gap..view).all(|gap| self.nullified(state, gap)))
    }

    fn parents_of(view: usize) -> impl Iterator<Item = u8> {
        0..=(2 * view) as u8
    }

    fn steps(&self, state: &State, out: &mut Vec<Step>) {
        out.clear();
        for view in (0..self.views).filter(|view| self.may_enter(state, *view)) {
            self.proposals(state, view, out);
            for set in (0..WORDS).filter(|set| state.words[view][*set] > 0) {
                self.words(state, view, set, out);
            }
        }
    }

    fn proposals(&self, state: &State, view: usize, out: &mut Vec<Step>) {
        let hostile = self.hostile_leads == Some(view);
        for slot in (0..if hostile { 2 } else { 1 }).filter(|slot| state.parents[view][*slot] == NONE) {
            if slot == 1 && state.parents[view][0] == NONE {
                continue;
            }
            let parents = Self::parents_of(view).filter(|parent| hostile || self.parent_is_proven(state, view, *parent));
            // A block nobody made is no parent.
            let made = |parent: &u8| *parent == 0 || state.parents[usize::from(parent - 1) / 2][usize::from(parent - 1) % 2] != NONE;
            out.extend(parents.filter(made).map(|parent| Step::Propose(view, slot, parent)));
        }
    }

    fn words(&self, state: &State, view: usize, set: usize, out: &mut Vec<Step>) {
        let again = self.has(Mutant::ForgetsAtRestart) || self.has(Mutant::CurrentViewFlags);
        let silent = set == 0 || again || (self.has(Mutant::VoteAfterNullify) && set == NULLIFY);
        for slot in 0..2 {
            let parent = state.parents[view][slot];
            // l.11 on a valid proposal, l.20 and D2 on a notarization.
            let may = parent != NONE && (self.parent_is_proven(state, view, parent) || self.notarized(state, view, slot));
            if silent && may && set & (1 << slot) == 0 {
                out.push(Step::Say(view, set, 1 << slot));
            }
        }
        let timeout = set == 0 || again || self.has(Mutant::TimeoutAfterVote);
        if set & NULLIFY == 0 && (timeout || self.contradicted(state, view, set)) {
            out.push(Step::Say(view, set, NULLIFY));
        }
    }

    /// 2f+1 others nullified or voted for something else than one with these words did.
    fn contradicted(&self, state: &State, view: usize, set: usize) -> bool {
        let other = if set & A != 0 { B } else { A };
        let itself = usize::from(set & (other | NULLIFY) != 0);
        let hostile = match self.hostile() {
            1 if self.has(Mutant::RepeatedSigner) => self.m(),
            count => count,
        };
        state.said(view, other | NULLIFY) - itself + hostile >= self.contradiction()
    }

    fn broken(&self, state: &State) -> Option<String> {
        for view in 0..self.views {
            for slot in (0..2).filter(|slot| self.is_final(state, view, *slot)) {
                if self.notarized(state, view, 1 - slot) {
                    return Some(format!("X1: view {} finalizes one block and notarizes another", view + 1));
                }
                if self.nullified(state, view) {
                    return Some(format!("X2: view {} finalizes a block and is nullified", view + 1));
                }
                let below = (0..view).flat_map(|below| (0..2).map(move |slot| (below, slot)));
                let forked =
                    |(below, other): (usize, usize)| self.is_final(state, below, other) && !descends(state, view, slot, below, other);
                if let Some((below, _)) = below.into_iter().find(|at| forked(*at)) {
                    return Some(format!(
                        "agreement: the final block of view {} is none of the ancestors of that of view {}",
                        below + 1,
                        view + 1
                    ));
                }
            }
        }
        None
    }

    /// In a state without a step left: a view that can be entered and never left.
    fn stalled(&self, state: &State) -> Option<String> {
        let stuck = |view: &usize| {
            self.may_enter(state, *view) && !self.nullified(state, *view) && (0..2).all(|slot| !self.notarized(state, *view, slot))
        };
        (0..self.views).find(stuck).map(|view| format!("stall: nobody ever leaves view {}", view + 1))
    }
}

fn descends(state: &State, mut view: usize, mut slot: usize, below: usize, other: usize) -> bool {
    while view > below {
        match state.parents[view][slot] {
            0 | NONE => return false,
            parent => (view, slot) = (usize::from(parent - 1) / 2, usize::from(parent - 1) % 2),
        }
    }
    (view, slot) == (below, other)
}

fn take(state: &State, step: Step) -> State {
    let mut next = *state;
    match step {
        Step::Propose(view, slot, parent) => next.parents[view][slot] = parent,
        Step::Say(view, set, word) => {
            next.words[view][set] -= 1;
            next.words[view][set | word] += 1;
        }
    }
    next
}

fn told(step: Step) -> String {
    let block = |parent: u8| match parent {
        0 => "genesis".to_string(),
        _ => format!("{}{}", ["A", "B"][usize::from(parent - 1) % 2], usize::from(parent - 1) / 2 + 1),
    };
    match step {
        Step::Propose(view, slot, parent) => format!("view {}: block {} is proposed on {}", view + 1, ["A", "B"][slot], block(parent)),
        Step::Say(view, set, word) => {
            let words = |set: usize| {
                [(A, "vote A"), (B, "vote B"), (NULLIFY, "nullify")]
                    .iter()
                    .filter(|(bit, _)| set & bit != 0)
                    .map(|(_, name)| *name)
                    .collect::<Vec<_>>()
                    .join(" + ")
            };
            let before = if set == 0 { "nothing".to_string() } else { words(set) };
            format!("view {}: one that said {before} says {}", view + 1, words(word))
        }
    }
}

/// Explores breadth first, so that what is found is found by a shortest way. Ends at the first broken promise or after `states_max`.
pub fn explore(bound: &Bound, states_max: usize) -> Explored {
    assert!((1..=VIEWS_MAX).contains(&bound.views) && bound.validators <= 8, "counts are three bits");
    let start = State::start(bound);
    let mut known: HashMap<u128, u32> = HashMap::from([(start.key(bound.views), 0)]);
    // Where each state came from: for the story of a broken one.
    let mut states = vec![(start, 0u32, None)];
    let (mut at, mut steps_total, mut steps) = (0, 0u64, Vec::new());
    while at < states.len() {
        let state = states[at].0;
        let mut broken = bound.broken(&state);
        bound.steps(&state, &mut steps);
        if steps.is_empty() && !bound.hostile_votes {
            broken = broken.or_else(|| bound.stalled(&state));
        }
        if let Some(how) = broken {
            return Explored { states: states.len(), steps: steps_total, broken: Some(story(&states, at, how)), complete: false };
        }
        for step in steps.iter().copied() {
            steps_total += 1;
            let next = take(&state, step);
            let number = states.len() as u32;
            if let Entry::Vacant(entry) = known.entry(next.key(bound.views)) {
                entry.insert(number);
                states.push((next, at as u32, Some(step)));
            }
        }
        if states.len() > states_max {
            return Explored { states: states.len(), steps: steps_total, broken: None, complete: false };
        }
        at += 1;
    }
    Explored { states: states.len(), steps: steps_total, broken: None, complete: true }
}

fn story(states: &[(State, u32, Option<Step>)], mut at: usize, how: String) -> Vec<String> {
    let mut lines = vec![how];
    while let (_, from, Some(step)) = states[at] {
        lines.push(told(step));
        at = from as usize;
    }
    lines.reverse();
    lines
}

/// What correct validators of a recorded run said, word by word, against the model: `Err` names the first word it has no step for, `Ok` counts them.
pub fn follow(plan: &Plan, events: &[Event]) -> Result<u64, String> {
    assert!(plan.stakes.iter().all(|stake| *stake == 1), "the model counts heads");
    let validators = plan.validators();
    let fault = (validators - 1) / 5;
    let run = Followed { m: 2 * fault + 1, hostile: plan.hostile.len(), said: BTreeMap::new() };
    let headers = events.iter().filter_map(|event| match &event.what {
        What::Finalized(block) => Some((block.digest, block.header)),
        _ => None,
    });
    run.all(plan, events, &headers.collect())
}

struct Followed {
    m: usize,
    hostile: usize,
    /// By view and word: a vote's digest, or none for a nullify.
    said: BTreeMap<View, BTreeMap<Option<Digest>, BTreeSet<usize>>>,
}

impl Followed {
    fn all(mut self, plan: &Plan, events: &[Event], headers: &BTreeMap<Digest, BlockHeader>) -> Result<u64, String> {
        let mut words = 0;
        for event in events.iter().filter(|event| !plan.is_hostile(event.node)) {
            let (view, word) = match Said::of(&event.what) {
                Some(Said::Vote(view, digest, _)) => (view, Some(digest)),
                Some(Said::Nullify(view, _)) => (view, None),
                _ => continue,
            };
            if self.said.entry(view).or_default().get(&word).is_some_and(|seats| seats.contains(&event.node)) {
                continue;
            }
            let allowed = match word {
                Some(digest) => self.may_vote(event.node, view, digest, headers),
                None => self.may_nullify(event.node, view),
            };
            if !allowed {
                return Err(format!("at {} ns: validator {} says {word:?} in view {view}", event.at.0, event.node));
            }
            self.said.entry(view).or_default().entry(word).or_default().insert(event.node);
            words += 1;
        }
        Ok(words)
    }

    fn weight(&self, view: View, word: Option<Digest>) -> usize {
        self.said.get(&view).and_then(|words| words.get(&word)).map_or(0, BTreeSet::len) + self.hostile
    }

    fn is_left(&self, view: View) -> bool {
        view == View::GENESIS || self.said.get(&view).is_some_and(|words| words.keys().any(|word| self.weight(view, *word) >= self.m))
    }

    fn own_words(&self, node: usize, view: View) -> usize {
        self.said.get(&view).map_or(0, |words| words.values().filter(|seats| seats.contains(&node)).count())
    }

    fn may_vote(&self, node: usize, view: View, digest: Digest, headers: &BTreeMap<Digest, BlockHeader>) -> bool {
        let notarized = self.weight(view, Some(digest)) >= self.m;
        // Of blocks that never became final nothing but the digest is known.
        let proven = headers.get(&digest).is_none_or(|header| {
            let parent = header.parent_view == View::GENESIS || self.weight(header.parent_view, Some(header.parent_digest)) >= self.m;
            parent && (header.parent_view.0 + 1..view.0).all(|gap| self.weight(View(gap), None) >= self.m)
        });
        self.own_words(node, view) == 0 && (notarized || (self.is_left(view.previous()) && proven))
    }

    fn may_nullify(&self, node: usize, view: View) -> bool {
        if self.own_words(node, view) == 0 {
            return self.is_left(view.previous());
        }
        let against = self.said[&view].values().filter(|seats| !seats.contains(&node)).flatten().collect::<BTreeSet<_>>();
        against.len() + self.hostile >= self.m
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile::Kind;
    use crate::{Kit, World};

    #[test]
    fn no_order_of_two_views_breaks_a_promise() {
        for hostile_leads in [None, Some(0), Some(1)] {
            let explored = explore(&Bound::six(2, hostile_leads, None), 4_000_000);
            println!("2 views, hostile leads {hostile_leads:?}: {} states, {} steps", explored.states, explored.steps);
            assert!(explored.broken.is_none() && explored.complete, "{explored:?}");
        }
    }

    #[test]
    fn no_order_of_three_views_breaks_a_promise_within_the_bound() {
        let explored = explore(&Bound::six(3, Some(0), None), 1_000_000);
        println!("3 views, hostile leads the first: {} states, {} steps, complete {}", explored.states, explored.steps, explored.complete);
        assert!(explored.broken.is_none(), "{explored:?}");
    }

    #[test]
    fn nobody_stalls_whatever_a_leader_proposes() {
        for validators in [6, 7] {
            let bound = Bound { validators, hostile_votes: false, ..Bound::six(2, Some(0), None) };
            let explored = explore(&bound, 4_000_000);
            println!("n = {validators}, silent: {} states, {} steps", explored.states, explored.steps);
            assert!(explored.broken.is_none() && explored.complete, "{explored:?}");
        }
    }

    #[test]
    fn planted_bugs_are_found() {
        use Mutant::*;
        let found = |bound: Bound, what: &str| {
            let explored = explore(&bound, 2_000_000);
            let broken = explored.broken.unwrap_or_default();
            println!("{:?}: {} states, {broken:?}", bound.mutant, explored.states);
            assert!(broken.last().is_some_and(|line| line.starts_with(what)), "{bound:?}: {broken:?}");
        };
        found(Bound::six(1, Some(0), Some(ContradictionAtFPlus1)), "X2");
        found(Bound::six(1, Some(0), Some(FinalityAtTwoFLess)), "X");
        found(Bound::six(1, Some(0), Some(VoteAfterNullify)), "X2");
        found(Bound::six(1, Some(0), Some(TimeoutAfterVote)), "X2");
        found(Bound::six(1, Some(0), Some(RepeatedSigner)), "X2");
        found(Bound::six(1, Some(0), Some(ForgetsAtRestart)), "X");
        found(Bound::six(1, Some(0), Some(CurrentViewFlags)), "X");
        found(Bound::six(2, Some(1), Some(NoGapCheck)), "agreement");
        found(Bound::six(2, Some(1), Some(CrossViewReplay)), "X2");
        let stalls = Bound { validators: 7, hostile_votes: false, ..Bound::six(1, Some(0), Some(QuorumAtThreeFLess)) };
        found(stalls, "stall");
    }

    #[test]
    fn whole_validators_do_what_the_model_allows_and_planted_ones_do_not() {
        let mut kit = Kit::new();
        let mut words = 0;
        let run = |name: &str, mutant: Option<Mutant>, seed: u64, kit: &mut Kit| {
            let plan = Plan { mutant, ..(crate::mutants::find(name).unwrap().plan)(seed) };
            let events = World::new(&plan, kit).recording().run_recorded().1;
            follow(&plan, &events)
        };
        for name in ["trap_equivocator", "trap_signer", "trap_late"] {
            for seed in 0..3 {
                words += run(name, None, seed, &mut kit).unwrap_or_else(|error| panic!("{name} {seed}: {error}"));
            }
        }
        let mut plan = Plan::calm("followed", 1, vec![1; 6]);
        plan.hostile = vec![(2, Kind::Silent)];
        words += follow(&plan, &World::new(&plan, &mut kit).recording().run_recorded().1).expect("the model allows it");
        assert!(words > 2_000, "only {words} words were followed");
        assert!((0..6).any(|seed| run("trap_late", Some(Mutant::TimeoutAfterVote), seed, &mut kit).is_err()));
    }
}
