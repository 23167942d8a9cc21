//! `snapless.sys`: a KMDF upper filter on every volume, which gives the engine a Windows kernel to
//! run on.
//!
//! ```text
//!  driver ──▶ filter ──▶ io_path ──▶ session ──▶ engine
//!               │           ▲           ▲
//!               ▼           │           │
//!            control ──▶ workers ───────┘
//!               │
//!               ▼
//!            globals ──▶ volume_list ──▶ volume
//! ```
//!
//! | module | what |
//! | --- | --- |
//! | [`driver`] | load and unload |
//! | [`filter`] | attachment to volumes, and PnP |
//! | [`io_path`] | a request: preprocess callback, completion routine, cancel routine |
//! | [`control`], [`claiming`] | the control device `\\.\Snapless`: the service's and the command line's requests |
//! | [`workers`] | a session's threads: sweep, hold, dispatch, drain |
//! | [`session`] | a session: the engine, the queue's memory, the claim, the counters |
//! | [`volume`], [`volume_list`] | volumes with a filter on them |
//! | [`volume_query`] | what is known of a volume |
//! | [`state`], [`keeper`] | what a volume keeps while the machine is off, and where |
//! | [`boot`], [`boot_thread`], [`saving`] | that is read when the machine comes up, and saved when it goes down |
//! | [`sleep`] | what is compared when the machine has slept |
//! | [`settings`], [`globals`] | the driver's settings and state |
//! | [`trace`] | event tracing |
//! | [`kernel`], [`framework`] | safe wrappers over kernel routines and over KMDF |
//!
//! The method is in `snapless-engine`, and decisions that need no kernel are in
//! `snapless-driver-logic`, where they are tested. `WRITES.md` beside the manifest says how the
//! driver handles each way to change a volume.
//!
//! The rules: `unsafe` code is in [`kernel`] and [`framework`] only, no two modules import each
//! other, directly or through others, and no panic can be reached: nothing is unwrapped or indexed,
//! arithmetic does not overflow, and after load every allocation can fail.
#![no_std]

extern crate alloc;
#[cfg(not(test))]
extern crate wdk_panic;

mod boot;
mod boot_thread;
mod claiming;
mod control;
mod driver;
mod filter;
mod framework;
mod globals;
mod io_path;
mod keeper;
mod kernel;
mod logging;
mod resolving;
mod saving;
mod session;
mod settings;
mod sleep;
mod starting;
mod state;
mod trace;
mod volume;
mod volume_list;
mod volume_query;
mod workers;

#[global_allocator]
static ALLOCATOR: kernel::pool::PoolAllocator = kernel::pool::PoolAllocator;
