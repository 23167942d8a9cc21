//! Kernel routines that the rig supplies to the driver under test: those that Wine 8 lacks or
//! stubs, and those whose use the rig checks. `redirects.rs` lists them by name.
//!
//! The rule: each behaves as documented; the head of its file names every exception.

pub(crate) mod etw;
pub(crate) mod irp;
pub(crate) mod mdl;
pub(crate) mod pool;
pub(crate) mod power;
pub(crate) mod processor;
pub(crate) mod spinlock;
pub(crate) mod stack;
pub(crate) mod thread;
pub(crate) mod time;
pub(crate) mod wait;
