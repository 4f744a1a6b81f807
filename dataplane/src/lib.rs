//! Moves bytes, decides nothing: ports, frames, sessions, classes, reactors, the rings between them, and their counters (DESIGN §3, §4).

pub mod class;
pub mod counters;
pub mod frame;
pub(crate) mod pool;
pub mod port;
pub mod privilege;
pub mod reactor;
pub mod ring;
pub mod service;
pub mod session;
pub(crate) mod sys;
pub mod tap;
pub mod xdp;
