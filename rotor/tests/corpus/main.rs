//! Replays what the fuzzers kept (`fuzz/corpus`) through the functions they call; each states what must hold for every input.

mod cluster;
mod proof;
#[path = "../../../fuzz/shared/reader.rs"]
#[allow(dead_code)] // shared by targets that need other parts of it
mod reader;
mod reassembly;
mod shred;

fn replay(target: &str, run: fn(&[u8])) {
    for (name, input) in reader::corpus(target) {
        println!("{name}");
        run(&input);
    }
}

#[test]
fn shreds_that_were_fuzzed_are_taken_only_as_their_leader_made_them() {
    replay("shred", shred::run);
}

#[test]
fn proofs_that_were_fuzzed_lead_to_the_root_only_untouched() {
    replay("proof", proof::run);
}

#[test]
fn histories_that_were_fuzzed_keep_every_bound_and_accuse_nobody_wrongly() {
    replay("reassembly", reassembly::run);
}
