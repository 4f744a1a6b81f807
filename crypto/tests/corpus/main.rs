//! Replays what the fuzzer kept (`fuzz/corpus/certificate`) through the function it calls.

mod certificate;
#[path = "../../../fuzz/shared/reader.rs"]
#[allow(dead_code)] // shared by targets that need other parts of it
mod reader;

#[test]
fn certificates_that_were_fuzzed_are_taken_only_with_a_quorum_of_true_signatures() {
    for (name, input) in reader::corpus("certificate") {
        println!("{name}");
        certificate::run(&input);
    }
}
