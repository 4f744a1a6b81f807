use super::*;
use std::path::Path;

#[test]
fn every_mutant_is_killed_within_its_seeds() {
    let mut kit = Kit::new();
    let mut alive = Vec::new();
    for killer in KILLERS {
        let death = hunt(killer.mutant, find(killer.trap).unwrap().plan, killer.seeds_max, &mut kit);
        println!("{} {} {:?} {:?} {}", killer.mutant.as_str(), killer.trap, death.seeds, death.checkers, death.detail);
        if death.seeds.is_none() {
            alive.push(killer.mutant);
        }
    }
    assert!(alive.is_empty(), "{alive:?}");
}

/// The traps that kill most. A run of the others without a mutant takes minutes; they are run by hand.
#[test]
fn the_busiest_traps_keep_every_promise_without_a_mutant() {
    let mut kit = Kit::new();
    for trap in ["trap_equivocator", "trap_signer", "trap_late"].map(|name| find(name).unwrap()) {
        let outcome = runner::run(&(trap.plan)(0), &mut kit);
        assert!(outcome.violations.is_empty(), "{}", crate::report::failure(&(trap.plan)(0), &outcome));
    }
}

#[test]
fn every_mutant_has_a_killer_or_is_open() {
    assert!(Mutant::ALL.iter().all(|mutant| KILLERS.iter().any(|killer| killer.mutant == *mutant) != OPEN.contains(mutant)));
    assert!(KILLERS.iter().all(|killer| find(killer.trap).is_some()));
}

/// Planting is one call; only this crate makes it.
#[test]
fn no_source_but_the_simulators_plants_a_bug() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut read = 0;
    let mut folders: Vec<_> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.join("Cargo.toml").exists() && !path.ends_with("sim"));
    assert!(folders.iter().any(|path| path.ends_with("node")), "the workspace is here");
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                assert!(!text.contains(".planted("), "{}", path.display());
                read += 1;
            }
        }
    }
    assert!(read > 100, "only {read} files");
}
