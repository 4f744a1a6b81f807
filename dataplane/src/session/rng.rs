//! Random numbers from a seed: session indexes, cookie secret, jitter. Ephemeral keys come from the operating system.

/// The BLAKE3 output stream of a seed.
pub struct Rng(blake3::OutputReader);

impl Rng {
    pub fn new(seed: [u8; 32]) -> Rng {
        Rng(blake3::Hasher::new_derive_key("samara session v1 seed").update(&seed).finalize_xof())
    }

    pub fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    pub fn bytes32(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill(&mut bytes);
        bytes
    }

    /// Uniform enough below `limit` for jitter.
    pub fn below(&mut self, limit: u64) -> u64 {
        u64::from(self.next_u32()) % limit.max(1)
    }
}
