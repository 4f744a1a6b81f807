#!/usr/bin/env bash
# Everything a change must pass: format, lints, dependency directions, documentation, tests. Ends with the test runner's summary line.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

scripts/setup.sh
say "format"
cargo fmt --all --check
say "dependency directions"
scripts/check-arrows.sh
if command -v cargo-deny >/dev/null; then
    say "licences, duplicates, sources"
    cargo deny check bans licenses sources
    # The advisories are a database of their own, fetched from GitHub.
    if cargo deny fetch db >/dev/null 2>&1; then
        say "advisories"
        cargo deny check advisories
    else
        say "NOT CHECKED: advisories (their database cannot be fetched from here)"
    fi
else
    say "NOT CHECKED: licences, duplicates, sources, advisories (cargo-deny is not installed: cargo install --locked cargo-deny)"
fi
command -v promtool >/dev/null || say "NOT CHECKED by promtool: scraped metrics, alert rules (Debian: apt-get install -y --no-install-recommends prometheus && systemctl disable --now prometheus)"
say "lints"
cargo clippy --release --locked --workspace --all-targets -- -D warnings
say "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --workspace --no-deps --quiet
say "simulator: seeds of this commit"
scripts/sweep.sh
say "tests"
heap() { # The AF_XDP rings and frames on heap memory: an access out of range or of what was never written ends the run.
    if ! command -v valgrind >/dev/null; then
        say "NOT CHECKED: memory of the AF_XDP rings (valgrind is not installed)"
        return
    fi
    say "AF_XDP rings under valgrind"
    PROPTEST_CASES=8 CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="valgrind -q --error-exitcode=9" \
        cargo nextest run --cargo-profile release --locked --workspace \
        -E 'package(samara-dataplane) & kind(lib) & test(/^(xdp::(ring|umem|header)|pool)::/) - test(under_loom)' >&2
}
# The rooms that code, hash, sign and agree once more without AVX-512: what the fall-backs compute must pass the same tests.
pure=(samara-types samara-erasure samara-crypto samara-rotor samara-consensus samara-validator)
if command -v cargo-nextest >/dev/null; then
    cargo test --release --locked --workspace --doc --quiet >&2
    if grep -qm1 avx512 /proc/cpuinfo; then
        say "tests without AVX-512"
        SAMARA_AVX512=off cargo nextest run --cargo-profile release --locked --workspace --no-fail-fast \
            -E "$(printf 'package(%s) + ' "${pure[@]}")none()" >&2
    else
        say "this CPU has no AVX-512: the tests below run without it"
    fi
    heap
    say "all tests"
    exec cargo nextest run --cargo-profile release --locked --workspace --no-fail-fast "$@"
fi
if grep -qm1 avx512 /proc/cpuinfo; then
    SAMARA_AVX512=off cargo test --release --locked --no-fail-fast "${pure[@]/#/--package=}" >&2
fi
exec cargo test --release --locked --workspace --no-fail-fast "$@"
