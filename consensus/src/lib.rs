//! The Minimmit state machine
