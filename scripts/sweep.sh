#!/usr/bin/env bash
# Runs simulator seeds that follow from the commit: each commit explores others, and anybody can repeat them. Usage: sweep.sh [SEEDS]
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

seeds="${1:-60}"
commit=$(git rev-parse --verify --quiet HEAD || echo 00000000)
first=$((16#${commit:0:8}))
# The example makes cargo choose features as for tests; without it RocksDB would be compiled a second time.
cargo build --release --locked --workspace --bin samara --example sweep
say "simulator: seeds of commit ${commit:0:8}; to repeat them: samara sim --first $first --seeds $seeds"
exec "$samara" sim --first "$first" --seeds "$seeds" >&2
