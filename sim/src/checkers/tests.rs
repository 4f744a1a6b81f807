//! Each checker is shown a recorded run in which one thing was changed, and must see exactly that promise broken.

use super::{Checkers, Promise};
use crate::hostile::Kind;
use crate::kit::{Cluster, Kit};
use crate::swarm::{Load, Plan};
use crate::trace::{Event, Held, Target, What};
use crate::world::World;
use samara_types::message::{ManifestRequest, Nullify, Vote, encode};
use samara_types::{Block, Digest, Evidence, Height, MessageKind, Nanos, Offence, Subject, ValidatorIndex, View};
use std::collections::BTreeSet;
use std::sync::Arc;

struct Recorded {
    plan: Plan,
    cluster: Arc<Cluster>,
    events: Vec<Event>,
}

impl Recorded {
    fn calm() -> Recorded {
        Recorded::of(Plan::calm("recorded", 11, vec![1; 6]))
    }

    fn of(mut plan: Plan) -> Recorded {
        let mut kit = Kit::new();
        plan.faults_for = Nanos::from_millis(500);
        let (outcome, events) = World::new(&plan, &mut kit).recording().run_recorded();
        assert!(outcome.violations.is_empty() && outcome.acknowledged > 10, "{outcome:?}");
        let cluster = kit.cluster(&plan.stakes);
        Recorded { plan, cluster, events }
    }

    fn broken(&self) -> BTreeSet<Promise> {
        let mut checkers = Checkers::new(&self.plan, &self.cluster);
        self.events.iter().for_each(|event| checkers.observe(event));
        checkers.finish().into_iter().map(|violation| violation.promise).collect()
    }

    /// Puts an event of `node` behind the event at `at`.
    fn plant(&mut self, at: usize, node: usize, what: What) {
        let event = Event { at: self.events[at].at, node, what };
        self.events.insert(at + 1, event);
    }

    fn position(&self, of: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().position(of).expect("the run has such an event")
    }

    fn last(&self, of: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().rposition(of).expect("the run has such an event")
    }

    fn vote(&self, node: usize, view: View, digest: Digest) -> What {
        let signature = self.cluster.keys[node].vote.sign(self.cluster.roster.domain(), &Subject::Vote(view, digest));
        let bytes = encode(&Vote { view: view.0, digest: digest.0, signature });
        What::Sent(Target::All, MessageKind::Vote, bytes.as_slice().into())
    }

    fn nullify(&self, node: usize, view: View) -> What {
        let signature = self.cluster.keys[node].vote.sign(self.cluster.roster.domain(), &Subject::Nullify(view));
        What::Sent(Target::All, MessageKind::Nullify, encode(&Nullify { view: view.0, signature }).as_slice().into())
    }
}

fn is_sent(event: &Event, node: usize, kind: MessageKind) -> bool {
    event.node == node && matches!(event.what, What::Sent(_, sent, _) if sent == kind)
}

fn view_of_vote(event: &Event) -> View {
    match super::Said::of(&event.what) {
        Some(super::Said::Vote(view, ..)) => view,
        _ => panic!("a vote"),
    }
}

fn only(promise: Promise) -> BTreeSet<Promise> {
    BTreeSet::from([promise])
}

#[test]
fn a_recorded_run_as_it_was_breaks_nothing() {
    assert_eq!(Recorded::calm().broken(), BTreeSet::new());
}

#[test]
fn another_block_at_a_height_breaks_agreement() {
    let mut run = Recorded::calm();
    let at = run.last(|event| matches!(event.what, What::Finalized(_)));
    let What::Finalized(finalized) = &mut run.events[at].what else { unreachable!() };
    finalized.digest = Digest([9; 32]);
    assert!(run.broken().contains(&Promise::Agreement));
}

