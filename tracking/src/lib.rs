//! The accounts of a session: of its blocks, writes, records and epochs.
//!
//! Each account has private fields and verbs, and asserts what it can see of the method's rules.
//! The decisions are the engine's.
//!
//! | module | what it keeps |
//! | --- | --- |
//! | `capture_queue` | the records that the service has not taken yet, and the queue memory they own |
//! | `claims` | who reads which blocks |
//! | `config` | the limits, which determine the memory |
//! | `epochs` | which blocks the unacknowledged part of the stream touched |
//! | `in_flight` | the writes that are held or at the disk |
//! | `marks` | the regions to which a write may go at once |
//! | `origin` | where in its session's stream the records begin |
//! | `regions` | the parts of the volume that the server may lack, after a restart |
//! | `table` | the state of each block |
//! | `waiting` | the writes for which no slot is free, which the host chains |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[macro_use]
extern crate snapless_fixed;

pub mod capture_queue;
pub mod claims;
pub mod config;
pub mod epochs;
pub mod in_flight;
pub mod marks;
pub mod origin;
pub mod regions;
pub mod table;
pub mod waiting;
