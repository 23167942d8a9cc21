//! The simulator: the real engine and the real server under a seeded scheduler, between models of
//! applications, disk and service, with faults at any step. Every rule of the method
//! (`docs/rules.md`) is checked against the model.
//!
//! One seed is one run: [`run`] plays it, and the same [`Options`] give the same [`Report::trace`].
//! A [`Failure`] names the seed, the step, the rule and the command that replays it; [`shrink`]
//! looks for a smaller run that fails the same way.
//!
//! | file | what |
//! | --- | --- |
//! | `plan` | what a seed decides: volume, limits, writers, disk, link, faults |
//! | `world` | the scheduler and everything that acts |
//! | `host` | the engine's lock and clocks |
//! | `disk`, `memory`, `link`, `lulls`, `writer` | the models |
//! | `far_end` | the real server, over a disk that loses power |
//! | `reboots` | the simulator of restarts alone |
//! | `group` | the simulator of consistency groups alone |
//! | `storage` | the server's disk |
//! | `store` | the simulator of the store alone |
//! | `ledger` | what really happened |
//! | `check` | the rules |
//! | `options` | the options of a run; sabotages that the checks must find |

mod batch;
mod check;
mod disk;
mod failure;
mod far_end;
mod files;
pub mod group;
mod host;
mod ledger;
mod link;
mod lulls;
mod memory;
mod options;
mod paging;
mod plan;
pub mod reboots;
mod report;
pub mod rng;
mod runner;
pub mod storage;
pub mod store;
mod trace;
mod volume;
mod world;
mod writer;

pub use batch::Batch;
pub use failure::{Failure, Rule};
pub use host::engine_is_deciding;
pub use options::{Fault, Options, Sabotage};
pub use report::Report;
pub use runner::{run, shrink};
pub use store::StoreBatch;
