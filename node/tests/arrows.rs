//! The dependency-direction check finds what it is for.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn check(metadata: Option<&str>) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(checkout().join("scripts/check-arrows.sh"));
    if let Some(text) = metadata {
        let path = directory.path().join("metadata.json");
        std::fs::write(&path, text).unwrap();
        command.arg(path);
    }
    command.output().unwrap()
}

/// Metadata of one crate with these normal dependencies and this library source.
fn one_crate(name: &str, dependencies: &[&str], source: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("src")).unwrap();
    std::fs::write(directory.path().join("src/lib.rs"), source).unwrap();
    let dependencies: Vec<_> = dependencies.iter().map(|name| serde_json::json!({ "name": name, "kind": null })).collect();
    let manifest = directory.path().join("Cargo.toml");
    let package = serde_json::json!({ "name": name, "manifest_path": manifest, "dependencies": dependencies });
    check(Some(&serde_json::json!({ "packages": [package] }).to_string()))
}

#[test]
fn the_workspace_keeps_its_arrows() {
    let output = check(None);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn forbidden_arrows_and_impure_sources_are_named() {
    let cases = [
        ("samara-types", &["samara-crypto"][..], "", "samara-types -> samara-crypto: this arrow"),
        ("samara-storage", &["samara-consensus"], "", "samara-storage -> samara-consensus: this arrow"),
        ("samara-consensus", &["tokio"], "", "samara-consensus -> tokio: a pure crate"),
        ("samara-rotor", &[], "fn now() { std::time::Instant::now(); }\n", "src/lib.rs:1: fn now()"),
        ("samara-validator", &[], "use std::net::UdpSocket;\n", "src/lib.rs:1: use std::net::UdpSocket;"),
        ("samara-surprise", &[], "", "samara-surprise: not in scripts/check_arrows.py"),
    ];
    for (name, dependencies, source, expected) in cases {
        let output = one_crate(name, dependencies, source);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && stderr.contains(expected), "{name}: {stderr}");
    }
    let fine =
        one_crate("samara-rotor", &["samara-types"], "// std::net in a comment\n#[cfg(test)]\nmod tests { use std::net::IpAddr; }\n");
    assert!(fine.status.success(), "{}", String::from_utf8_lossy(&fine.stderr));
}
