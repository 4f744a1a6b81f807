//! Ports, sessions, reactors, frames, counters
