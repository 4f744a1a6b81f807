//! Turns the bytes of a fuzzer into choices. At the end of the input every choice is zero, so that each prefix is an input too.

/// A cursor over the input.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// From the first byte.
    pub fn new(input: &'a [u8]) -> Reader<'a> {
        Reader(input)
    }

    /// Whether all is read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// A number below `limit`, from two bytes.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()])) % limit.max(1)
    }

    /// One of `choices`.
    pub fn one_of<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[self.below(choices.len())]
    }

    /// Changes up to seven bytes, and perhaps the length; says whether it tried to.
    pub fn patch(&mut self, bytes: &mut Vec<u8>) -> bool {
        let mode = self.byte();
        for _ in 0..mode & 7 {
            if !bytes.is_empty() {
                let at = self.below(bytes.len());
                bytes[at] ^= self.byte();
            }
        }
        match mode >> 6 {
            1 => bytes.truncate(self.below(bytes.len() + 1)),
            2 => bytes.push(self.byte()),
            _ => {}
        }
        mode & 7 != 0 || matches!(mode >> 6, 1 | 2)
    }
}

/// Every input the fuzzer kept for `target`, by name. Panics if there is none: a replay of nothing shows nothing.
pub fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let files = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut inputs: Vec<_> = files
        .map(|file| {
            let path = file.expect("a readable directory").path();
            (path.display().to_string(), std::fs::read(&path).expect("a readable input"))
        })
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "no inputs in {}", directory.display());
    inputs
}
