//! Criterion benches and comparisons
