//! Wrappers over the kernel interfaces, shared by the rig's drivers, so that the drivers themselves
//! contain little `unsafe`.
//!
//! The rule: nothing here depends on the rig. A wrapper either cannot be misused or is an `unsafe
//! fn` that names its caller's duties.
//!
//! Linking this crate also gives a driver its panic handler and its global allocator.

#![no_std]

extern crate alloc;

pub mod device;
pub mod entry;
pub mod event;
pub mod file;
pub mod halt;
pub mod irp;
pub mod mdl;
pub mod monitor;
pub mod pool;
pub mod print;
pub mod registry;
pub mod round_trip;
pub mod spinlock;
pub mod status;
pub mod thread;
pub mod time;
pub mod unicode;
pub mod win32;

pub use wdk_sys as sys;
