//! Kernel routines that the driver under test gets from the rig: those that Wine 8 lacks or stubs, and those whose
//! use the rig checks. `redirects.rs` lists them by name.
//!
//! The rule: each does what its documentation says; where it could only pretend, it says so in its file's first lines.

pub(crate) mod device_control;
pub(crate) mod etw;
pub(crate) mod irp;
pub(crate) mod mdl;
pub(crate) mod pool;
pub(crate) mod spinlock;
pub(crate) mod thread;
pub(crate) mod time;
pub(crate) mod wait;
