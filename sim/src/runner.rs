//! Many seeds on some threads: each seed on one, its result independent of how many there are.

use crate::checkers::{Promise, Violation};
use crate::kit::Kit;
use crate::swarm::Plan;
use crate::world::{Outcome, World};
use samara_types::{Digest, Nanos};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs one plan. A panic of the code under test is a broken promise of its own.
pub fn run(plan: &Plan, kit: &mut Kit) -> Outcome {
    match catch_unwind(AssertUnwindSafe(|| World::new(plan, kit).run())) {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
            let detail = format!("panic: {}", text.unwrap_or_default());
            let digest = Digest(*blake3::hash(detail.as_bytes()).as_bytes());
            let violations = vec![Violation { promise: Promise::NoAlarm, at: Nanos(0), detail }];
            Outcome { seed: plan.seed, violations, digest, views: 0, blocks: 0, acknowledged: 0, events: 0, lasted: Nanos(0) }
        }
    }
}

/// Runs `count` plans on `threads` threads; outcomes in order. `done` hears of each as it ends.
pub fn sweep(count: usize, threads: usize, plan: impl Fn(usize) -> Plan + Sync, done: impl Fn(&Outcome) + Sync) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(vec![None; count]);
    let work = || {
        let mut kit = Kit::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return;
            }
            let outcome = run(&plan(at), &mut kit);
            done(&outcome);
            outcomes.lock().expect("no thread panics while it holds this")[at] = Some(outcome);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, count.max(1)) {
            scope.spawn(work);
        }
    });
    let outcomes = outcomes.into_inner().expect("no thread panics while it holds this");
    outcomes.into_iter().map(|outcome| outcome.expect("every seed was run")).collect()
}
