//! `samara bench` at its smallest: every row is there, ours and the rival computed the same bytes (the bench itself refuses to measure
//! otherwise), and so did every engine. Speed is not looked at.

use serde_json::Value;
use std::process::{Command, Output};

fn samara(arguments: &str, engine: &str) -> Output {
    samara_with(arguments, &[("SAMARA_ERASURE_ENGINE", engine)])
}

fn samara_with(arguments: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_samara"));
    command.args(arguments.split_whitespace()).envs(variables.iter().copied()).output().unwrap()
}

/// Names of the rows, the engine, and what stderr says about the results.
fn smoke(bench: &str, engine: &str) -> (Vec<String>, String, String) {
    let (names, document, results) = smoke_with(bench, &[("SAMARA_ERASURE_ENGINE", engine)]);
    (names, document["host"]["engine"].as_str().unwrap().to_string(), results)
}

fn smoke_with(bench: &str, variables: &[(&str, &str)]) -> (Vec<String>, Value, String) {
    let output = samara_with(&format!("bench {bench} --json --smoke"), variables);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{variables:?}: {stderr}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = document["rows"].as_array().unwrap();
    for row in rows {
        let positive = |key: &str| row[key].as_f64().is_some_and(|value| value > 0.0);
        assert!(["ours_ns", "rival_ns", "ratio", "bytes"].into_iter().all(positive), "{row}");
        assert!(row["rival"].is_string() && row["cpu"].is_string(), "{row}");
    }
    let names = rows.iter().map(|row| row["name"].as_str().unwrap().to_string()).collect();
    (names, document, stderr)
}

#[test]
fn the_erasure_rows_are_there_and_every_engine_computes_the_same() {
    let (names, _, results) = smoke("erasure", "auto");
    for expected in [
        "encode_32_32",
        "encode_64_64",
        "decode_32_32_all_lost",
        "decode_32_32_one_lost",
        "decode_32_32_none_lost",
        "decode_64_64_all_lost",
        "decode_32_65_all_lost",
        "decode_128_128_all_lost",
    ] {
        assert!(names.iter().any(|name| name == expected), "{expected} is not among {names:?}");
    }
    assert!(results.starts_with("erasure: results "), "{results}");
    for engine in ["library", "portable"] {
        assert_eq!(smoke("erasure", engine), (names.clone(), engine.to_string(), results.clone()));
    }
}

#[test]
fn the_shreds_of_a_slice_are_the_same_with_every_engine() {
    let (names, _, results) = smoke("shred", "auto");
    assert!(results.starts_with("shred: results "), "{results}");
    for engine in ["library", "portable"] {
        assert_eq!(smoke("shred", engine), (names.clone(), engine.to_string(), results.clone()));
    }
}

#[test]
fn without_avx512_everything_is_the_same_but_the_instructions() {
    for bench in ["erasure", "shred"] {
        let (names, _, results) = smoke_with(bench, &[("SAMARA_AVX512", "auto")]);
        let (names_off, document, results_off) = smoke_with(bench, &[("SAMARA_AVX512", "off")]);
        assert_eq!((names, results), (names_off, results_off));
        assert_eq!(document["host"]["engine"], "library");
        let used = document["host"]["simd"].as_array().unwrap();
        assert!(used.iter().all(|feature| !feature.as_str().unwrap().starts_with("avx512")), "{used:?}");
    }
    let refused = samara_with("bench erasure --json --smoke", &[("SAMARA_AVX512", "off"), ("SAMARA_ERASURE_ENGINE", "gfni")]);
    assert_eq!(refused.status.code(), Some(3), "{}", String::from_utf8_lossy(&refused.stderr));
    let refused = samara_with("bench erasure --json --smoke", &[("SAMARA_AVX512", "no")]);
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(String::from_utf8(refused.stderr).unwrap().trim(), "samara: SAMARA_AVX512 = no: allowed is auto, off");
}

#[test]
fn an_engine_that_does_not_exist_is_refused() {
    let output = samara("bench erasure --json --smoke", "abacus");
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.trim(), "samara: SAMARA_ERASURE_ENGINE = abacus: allowed is auto, gfni, library, portable");
}

/// Blocks, proofs and repairs among six processes that code without vector instructions.
#[test]
fn a_cluster_on_the_portable_engine_agrees() {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report");
    let arguments = format!(
        "localnet --validators 6 --blocks 12 --tps 400 --tx-size 512 --transport udp --json --dir {} --report {}",
        directory.path().join("chain").display(),
        report.display()
    );
    let output = samara(&arguments, "portable");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["agreement"], true);
    assert!(document["finalized_blocks"].as_u64() >= Some(12), "{document}");
}
