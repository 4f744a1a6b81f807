# Sourced by the other scripts: where the checkout and the build cache are.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# Outside the checkout, so that a clean clone does not compile RocksDB again.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/samara/target}"
samara="$CARGO_TARGET_DIR/release/samara"

say() { printf 'samara: %s\n' "$*" >&2; }
