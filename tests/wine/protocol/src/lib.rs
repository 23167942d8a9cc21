//! What the Wine rig's drivers and the programs that drive them agree on.
//!
//! The rule: names, numbers and layouts that both sides use stand here once. Everything is little-endian and is
//! encoded and decoded field by field, so that no side depends on the other's compiler.

#![no_std]
#![forbid(clippy::unwrap_used)]

pub mod crc32c;
pub mod disguise;
pub mod ioctl;
pub mod journal;
pub mod memory;
pub mod names;
mod record;
pub mod selftest;
pub mod traces;
pub mod violations;
