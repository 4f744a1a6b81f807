//! What a real validator keeps of its inputs, run again by `samara sim --replay`: the same decisions, without its keys.

mod processes;

use processes::client::Load;
use processes::{PATIENCE, Validators};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const WATCHED: usize = 2;

/// A chain's ports are those of this process: one chain at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn replay(file: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_samara")).args(["sim", "--json", "--replay"]).arg(file).args(more).output().unwrap()
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// A key of section `node` in a validator's configuration.
fn configure(validators: &Validators, line: &str) {
    let path = validators.directory(WATCHED).join("samara.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("[node]\n", &format!("[node]\n{line}\n"))).unwrap();
}

/// The file, once it is whole: a log that is still being written is cut off.
fn asked(validators: &Validators) -> std::path::PathBuf {
    let file = validators.directory(WATCHED).join("data/inputs.asked");
    let _ = std::fs::remove_file(&file);
    validators.signal(WATCHED, libc::SIGUSR1);
    let deadline = Instant::now() + PATIENCE;
    while !(file.exists() && replay(&file, &[]).status.success()) {
        assert!(Instant::now() < deadline, "no inputs in {}", file.display());
        std::thread::park_timeout(Duration::from_millis(20));
    }
    file
}

#[test]
fn the_inputs_of_a_real_validator_lead_another_machine_to_the_same_decisions() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut validators = Validators::new(6);
    configure(&validators, "input_ring_bytes = 1073741824");
    // The second time it starts from blocks on disk, a vote log and a journal.
    for (round, answers) in [200, 300].into_iter().enumerate() {
        validators.start_all();
        let load = Load::start(validators.chain, &validators.doors, Duration::from_millis(10), Vec::new());
        load.wait_for(answers);
        let file = asked(&validators);
        let directory = validators.directory(WATCHED);
        let replayed = replay(&file, &["--dir", directory.to_str().unwrap()]);
        let seen = document(&replayed);
        assert_eq!(replayed.status.code(), Some(0), "round {round}: {seen}");
        assert!(seen["final_blocks"].as_u64().unwrap() > 0 && seen["inputs"] == seen["fed"], "round {round}: {seen}");
        let chain = validators.inspect(WATCHED, "chain", &[]);
        assert!(chain["blocks"].as_array().unwrap().len() as u64 + 50 >= seen["height"].as_u64().unwrap(), "{seen}");
        let every: Vec<usize> = (0..6).collect();
        validators.kill(&every);
        load.end();
    }
}

#[test]
fn a_ring_that_has_forgotten_its_first_inputs_can_be_read_and_not_run() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut validators = Validators::new(6);
    configure(&validators, "input_ring_bytes = 100000");
    validators.start_all();
    let load = Load::start(validators.chain, &validators.doors, Duration::from_millis(10), Vec::new());
    load.wait_for(300);
    let file = asked(&validators);
    let printed = document(&replay(&file, &[]));
    assert!(printed["forgotten"].as_u64().unwrap() > 0 && printed["inputs"].as_array().unwrap().len() > 20, "{printed}");
    let refused = replay(&file, &["--dir", validators.directory(WATCHED).to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("inputs are forgotten"));
    let every: Vec<usize> = (0..6).collect();
    validators.kill(&every);
    load.end();
}