#[test]
fn a_stored_block_that_is_gone_at_the_end_breaks_agreement() {
    let mut run = Recorded::calm();
    let at = run.position(|event| matches!(event.what, What::Chain(_)));
    let What::Chain(chain) = &mut run.events[at].what else { unreachable!() };
    chain.truncate(2);
    assert!(run.broken().contains(&Promise::Agreement));
}

#[test]
fn a_second_vote_breaks_one_vote() {
    let mut run = Recorded::calm();
    let at = run.position(|event| is_sent(event, 2, MessageKind::Vote));
    let what = run.vote(2, view_of_vote(&run.events[at]), Digest([9; 32]));
    run.plant(at, 2, what);
    assert!(run.broken().contains(&Promise::OneVote));
}

#[test]
fn a_vote_after_a_nullify_breaks_one_vote() {
    let mut run = Recorded::calm();
    let at = run.position(|event| is_sent(event, 2, MessageKind::Vote));
    let what = run.nullify(2, view_of_vote(&run.events[at]));
    run.plant(at - 1, 2, what);
    assert!(run.broken().contains(&Promise::OneVote));
}

#[test]
fn nullifying_after_a_vote_without_cause_and_enough_nullifies_of_a_final_view_break_quorums() {
    let mut run = Recorded::calm();
    let at = run.last(|event| is_sent(event, 2, MessageKind::Vote));
    let view = view_of_vote(&run.events[run.position(|event| is_sent(event, 2, MessageKind::Vote))]);
    let what = run.nullify(2, view);
    run.plant(at, 2, what);
    assert!(run.broken().contains(&Promise::Quorums), "I6");
    for node in [0, 1] {
        let what = run.nullify(node, view);
        run.plant(at, node, what);
    }
    let mut checkers = Checkers::new(&run.plan, &run.cluster);
    run.events.iter().for_each(|event| checkers.observe(event));
    assert!(checkers.finish().iter().any(|violation| violation.detail.starts_with("X2")));
}

#[test]
fn two_quorums_in_a_view_break_quorums() {
    let mut run = Recorded::calm();
    let at = run.last(|event| is_sent(event, 2, MessageKind::Vote));
    let view = view_of_vote(&run.events[run.position(|event| is_sent(event, 2, MessageKind::Vote))]);
    for node in [0, 1, 2] {
        let what = run.vote(node, view, Digest([9; 32]));
        run.plant(at, node, what);
    }
    let mut checkers = Checkers::new(&run.plan, &run.cluster);
    run.events.iter().for_each(|event| checkers.observe(event));
    assert!(checkers.finish().iter().any(|violation| violation.detail.starts_with("X1")));
}

#[test]
fn a_view_entered_without_proof_or_twice_breaks_quorums() {
    for shift in [7u64, 0] {
        let mut run = Recorded::calm();
        let at = run.last(|event| event.node == 3 && matches!(event.what, What::Entered(_)));
        let What::Entered(view) = run.events[at].what else { unreachable!() };
        run.plant(at, 3, What::Entered(View(view.0 + shift)));
        assert!(run.broken().contains(&Promise::Quorums), "shift {shift}");
    }
}

#[test]
fn a_certificate_with_a_member_that_never_voted_breaks_certificates() {
    let mut run = Recorded::calm();
    run.events.retain(|event| !is_sent(event, 4, MessageKind::Vote));
    assert!(run.broken().contains(&Promise::Certificates));
}

#[test]
fn a_certificate_with_too_few_members_breaks_certificates() {
    let mut run = Recorded::calm();
    let at = run.position(|event| is_sent(event, 4, MessageKind::Certificate));
    let What::Sent(_, _, bytes) = &run.events[at].what else { unreachable!() };
    let archived = samara_types::message::access::<samara_types::message::ArchivedCertificate>(bytes).unwrap();
    let fewer = samara_types::message::Certificate {
        view: archived.view.to_native(),
        digest: archived.digest,
        kind: archived.kind,
        signature: archived.signature,
        signers: vec![0b11],
    };
    run.plant(at, 4, What::Sent(Target::All, MessageKind::Certificate, encode(&fewer).as_slice().into()));
    assert_eq!(run.broken(), only(Promise::Certificates));
}

