//! An old copy of a validator's data, put back beside a chain that went on, in each way an operator would: its validator says that the log may be
//! an old one, signs nothing in a view it may have signed in, catches up, and then signs again. Nobody holds anything against it. The same for a log
//! that was lost, and for a block store that is lost after either.

mod processes;

use processes::Validators;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const VALIDATORS: usize = 6;
/// The one that is restored.
const SUBJECT: usize = 2;
/// Blocks between the backup and the failure.
const BLOCKS: u64 = 25;

/// View, kind and digest of every record.
type Signed = BTreeMap<(u64, String), Value>;

fn signed(validators: &Validators) -> Signed {
    let votes = validators.inspect(SUBJECT, "votes", &[]);
    let rows = votes["votes"].as_array().unwrap();
    rows.iter().map(|row| ((row["view"].as_u64().unwrap(), row["kind"].as_str().unwrap().to_string()), row["digest"].clone())).collect()
}

fn newest(signed: &Signed) -> u64 {
    signed.keys().map(|(view, _)| *view).max().unwrap_or(0)
}

fn shell(script: &str, directory: &Path) {
    let output = Command::new("sh").args(["-ec", script]).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a chain, keeps a copy of the subject's directory, lets the chain go on, ends the subject, restores by `script`, and looks.
fn restored(script: &str, says: &str) {
    let mut validators = Validators::new(VALIDATORS);
    let directory = validators.directory(SUBJECT);
    validators.start_all();
    validators.wait_until(SUBJECT, "at the backup's height", |height| height >= 10);
    validators.kill(&[SUBJECT]);
    shell("cp -a . ../backup", &directory);
    let (backup, height) = (signed(&validators), validators.height(0));
    validators.start_all();
    validators.wait_until(SUBJECT, "well beyond the backup", |now| now >= height + BLOCKS);
    validators.kill(&[SUBJECT]);
    let (before, log_before) = (signed(&validators), log(&directory));
    assert!(newest(&before) >= newest(&backup) + BLOCKS, "it signed after the backup");

    shell(script, &directory);
    assert_eq!(newest(&signed(&validators)), newest(&backup), "the old log is there");
    validators.start_all();
    let height = validators.height(0);
    validators.wait_until(SUBJECT, "level with the others", |now| now >= height);
    validators.until(SUBJECT, "signing again", |validators| newest(&signed(validators)) > newest(&before));
    let text = log(&directory);
    assert!(text[log_before.len()..].contains(says), "{says:?} is not in {}", &text[log_before.len()..]);

    // The log has a gap now, from the backup on; a store that ends in it does not say what was signed there.
    let before = lose_blocks(&mut validators, "rm -rf data/blocks; cp -a ../backup/data/blocks data/", before);
    validators.stop();
    nothing_signed_twice(&validators, &before);
}

/// Ends the subject, takes its blocks from it by `script`, and waits until it signs again, which it may not do before it has listened. Returns
/// all that was ever signed before.
fn lose_blocks(validators: &mut Validators, script: &str, mut before: Signed) -> Signed {
    let directory = validators.directory(SUBJECT);
    validators.kill(&[SUBJECT]);
    let known = signed(validators);
    assert_eq!(known.iter().find(|(key, digest)| before.get(key).is_some_and(|other| other != *digest)), None, "signed twice");
    before.extend(known);
    let log_before = log(&directory);
    shell(script, &directory);
    validators.start_all();
    validators.until(SUBJECT, "signing again", |validators| newest(&signed(validators)) > newest(&before));
    let text = log(&directory);
    let says = "the block store ends below the vote log, it was lost or is an old copy: listening";
    assert!(text[log_before.len()..].contains(says), "{says:?} is not in {}", &text[log_before.len()..]);
    before
}

/// The subject's records are those from before, or of later views.
fn nothing_signed_twice(validators: &Validators, before: &Signed) {
    for ((view, kind), digest) in signed(validators) {
        let known = before.get(&(view, kind.clone()));
        assert!(view > newest(before) || known == Some(&digest), "signed {kind} {digest} in view {view} after signing {known:?} there");
    }
    for index in 0..VALIDATORS {
        let evidence = validators.inspect(index, "evidence", &[]);
        assert_eq!(evidence["evidence"], Value::Array(vec![]), "validator {index} holds something against an honest one");
    }
}

#[test]
fn a_log_begun_after_a_loss_does_not_say_what_was_signed_before_it() {
    let mut validators = Validators::new(VALIDATORS);
    let directory = validators.directory(SUBJECT);
    validators.start_all();
    validators.wait_until(SUBJECT, "on its way", |height| height >= 10);
    validators.kill(&[SUBJECT]);
    let before = signed(&validators);
    shell("rm -rf data/votes data/bodies", &directory);
    validators.start_all();
    validators.until(SUBJECT, "signing again", |validators| newest(&signed(validators)) > newest(&before));
    assert!(log(&directory).contains("no vote log: listening"), "{}", log(&directory));

    let before = lose_blocks(&mut validators, "rm -rf data/blocks", before);
    validators.stop();
    nothing_signed_twice(&validators, &before);
}

fn log(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("log")).unwrap()
}

#[test]
fn a_restored_backup_of_the_whole_directory_is_known_as_a_copy() {
    restored(
        "rm -rf data metrics.json; cp -a ../backup/data .; cp -a ../backup/metrics.json . || true",
        "this vote log was copied and may be an old one: listening",
    );
}

#[test]
fn an_old_log_without_its_witness_is_known_as_older_than_what_was_published() {
    restored("rm -rf data; cp -a ../backup/data .; rm data/votes/place", "this vote log is older than what was signed: listening");
}
