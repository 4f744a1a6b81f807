//! Distinct types for indexes, counts and times, so that a view is never taken for a height.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// Position of a validator in the set of the epoch.
    ValidatorIndex(u16)
);
number!(
    /// Minimmit view. View 0 is genesis, notarized and final by definition; the protocol starts in view 1.
    View(u64)
);
number!(
    /// Number of blocks between a block and genesis.
    Height(u64)
);
number!(
    /// Voting weight.
    Stake(u64)
);
number!(
    /// Validator-set period. Part of every signature.
    Epoch(u64)
);
number!(
    /// Position of a slice in its block, from 0.
    SliceIndex(u16)
);
number!(
    /// Position of a shred in the code word of its slice, from 0. Below `data` it carries data, otherwise parity.
    ShredIndex(u8)
);
number!(
    /// Nanoseconds of the reactor's monotonic clock.
    Nanos(u64)
);

impl View {
    /// Genesis.
    pub const GENESIS: View = View(0);

    /// The view after this one. Views never come near `u64::MAX`; one that does came from a peer and saturates.
    pub fn next(self) -> View {
        View(self.0.saturating_add(1))
    }

    /// The view before this one, genesis at the least.
    pub fn previous(self) -> View {
        View(self.0.saturating_sub(1))
    }
}

impl Height {
    /// The height after this one.
    pub fn next(self) -> Height {
        Height(self.0.saturating_add(1))
    }
}

impl ValidatorIndex {
    /// As an index into a table of validators.
    pub fn at(self) -> usize {
        usize::from(self.0)
    }
}

impl SliceIndex {
    /// As an index into a table of slices.
    pub fn at(self) -> usize {
        usize::from(self.0)
    }
}

impl ShredIndex {
    /// As an index into a code word.
    pub fn at(self) -> usize {
        usize::from(self.0)
    }
}

impl Nanos {
    /// From milliseconds.
    pub const fn from_millis(ms: u64) -> Nanos {
        Nanos(ms.saturating_mul(1_000_000))
    }

    /// This time plus a span.
    pub fn after(self, span: Nanos) -> Nanos {
        Nanos(self.0.saturating_add(span.0))
    }

    /// Time since `earlier`, zero if it lies ahead.
    pub fn since(self, earlier: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }
}