#[test]
fn a_vote_a_block_or_a_record_before_its_time_on_disk_breaks_durability() {
    let mut run = Recorded::calm();
    run.events.retain(|event| !(event.node == 2 && matches!(event.what, What::Durable(_))));
    assert_eq!(run.broken(), only(Promise::Durability));
    let mut run = Recorded::calm();
    let proposal = |event: &Event| matches!(event.what, What::Durable(samara_types::Record::Proposal(..)));
    run.events.retain(|event| !proposal(event));
    assert_eq!(run.broken(), only(Promise::Durability));
    let mut run = Recorded::calm();
    run.events.retain(|event| !matches!(event.what, What::BodyDurable(..)));
    assert_eq!(run.broken(), only(Promise::Durability));
}

/// With a wrong parity chunk the data is whole and its digests match: nobody who decodes from data alone would notice.
#[test]
fn a_body_that_is_not_the_code_word_of_its_root_breaks_agreement() {
    let mut run = Recorded::calm();
    let at = run.last(|event| matches!(&event.what, What::BodyDurable(block) if !block.payload().is_empty()));
    let What::BodyDurable(block) = &run.events[at].what else { unreachable!() };
    let mut roots = block.roots().to_vec();
    roots[0].0[0] ^= 1;
    let other = Block::new(*block.header(), roots, block.payload().to_vec()).unwrap();
    let node = run.events[at].node;
    run.plant(at, node, What::BodyDurable(Arc::new(other)));
    assert_eq!(run.broken(), only(Promise::Agreement));
}

#[test]
fn an_accusation_of_a_correct_validator_breaks_evidence() {
    let mut run = Recorded::calm();
    let evidence = Evidence { accused: ValidatorIndex(5), offence: Offence::BadProof, view: View(3), proof: Vec::new() };
    run.plant(9, 2, What::Accused(evidence));
    assert_eq!(run.broken(), only(Promise::Evidence));
}

/// Blocks of several shreds, so that both of an equivocator's reach everybody through relays.
#[test]
fn an_equivocator_that_no_witness_accuses_breaks_evidence() {
    for (kind, offence) in [(Kind::Equivocator, Offence::LeaderEquivocation), (Kind::Conflicter, Offence::VoteEquivocation)] {
        let mut plan = Plan::calm("recorded", 11, vec![1; 6]);
        plan.hostile = vec![(2, kind)];
        plan.load = Load { per_second: 600, data_bytes_max: 1_000 };
        let mut run = Recorded::of(plan);
        assert_eq!(run.broken(), BTreeSet::new());
        run.events.retain(|event| !matches!(&event.what, What::Accused(evidence) if evidence.offence == offence));
        assert_eq!(run.broken(), only(Promise::Evidence), "{kind:?}");
    }
}

#[test]
fn more_than_the_bound_breaks_memory() {
    let base = Held::default();
    for held in [
        Held { reassembly_bytes: 1 << 32, ..base },
        Held { reassembly_views: 120, ..base },
        Held { mempool_transactions: 2_001, ..base },
        Held { mempool_bytes: (1 << 20) + 1, ..base },
        Held { open_views: 90, ..base },
    ] {
        let mut run = Recorded::calm();
        run.plant(9, 2, What::Held(held));
        assert_eq!(run.broken(), only(Promise::Memory), "{held:?}");
    }
}

#[test]
fn a_datagram_without_an_end_breaks_conservation() {
    let mut run = Recorded::calm();
    let at = run.position(|event| matches!(event.what, What::Traffic(_)));
    let What::Traffic(traffic) = &mut run.events[at].what else { unreachable!() };
    traffic.delivered -= 1;
    assert_eq!(run.broken(), only(Promise::Conservation));
}

