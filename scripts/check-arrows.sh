#!/usr/bin/env bash
# Checks the arrows of DESIGN section 1: which workspace crate may depend on which, and that the pure crates depend on nothing that
# reads a clock, a socket, a file, a thread pool or the system's randomness. Input: `cargo metadata`, or the file named as argument.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

metadata=${1:-}
if [ -z "$metadata" ]; then
    metadata=$(mktemp)
    trap 'rm -f "$metadata"' EXIT
    cargo metadata --format-version 1 --no-deps --locked >"$metadata"
fi
exec python3 scripts/check_arrows.py "$metadata"
