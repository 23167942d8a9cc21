//! Fuzz targets: every parser of bytes that come from outside, each fed with broken variants of what it takes.
//!
//! | module | concept |
//! | --- | --- |
//! | [`targets`] | the parsers, what must hold of them, and inputs that they take |
//! | [`mutate`] | how an input is broken |
//! | [`play`] | runs a target very often, and says what it saw |
//!
//! Upholds: an input follows from the target, the seed and its number, so that a finding replays alone; and a target
//! says how each input ended, so that one whose inputs never get past the first check fails (it would prove nothing).

pub mod mutate;
pub mod play;
pub mod rng;
pub mod targets;

pub use play::{Finding, Plan, Tally};
pub use targets::{TARGETS, Target};