#[test]
fn a_transaction_twice_or_never_offered_or_lost_breaks_transactions() {
    let carries = |event: &Event| matches!(&event.what, What::Finalized(finalized) if !finalized.transactions.is_empty());
    let mut run = Recorded::calm();
    let at = run.position(carries);
    let What::Finalized(finalized) = &mut run.events[at].what else { unreachable!() };
    let again = finalized.transactions[0];
    finalized.transactions.push(again);
    assert!(run.broken().contains(&Promise::Transactions));

    let mut run = Recorded::calm();
    run.events.retain(|event| !matches!(event.what, What::Offered(_)));
    assert!(run.broken().contains(&Promise::Transactions));

    let mut run = Recorded::calm();
    for event in &mut run.events {
        if let What::Chain(chain) = &mut event.what {
            chain.truncate(1);
        }
        if let What::Stored(height) = &mut event.what {
            *height = Height(1);
        }
    }
    assert_eq!(run.broken(), only(Promise::Transactions));
}

/// What is said of the bounds when one validator does no more of `silenced` once the cluster has settled.
fn bounds_broken_without(silenced: fn(&What) -> bool) -> BTreeSet<String> {
    let mut run = Recorded::calm();
    let settled = run.position(|event| matches!(event.what, What::Settled));
    let mut at = 0;
    run.events.retain(|event| {
        at += 1;
        at <= settled || event.node != 3 || !silenced(&event.what)
    });
    let mut checkers = Checkers::new(&run.plan, &run.cluster);
    run.events.iter().for_each(|event| checkers.observe(event));
    let timing = checkers.finish().into_iter().filter(|violation| violation.promise == Promise::Timing);
    timing.map(|violation| violation.detail[..3].to_string()).collect()
}

#[test]
fn a_validator_that_stands_still_breaks_the_timing_bounds() {
    assert!(bounds_broken_without(|what| matches!(what, What::Entered(_))).contains("I19"));
    assert_eq!(bounds_broken_without(|what| matches!(what, What::Finalized(_))), BTreeSet::from(["I16".to_string()]));
}

/// n = 6: three are a notarization. One of them is not late because others fetch, and only a body that may be missing is an excuse.
#[test]
fn bodies_that_are_fetched_excuse_the_rest_where_the_rest_is_no_notarization() {
    for (fetchers, lacks_it, excused) in [(&[0, 1][..], true, false), (&[0, 1, 4], true, true), (&[0, 1, 4], false, false)] {
        let mut plan = Plan::calm("recorded", 11, vec![1; 6]);
        plan.hostile = vec![(2, Kind::Silent)];
        let mut run = Recorded::of(plan);
        let schedule = run.cluster.schedule.clone();
        let leads = |view: View| schedule.leader(view).at() == 2;
        let settled = run.position(|event| matches!(event.what, What::Settled));
        let after = |event: &Event| matches!(event.what, What::Entered(view) if leads(view.previous()));
        let begins = settled + run.events[settled..].iter().position(after).expect("everybody leads");
        let What::Entered(next) = run.events[begins].what else { unreachable!() };
        // The view before, or one that was final long ago.
        let view = if lacks_it { next.previous().0 } else { (1..).find(|view| leads(View(*view))).expect("everybody leads") };
        let request = What::Sent(
            Target::One(ValidatorIndex(5)),
            MessageKind::ManifestRequest,
            encode(&ManifestRequest { view, digest: [1; 32] }).as_slice().into(),
        );
        let stuck = |node: usize| node == 3 || fetchers.contains(&node);
        run.events = std::mem::take(&mut run.events)
            .into_iter()
            .enumerate()
            .filter(|(at, event)| *at <= begins || !stuck(event.node) || !matches!(event.what, What::Finalized(_)))
            .flat_map(|(at, event)| {
                let asks = at > begins && matches!(event.what, What::Entered(_));
                let asked = fetchers.iter().filter(|_| asks).map(|node| Event { at: event.at, node: *node, what: request.clone() });
                asked.chain([event.clone()]).collect::<Vec<_>>()
            })
            .collect();
        let mut checkers = Checkers::new(&run.plan, &run.cluster);
        run.events.iter().for_each(|event| checkers.observe(event));
        let late =
            checkers.finish().into_iter().any(|violation| violation.promise == Promise::Timing && violation.detail.starts_with("I16"));
        assert_eq!(late, !excused, "{fetchers:?} {lacks_it}");
        assert!(!excused || checkers.excused() > 0);
    }
}

