//! Hot reactors: one pinned thread that owns a port, the sessions over it and a handler (DESIGN §4).
//!
//! ```text
//! port.rx_burst -> sessions.open -> class admission ─ all of a burst ─> handler.on_burst ┐
//!                                                                       handler.on_pass ─┤-> outbox (seal into frames, class queues)
//!                                                       session timers -> frames ────────┘        -> port.tx -> port.flush
//!                                                                                                    Normal, if there are shards -> shard
//! ```

mod clock;
mod hot;
mod outbox;
mod shard;
mod wait;

#[cfg(test)]
pub(crate) mod memory;
#[cfg(test)]
mod tests;

pub use hot::{Handler, HotConfig, HotReactor};
pub use outbox::{Outbox, OutboxLimits, OutboxQueues, Unsent};
pub use shard::{ShardConfig, ShardError};
pub use wait::WaitPolicy;
