//! The interface of the Wine rig's drivers and programs.
//!
//! The rule: names, numbers and layouts that both sides use stand here once. Structures are plain
//! memory of x86-64 (little-endian, no padding), so both sides copy them as they are.

#![no_std]
#![forbid(clippy::unwrap_used)]

pub mod ioctl;
pub mod journal;
pub mod names;
pub mod selftest;
pub mod traces;
pub mod violations;

pub use zerocopy;
