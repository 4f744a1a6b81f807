"""Which crate may name which. Reads `cargo metadata --no-deps`; prints each forbidden arrow; ends with 1 if there is one."""

import json
import re
import sys
from pathlib import Path

# Normal dependencies among our own crates. A crate that is not listed here is refused, so a new one states its place.
ALLOWED = {
    "samara-types": set(),
    "samara-erasure": {"types"},
    "samara-crypto": {"types"},
    "samara-rotor": {"types", "erasure", "crypto"},
    "samara-consensus": {"types", "erasure", "crypto"},
    "samara-validator": {"types", "erasure", "crypto", "rotor", "consensus"},
    "samara-storage": {"types", "crypto"},
    "samara-dataplane": {"types", "crypto"},
    "samara-tuning": {"types"},
    "samara-sim": {"types", "erasure", "crypto", "rotor", "consensus", "validator", "storage"},
    "samara-node": {"types", "erasure", "crypto", "rotor", "consensus", "validator", "storage", "dataplane", "tuning", "sim"},
    "samara-benches": {"types", "erasure", "crypto", "rotor", "consensus", "validator", "storage", "dataplane", "tuning", "sim", "node"},
}
# Pure crates: no clock, socket, file, thread or global randomness. Crypto makes keys and key files, so it is not among them.
PURE = {"samara-types", "samara-erasure", "samara-rotor", "samara-consensus", "samara-validator"}
IMPURE_CRATES = {
    "tokio", "glommio", "io-uring", "libc", "nix", "rustix", "socket2", "mio", "rocksdb", "getrandom", "rand", "crossbeam", "rayon",
    "core_affinity", "signal-hook", "tempfile", "snow", "tracing-subscriber", "chrono", "time",
}  # fmt: skip
IMPURE_PATHS = re.compile(r"\bstd::(net|fs|thread|process|os|env)\b|\b(Instant|SystemTime)\b|\bthread_rng\b|\bOsRng\b|\bgetrandom\b")
# What a pure crate may ask all the same, with the reason.
EXCEPTIONS = {
    ("samara-erasure", "cpu.rs"): "std::env",  # SAMARA_AVX512=off is a fact about the host, like the CPU's own features
}
TEST_FILE = re.compile(r"(^|/)(tests?|test_[a-z_]+|[a-z_]+_tests?)(\.rs|/)")


def arrows(packages):
    """Forbidden dependencies, one line each."""
    for package in packages:
        name = package["name"]
        if name not in ALLOWED:
            yield f"{name}: not in scripts/check_arrows.py; state what it may depend on"
            continue
        for dependency in package["dependencies"]:
            if dependency["kind"] == "dev":
                continue
            target = dependency["name"]
            if target.startswith("samara-") and target.removeprefix("samara-") not in ALLOWED[name]:
                yield f"{name} -> {target}: this arrow is not in DESIGN section 1"
            if name in PURE and target in IMPURE_CRATES:
                yield f"{name} -> {target}: a pure crate names no clock, socket, file, thread or global randomness"


def impure_sources(packages):
    """Lines of pure crates that name the outside world. What stands behind `#[cfg(test)]` at the end of a file does not count."""
    for package in packages:
        if package["name"] not in PURE:
            continue
        source = Path(package["manifest_path"]).parent / "src"
        for path in sorted(source.rglob("*.rs")):
            relative = path.relative_to(source)
            if TEST_FILE.search(str(relative)):
                continue
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if line.startswith("#[cfg(test)]"):
                    break
                code = line.split("//")[0]
                found = IMPURE_PATHS.search(code)
                if found and EXCEPTIONS.get((package["name"], str(relative))) != found.group(0):
                    yield f"{package['name']}: src/{relative}:{number}: {code.strip()}"


def main():
    packages = json.loads(Path(sys.argv[1]).read_text())["packages"]
    findings = [*arrows(packages), *impure_sources(packages)]
    for finding in findings:
        print(finding, file=sys.stderr)
    if not findings:
        print(f"{len(packages)} crates, every arrow allowed")
    return 1 if findings else 0


sys.exit(main())
