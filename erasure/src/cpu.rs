//! Which vector instructions of this CPU our code may use.
//!
//! All of them, unless `SAMARA_AVX512=off` stands in the environment: then neither coding nor the slice tree executes an AVX-512 instruction,
//! on any CPU and in any process built around this crate, its tests among them. Read once, at the first use. It is the one thing this
//! crate asks its surroundings, because it is a fact about the host like the CPU itself.
//!
//! What it does not reach: crates that look at the CPU by themselves. The `blake3` crate hashes whole payloads, ids and headers with the
//! best it finds (its AVX-512 can be left out when it is built, feature `no_avx512`, and not later). `blst`, `reed-solomon-simd`,
//! `curve25519-dalek` and `sha2` contain no AVX-512 as they are built here.

use std::sync::OnceLock;

/// The variable. `off` is the one value that means something to this crate.
pub const AVX512_VARIABLE: &str = "SAMARA_AVX512";

/// Whether the variable keeps our code from AVX-512.
pub fn is_avx512_off() -> bool {
    static OFF: OnceLock<bool> = OnceLock::new();
    *OFF.get_or_init(|| std::env::var_os(AVX512_VARIABLE).is_some_and(|value| value == "off"))
}

/// Whether there is AVX-512F and it may be used.
#[cfg(target_arch = "x86_64")]
pub(crate) fn has_avx512() -> bool {
    std::is_x86_feature_detected!("avx512f") && !is_avx512_off()
}

/// Whether there are AVX-512 F, BW and VL and GFNI, and they may be used.
#[cfg(target_arch = "x86_64")]
pub(crate) fn has_avx512_gfni() -> bool {
    has_avx512()
        && std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx512vl")
        && std::is_x86_feature_detected!("gfni")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaves::Way;
    use crate::tree::platform;
    use crate::{Coder, Engine, Unhashed, hash_burst};
    use samara_types::ShredIndex;
    use std::process::Command;

    /// Roots of slices of every number of chunks, and the leaves of a burst, with whatever this process uses.
    fn results() -> blake3::Hash {
        let payload: Vec<u8> = (0..32 * 1024u32).map(|at| (at * 31 + at / 1024) as u8).collect();
        let (mut coder, mut results) = (Coder::new(), blake3::Hasher::new());
        for total in 1..=128u8 {
            let data = total.div_ceil(2).min(32);
            let word = coder.encode(&payload[..usize::from(data) * 1024], data, total);
            let chunks: Vec<_> = (total - data..total).map(|index| (ShredIndex(index), word.chunk(ShredIndex(index)))).collect();
            let decoded = coder.decode(word.shape(), &word.root(), &chunks).expect("a code word");
            results.update(&decoded.root().0).update(decoded.payload());
            let burst: Vec<_> = chunks.iter().map(|&(index, chunk)| Unhashed { chunk, index, total }).collect();
            let mut leaves = vec![[0; 32]; burst.len()];
            hash_burst(&burst, |at, leaf| leaves[at] = leaf.0);
            results.update(leaves.as_flattened());
        }
        results.finalize()
    }

    /// Also the child of the test below, which reads what it prints.
    #[test]
    fn what_is_used_is_what_may_be_used() {
        let (engine, wide) = (Engine::chosen(), platform().simd_degree() > 8);
        let lanes = matches!(Way::detect(), Way::Lanes(_));
        println!("used: engine {engine}, wide {wide}, lanes {lanes}, results {}", results());
        if is_avx512_off() {
            assert!(engine == Engine::Library && !wide && !lanes && !Engine::Gfni.is_available());
        }
    }

    #[test]
    fn off_takes_avx512_away_and_changes_no_byte() {
        let used = |value: &str| {
            let mut command = Command::new(std::env::current_exe().expect("this test"));
            command.args(["--exact", "cpu::tests::what_is_used_is_what_may_be_used", "--nocapture"]).env(AVX512_VARIABLE, value);
            let output = command.output().expect("this test runs");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{value}: {text}{}", String::from_utf8_lossy(&output.stderr));
            text.split("used: ").nth(1).expect("what it used").lines().next().expect("a line").to_string()
        };
        let (auto, off) = (used("auto"), used("off"));
        let results = |line: &str| line.rsplit(' ').next().map(String::from);
        assert_eq!(results(&auto), results(&off));
        assert!(off.starts_with("engine library, wide false, lanes false"), "{off}");
        assert_eq!(auto.contains("engine gfni"), has_avx512_gfni_anyway(), "{auto}");
    }

    #[cfg(target_arch = "x86_64")]
    fn has_avx512_gfni_anyway() -> bool {
        use std::is_x86_feature_detected as has;
        has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("gfni")
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn has_avx512_gfni_anyway() -> bool {
        false
    }
}
