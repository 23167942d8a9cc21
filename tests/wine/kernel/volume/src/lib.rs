//! `snapless-test-volume.sys`: the disk under the driver under test, and the rig's PnP manager.
//!
//! A volume device whose content is a file. It reorders and delays requests as far as a disk may,
//! and journals every write in the order in which it was applied. A second device takes the
//! scenario's commands.
//!
//! The rule: it does not depend on Snapless and behaves as Windows requires of a volume.

#![no_std]

extern crate alloc;

mod config;
mod control;
mod dataset;
mod driver;
mod failing_reads;
mod files;
mod framework;
mod journal;
mod payload;
mod pnp;
mod queries;
mod scheduler;
mod second;
mod switches;
mod top_write;
mod volume;
