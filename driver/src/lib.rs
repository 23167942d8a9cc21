//! `snapless.sys`: a KMDF upper filter on every volume that gives the engine a Windows kernel to run on.
//!
//! ```text
//!  driver ── loads, unloads
//!  filter ── attaches to volumes; a write's way through ─▶ gate ─▶ session ─▶ device below
//!  control ─ \\.\Snapless: list, start, resume, drain, acknowledge, status, stop
//!  registry ▶ volume ▶ session ▶ engine
//!                         └─ workers: sweep, hold, dispatch, drain
//! ```
//!
//! The method is in `snapless-engine`, decisions that need no kernel in `snapless-driver-logic`; here is only what Windows
//! asks for. `WRITES.md` beside the manifest says what becomes of each way to change a volume. `unsafe` stands behind the
//! wrappers in [`kernel`] and [`framework`]; outside of them it marks the places where a callback's arguments
//! become values with lifetimes.
//!
//! No panic can be reached: nothing is unwrapped or indexed, arithmetic does not overflow, and after load every
//! allocation can fail.
#![no_std]

extern crate alloc;
#[cfg(not(test))]
extern crate wdk_panic;

mod control;
mod driver;
mod filter;
mod framework;
mod gate;
mod globals;
mod kernel;
mod questions;
mod registry;
mod session;
mod settings;
mod special_files;
mod trace;
mod volume;

#[global_allocator]
static ALLOCATOR: kernel::pool::PoolAllocator = kernel::pool::PoolAllocator;
