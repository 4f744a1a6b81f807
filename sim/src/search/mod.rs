//! Searching where chance does not: every order of the rules' steps within a bound, and the smallest plan that still fails.

pub mod exhaustive;
pub mod shrink;
