//! Chaining values of single chunks: the leaves under the proofs of a received burst.
//!
//! A burst holds chunks of different slices at different indexes, so each has a chunk counter of its own. BLAKE3 itself hashes many inputs
//! at a time only for equal or consecutive counters; two ways around it, with the same values:
//! - [`lanes`], sixteen chunks at a time with a counter per lane, where the CPU has AVX-512;
//! - elsewhere windows of consecutive counters, a lane without a chunk of its counter hashing one that is thrown away.
//!
//! A chunk alone goes through BLAKE3's portable code: its one chain of dependent steps takes 0.84 us in general registers and 1.33 us in
//! vector registers, whose steps take longer each (Zen 5; a parent node 52 ns and 86 ns). Sixteen chunks take 1.55 us together, so two are
//! worth a pass.

mod lanes;

use crate::engine::Engine;
use crate::tree::{CHUNK_END, CHUNK_START, IV, Node, ROOT, alone, platform};
use blake3::IncrementCounter;
use blake3::platform::{MAX_SIMD_DEGREE, Platform};
use samara_types::{CHUNK_BYTES, ShredIndex};

/// The chaining value of one chunk at its index; for the only chunk of a code word, its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf(pub(crate) Node);

impl Leaf {
    /// The leaf of `chunk` at `index` of a code word of `total`.
    pub fn of(chunk: &[u8; CHUNK_BYTES], index: ShredIndex, total: u8) -> Leaf {
        let (counter, last) = if total == 1 { (0, CHUNK_END | ROOT) } else { (index.0.into(), CHUNK_END) };
        let mut out = [0; 32];
        alone().hash_many(&[chunk], &IV, counter, IncrementCounter::Yes, 0, CHUNK_START, last, &mut out);
        Leaf(out)
    }
}

/// A chunk whose leaf is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Unhashed<'a> {
    /// The chunk.
    pub chunk: &'a [u8; CHUNK_BYTES],
    /// Its position in the code word.
    pub index: ShredIndex,
    /// Chunks of the code word.
    pub total: u8,
}

/// The leaves of chunks of any slices at any indexes, in their order: `each` is called once per chunk with its position in `chunks`.
pub fn hash_burst(chunks: &[Unhashed<'_>], mut each: impl FnMut(usize, Leaf)) {
    burst_on(Way::detect(), chunks, &mut |at, node| each(at, Leaf(node)));
}

/// How the chunks of a burst are hashed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// Sixteen at a time, a counter per lane.
    Lanes(lanes::Avx512),
    /// Consecutive counters at a time, on one of BLAKE3's platforms.
    Windows(Platform),
}

impl Way {
    pub(crate) fn detect() -> Way {
        let lanes = lanes::Avx512::detect().filter(|_| Engine::chosen() == Engine::best());
        lanes.map_or_else(|| Way::Windows(platform()), Way::Lanes)
    }
}

/// Calls `each` with the position and chaining value of every chunk.
pub(crate) fn burst_on(way: Way, chunks: &[Unhashed<'_>], each: &mut dyn FnMut(usize, Node)) {
    let mut waiting: [usize; lanes::LANES] = [0; lanes::LANES];
    let mut count = 0;
    for (at, chunk) in chunks.iter().enumerate() {
        if chunk.total == 1 {
            each(at, Leaf::of(chunk.chunk, chunk.index, 1).0);
            continue;
        }
        waiting[count] = at;
        count += 1;
        if count == lanes::LANES {
            group(way, chunks, &waiting, each);
            count = 0;
        }
    }
    group(way, chunks, &waiting[..count], each);
}

/// At most [`lanes::LANES`] chunks, those at the positions `group`.
fn group(way: Way, chunks: &[Unhashed<'_>], group: &[usize], each: &mut dyn FnMut(usize, Node)) {
    match (way, group) {
        (_, []) => {}
        (_, [only]) => {
            let chunk = chunks[*only];
            each(*only, Leaf::of(chunk.chunk, chunk.index, chunk.total).0);
        }
        (Way::Lanes(kernel), _) => {
            let of_lane = |lane: usize| chunks[group[lane.min(group.len() - 1)]];
            let nodes = kernel.chunk_values(&std::array::from_fn(|l| of_lane(l).chunk), &std::array::from_fn(|l| of_lane(l).index.0));
            group.iter().zip(nodes).for_each(|(at, node)| each(*at, node));
        }
        (Way::Windows(platform), _) => windows(platform, chunks, group, each),
    }
}

/// Takes the lowest counter left, puts every chunk with one of the next few counters into its lane, and hashes that window.
fn windows(platform: Platform, chunks: &[Unhashed<'_>], group: &[usize], each: &mut dyn FnMut(usize, Node)) {
    let width = platform.simd_degree();
    let mut left: u32 = u32::MAX >> (32 - group.len());
    while left != 0 {
        let waiting = |left: u32| (0..group.len()).filter(move |&at| left & (1 << at) != 0);
        let first = waiting(left).map(|at| chunks[group[at]].index.at()).min().expect("something is left");
        let mut lane = [None; MAX_SIMD_DEGREE];
        for at in waiting(left) {
            let ahead = chunks[group[at]].index.at() - first;
            if ahead < width && lane[ahead].is_none() {
                lane[ahead] = Some(at);
                left &= !(1 << at);
            }
        }
        // Chunks before the last used lane are hashed whether somebody wants them or not.
        let used = lane.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let filler = chunks[group[0]].chunk;
        let inputs: [&[u8; CHUNK_BYTES]; MAX_SIMD_DEGREE] = std::array::from_fn(|l| lane[l].map_or(filler, |at| chunks[group[at]].chunk));
        let mut out = [[0; 32]; MAX_SIMD_DEGREE];
        hash_run(platform, &inputs[..used], first, out[..used].as_flattened_mut());
        lane.iter().zip(out).for_each(|(at, node)| {
            if let Some(at) = at {
                each(group[*at], node);
            }
        });
    }
}

/// Chaining values of chunks with consecutive counters from `first`.
pub(crate) fn hash_run(platform: Platform, chunks: &[&[u8; CHUNK_BYTES]], first: usize, out: &mut [u8]) {
    let platform = if chunks.len() == 1 { alone() } else { platform };
    platform.hash_many(chunks, &IV, first as u64, IncrementCounter::Yes, 0, CHUNK_START, CHUNK_END, out);
}

#[cfg(test)]
mod tests;
