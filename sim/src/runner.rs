//! Many seeds on some threads: each seed on one, its result independent of how many there are.

use crate::checkers::{Promise, Violation};
use crate::kit::Kit;
use crate::swarm::Plan;
use crate::trace::Event;
use crate::world::{Outcome, World};
use samara_types::{Digest, Nanos};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs one plan. A panic of the code under test is a broken promise of its own.
pub fn run(plan: &Plan, kit: &mut Kit) -> Outcome {
    catch(plan, || (World::new(plan, kit).run(), Vec::new())).0
}

/// The same, with everything the checkers saw.
pub fn run_recorded(plan: &Plan, kit: &mut Kit) -> (Outcome, Vec<Event>) {
    catch(plan, || World::new(plan, kit).recording().run_recorded())
}

fn catch(plan: &Plan, run: impl FnOnce() -> (Outcome, Vec<Event>)) -> (Outcome, Vec<Event>) {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(ran) => ran,
        Err(panic) => {
            let detail = format!("panic: {}", panic_text(&*panic));
            let digest = Digest(*blake3::hash(detail.as_bytes()).as_bytes());
            let violations = vec![Violation { promise: Promise::NoAlarm, at: Nanos(0), detail }];
            let nothing = Outcome {
                seed: plan.seed,
                violations,
                digest,
                views: 0,
                blocks: 0,
                acknowledged: 0,
                excused: 0,
                events: 0,
                lasted: Nanos(0),
                pairing_checks: 0,
            };
            (nothing, Vec::new())
        }
    }
}

/// What a panic said.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
    text.unwrap_or_default()
}

/// Runs `count` plans on `threads` threads; outcomes in order. `done` hears of each as it ends.
pub fn sweep(count: usize, threads: usize, plan: impl Fn(usize) -> Plan + Sync, done: impl Fn(&Outcome) + Sync) -> Vec<Outcome> {
    each(count, threads, |at, kit| {
        let outcome = run(&plan(at), kit);
        done(&outcome);
        outcome
    })
}

/// Does `work` for each number on so many threads, with a kit for each thread; results in order.
pub fn each<T: Send>(count: usize, threads: usize, work: impl Fn(usize, &mut Kit) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new((0..count).map(|_| None).collect::<Vec<_>>());
    let turn = || {
        let mut kit = Kit::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return;
            }
            let result = work(at, &mut kit);
            results.lock().expect("no thread panics while it holds this")[at] = Some(result);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, count.max(1)) {
            scope.spawn(turn);
        }
    });
    let results = results.into_inner().expect("no thread panics while it holds this");
    results.into_iter().map(|result| result.expect("each number was worked on")).collect()
}
