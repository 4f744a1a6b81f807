//! Studies: questions about the protocol at sizes and distances that no test machine has, answered with tables.

pub mod chained;
mod normal;
pub mod one_shot;
pub mod regions;
