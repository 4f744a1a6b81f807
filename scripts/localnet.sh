#!/usr/bin/env bash
# From a clean clone to a report: sets up, builds, runs six validators for 20 seconds under load. Arguments replace the defaults:
#   scripts/localnet.sh --validators 11 --duration 30s --tps 2000
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

scripts/setup.sh
cargo build --release --locked -p samara-node >&2
if [ $# = 0 ]; then
    set -- --validators 6 --duration 20s --tps 1000 --tx-size 512
fi
exec "$samara" localnet "$@"