#[test]
fn a_transaction_nobody_hears_of_breaks_the_timing_bounds() {
    let mut run = Recorded::calm();
    run.plan.watch_for = Nanos::from_millis(20_000);
    let settled = run.position(|event| matches!(event.what, What::Settled));
    run.plant(settled, 2, What::Taken(samara_types::TransactionId([1; 32])));
    // The run's end comes much later than it did.
    for event in &mut run.events {
        if matches!(event.what, What::Chain(_) | What::Traffic(_)) {
            event.at = event.at.after(Nanos::from_millis(20_000));
        }
    }
    assert!(run.broken().contains(&Promise::Timing));
}

/// What is said of I18.
fn late_transactions(plan: &Plan, cluster: &Arc<Cluster>, events: &[Event]) -> Vec<String> {
    let mut checkers = Checkers::new(plan, cluster);
    events.iter().for_each(|event| checkers.observe(event));
    let said = checkers.finish().into_iter().map(|violation| violation.detail);
    said.filter(|detail| detail.starts_with("I18")).collect()
}

#[test]
fn a_transaction_that_is_final_too_late_breaks_the_timing_bounds() {
    let mut plan = Plan::calm("recorded", 11, vec![1; 6]);
    plan.watches_transactions = true;
    let mut run = Recorded::of(plan);
    let settled = run.position(|event| matches!(event.what, What::Settled));
    let acknowledged = settled + run.events[settled..].iter().position(|event| matches!(event.what, What::Acknowledged(..))).unwrap();
    assert_eq!(late_transactions(&run.plan, &run.cluster, &run.events), Vec::<String>::new());
    let event = run.events.remove(acknowledged);
    let end = run.position(|event| matches!(event.what, What::Chain(_)));
    // At the end of the run, just before what ends it.
    let at = run.events[end].at;
    run.events.insert(end - 1, Event { at, ..event });
    let late = late_transactions(&run.plan, &run.cluster, &run.events);
    assert!(matches!(&late[..], [one] if one.contains("was acknowledged after")), "{late:?}");
}

/// A bound that runs out after the run is a bound nobody can miss.
#[test]
fn drawn_runs_are_watched_until_a_transaction_would_be_late() {
    let mut kit = Kit::new();
    for seed in 0..16 {
        let plan = crate::swarm::draw(seed);
        let (outcome, mut events) = World::new(&plan, &mut kit).recording().run_recorded();
        let cluster = kit.cluster(&plan.stakes);
        let settled = events.iter().position(|event| matches!(event.what, What::Settled)).expect("liveness");
        let at = events[settled].at;
        let taken = |node: &usize| !plan.is_hostile(*node);
        let node = (0..plan.validators()).find(taken).expect("f are hostile at most");
        events.insert(settled + 1, Event { at, node, what: What::Taken(samara_types::TransactionId([1; 32])) });
        assert_eq!(late_transactions(&plan, &cluster, &events).len(), 1, "seed {seed}: {outcome:?}");
    }
}

#[test]
fn an_alarm_is_a_broken_promise() {
    let mut run = Recorded::calm();
    run.plant(9, 2, What::Alarm("two chains".into()));
    assert_eq!(run.broken(), only(Promise::NoAlarm));
}
