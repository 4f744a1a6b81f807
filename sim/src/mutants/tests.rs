use super::*;
use std::path::Path;

#[test]
fn every_mutant_is_killed_within_its_seeds() {
    let mut kit = Kit::new();
    let mut alive = Vec::new();
    for killer in KILLERS {
        let death = hunt(killer.mutant, find(killer.trap).unwrap().plan, Some(killer.by), killer.seeds_max, &mut kit);
        println!("{} {} {:?} {:?} {}", killer.mutant.as_str(), killer.trap, death.seeds, death.checkers, death.detail);
        if death.seeds.is_none() {
            alive.push(killer.mutant);
        }
    }
    assert!(alive.is_empty(), "{alive:?}");
}

#[test]
fn every_trap_keeps_every_promise_without_a_mutant() {
    let broken = runner::each(TRAPS.len(), 2, |at, kit| control(&TRAPS[at], 1, kit));
    assert!(broken.iter().all(Vec::is_empty), "{broken:?}");
}

#[test]
fn every_mutant_has_one_killer() {
    assert!(Mutant::ALL.iter().all(|mutant| KILLERS.iter().filter(|killer| killer.mutant == *mutant).count() == 1));
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
