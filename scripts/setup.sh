#!/usr/bin/env bash
# Checks what building and running Samara needs, and installs what is missing with apt when it runs as root.
# Ends with 3 when something is missing that it cannot install; it says what, and the command that does.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

missing=()
need() { # need PACKAGE TEST...: remembers the Debian package whose test fails
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}
libclang() { # bindgen loads it while RocksDB's bindings are made; libclang-cpp, which comes with LLVM alone, is another library
    [ -n "${LIBCLANG_PATH:-}" ] && return
    { ldconfig -p | awk '{ print $NF }'; compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' || :; } | grep -E '/libclang(-[0-9.]+)?\.so[.0-9]*$'
}

need libclang-dev libclang
need build-essential command -v c++
need build-essential command -v make
need git command -v git
need python3 command -v python3
need iproute2 command -v ip

if [ ${#missing[@]} -gt 0 ]; then
    mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing: ${missing[*]}"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq >&2
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
    else
        say "missing: ${missing[*]}; as root run: apt-get install -y ${missing[*]}"
        exit 3
    fi
fi

if ! command -v cargo >/dev/null; then
    say "missing: cargo (Rust 1.90 or newer); get it from https://rustup.rs or your distribution"
    exit 3
fi
