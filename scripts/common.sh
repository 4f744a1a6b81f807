# Sourced by the other scripts: where the checkout and the build cache are.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# Outside the checkout, so that a clean clone does not compile RocksDB again.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/samara/target}"
samara="$CARGO_TARGET_DIR/release/samara"
# Several checkouts share that cache, and cargo tells by time alone what is fresh: what another one built, from other sources or with its own path inside, must
# not pass for this one's. Our own crates are built again, what they stand on is not.
if [ "$(cat "$CARGO_TARGET_DIR/checkout" 2>/dev/null)" != "$root" ]; then
    mkdir -p "$CARGO_TARGET_DIR"
    rm -rf "$CARGO_TARGET_DIR"/*/.fingerprint/samara-*
    printf '%s\n' "$root" >"$CARGO_TARGET_DIR/checkout"
fi

say() { printf 'samara: %s\n' "$*" >&2; }
