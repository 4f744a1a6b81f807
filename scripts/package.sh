#!/usr/bin/env bash
# Builds samara_VERSION_ARCH.deb from an existing release binary, with dpkg-deb and nothing else.
#
#   scripts/package.sh [OUT_DIR]        default: $CARGO_TARGET_DIR/package
#
# SAMARA_BINARY names another binary. The same binary makes the same bytes (SOURCE_DATE_EPOCH: time of the last commit). Prints the package's path.
set -euo pipefail
out=$(realpath -m "${1:-${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/samara/target}/package}")
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
binary="${SAMARA_BINARY:-$samara}"

command -v dpkg-deb >/dev/null || { say "missing: dpkg-deb (Debian and its kin have it)"; exit 3; }
[ -x "$binary" ] || { say "$binary is missing: cargo build --release -p samara-node"; exit 2; }

version=$("$binary" --version | cut -d' ' -f2)
arch=$(dpkg --print-architecture)
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}"
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
umask 022

put() { install -D -m "$1" "$2" "$tree/$3"; } # put MODE FILE PATH

put 755 "$binary" usr/bin/samara
strip --strip-unneeded "$tree/usr/bin/samara" 2>/dev/null || say "strip is missing (binutils): the package holds the debug information"
put 644 ops/systemd/samara.service usr/lib/systemd/system/samara.service
put 644 ops/systemd/samara.sysusers usr/lib/sysusers.d/samara.conf
put 644 ops/systemd/samara.tmpfiles usr/lib/tmpfiles.d/samara.conf
put 644 ops/systemd/samara.default etc/default/samara

doc=usr/share/doc/samara
for page in docs/*.md; do put 644 "$page" "$doc/$(basename "$page")"; done
for picture in docs/studies/*.svg; do put 644 "$picture" "$doc/studies/$(basename "$picture")"; done
put 644 tuning/README.md "$doc/tuning.md"
put 644 samara.example.toml "$doc/examples/samara.toml"
# The profiles are in the binary; these are for reading, and as a start for --profile-file.
for profile in tuning/profiles/*.toml; do put 644 "$profile" "$doc/examples/profiles/$(basename "$profile")"; done
put 644 ops/alerts/samara.rules.yml "$doc/examples/prometheus/samara.rules.yml"
put 644 ops/wireshark/samara.lua "$doc/examples/wireshark/samara.lua"
for board in ops/grafana/*.json; do put 644 "$board" "$doc/examples/grafana/$(basename "$board")"; done
cat >"$tree/$doc/copyright" <<TEXT
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: samara

Files: *
Copyright: the Samara authors
License: Apache-2.0
 On Debian systems, the full text of the Apache License 2.0 is in
 /usr/share/common-licenses/Apache-2.0.
TEXT
printf 'samara (%s) stable; urgency=medium\n\n  * Built from %s.\n\n -- Samara <samara@localhost>  %s\n' "$version" \
    "$(git describe --always --dirty 2>/dev/null || echo 'a source tree')" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" |
    gzip -9n >"$tree/$doc/changelog.gz"

"$binary" manual --out "$tree/manual"
for page in "$tree"/manual/man1/*.1; do gzip -9n "$page"; put 644 "$page.gz" "usr/share/man/man1/$(basename "$page").gz"; done
put 644 "$tree/manual/completions/samara.bash" usr/share/bash-completion/completions/samara
put 644 "$tree/manual/completions/_samara" usr/share/zsh/vendor-completions/_samara
put 644 "$tree/manual/completions/samara.fish" usr/share/fish/vendor_completions.d/samara.fish
rm -r "$tree/manual"

# The oldest C library that has every symbol the binary asks for.
glibc=$(objdump -T "$tree/usr/bin/samara" 2>/dev/null | grep -o 'GLIBC_[0-9.]*' | cut -d_ -f2 | sort -Vu | tail -1 || true)
mkdir "$tree/DEBIAN"
size=$(du -k -s --exclude=DEBIAN "$tree" | cut -f1)
cat >"$tree/DEBIAN/control" <<TEXT
Package: samara
Version: $version
Architecture: $arch
Maintainer: Samara <samara@localhost>
Installed-Size: $size
Depends: libc6 (>= ${glibc:-2.31}), libgcc-s1, libstdc++6
Recommends: systemd
Suggests: ethtool, prometheus
Section: net
Priority: optional
Description: kernel-bypass validator: Rotor dissemination under Minimmit consensus
 One binary for a validator and everything around it: keys and genesis,
 reversible host tuning, metrics for Prometheus, a live terminal view,
 inspection of its data. Installing it starts nothing: see
 /usr/share/doc/samara/operator.md.
TEXT
echo /etc/default/samara >"$tree/DEBIAN/conffiles"

# Makes user and directories; never starts a validator by itself. A running one is told, not restarted: when that is, the operator decides.
cat >"$tree/DEBIAN/postinst" <<'SCRIPT'
#!/bin/sh
set -e
if [ "$1" = configure ] && [ -z "$DPKG_ROOT" ]; then
    if command -v systemd-sysusers >/dev/null; then
        systemd-sysusers samara.conf
    elif ! getent passwd samara >/dev/null; then
        adduser --system --group --no-create-home --home /var/lib/samara samara
    fi
    if command -v systemd-tmpfiles >/dev/null; then
        systemd-tmpfiles --create samara.conf
    else
        install -d -m 0750 -g samara /etc/samara
        install -d -m 0755 /var/lib/samara
    fi
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload || true
        if [ -n "$2" ] && systemctl is-active --quiet samara.service; then
            echo "samara: the running validator keeps the version it was started with until: systemctl restart samara"
        fi
    fi
fi
exit 0
SCRIPT
# Stops before the files go, not before an upgrade: the old process runs on until the operator restarts it.
cat >"$tree/DEBIAN/prerm" <<'SCRIPT'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then
    systemctl stop samara.service || true
    systemctl disable samara.service >/dev/null 2>&1 || true
fi
exit 0
SCRIPT
# Keys, configuration and data are never removed, not even by purge: a vote log that is gone cannot be had back.
cat >"$tree/DEBIAN/postrm" <<'SCRIPT'
#!/bin/sh
set -e
if [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
fi
if [ "$1" = purge ] && [ -d /var/lib/samara/validator ]; then
    echo "samara: /etc/samara and /var/lib/samara stay; remove them by hand when this validator's keys are out of use"
fi
exit 0
SCRIPT
chmod 755 "$tree"/DEBIAN/{postinst,prerm,postrm}
(cd "$tree" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

mkdir -p "$out"
deb="$out/samara_${version}_$arch.deb"
# A level that costs seconds, not minutes, and what Debian 12's dpkg and older ones read.
dpkg-deb --root-owner-group -Zxz -z2 --build "$tree" "$deb" >&2
echo "$deb"
