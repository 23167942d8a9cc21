//! The half of `snapless.sys` that needs no kernel, and is tested without one: decisions as
//! functions of numbers and bytes.
//!
//! The other half is `driver/`, which builds for Windows' kernel only and has no test harness: it
//! collects what a decision needs, calls a function of this crate, and acts on the result. What can
//! be decided here is not decided there.
//!
//! | module | decides |
//! | --- | --- |
//! | [`control`] | requests to the control device: code, lengths, handle, reply |
//! | [`requests`] | which device control requests change a volume, and how each is handled |
//! | [`dataset`] | what a data set management request asks for, and how it is split into pieces |
//! | [`excluded_names`] | which volumes the list of excluded ones names |
//! | [`reads`] | which failed reads are bad sectors |
//! | [`intent_log`] | which regions are marked on the disk before they are written to |
//! | [`protection`] | which volumes can be protected, and why not |
//! | [`settings`] | what the driver's registry values mean |
//! | [`sleep`] | what leaves the driver while the machine may have slept, and whether the volume is as it was |
//! | [`special_files`] | which special files are on a volume, and which writes are a paging file's |
//! | [`state_areas`] | where the volumes have their state areas, as the registry has it |
//! | [`starts`] | after how many failed starts the driver passes everything through |
//! | [`tracker`] | which changes no session has, and which requests wait for a saved state |
//!
//! Rule: input from outside is checked here before anything acts on it, and nothing here can panic.
#![no_std]
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod control;
pub mod dataset;
pub mod excluded_names;
pub mod intent_log;
pub mod protection;
pub mod reads;
pub mod requests;
pub mod settings;
pub mod sleep;
pub mod special_files;
pub mod starts;
pub mod state_areas;
pub mod tracker;
