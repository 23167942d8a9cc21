//! A model of resume and acknowledgement: driver, service, server, state file and what goes wrong
//! around them. `stateright` tries every order of its steps within small bounds (rules RESUME,
//! LOSS, TRUTH, T0: docs/rules.md).
//!
//! The simulator (`tests/sim`) runs the real engine under one schedule a seed. The model knows less
//! and leaves none out. A step has the name of the verb that it stands for.
//!
//! | module | stands for |
//! | --- | --- |
//! | [`driver`] | `engine/src/session/core/`, `tracking/src/`: table, kept records, epochs, gap |
//! | [`service`] | `service/src/{pipeline,links,window,state}.rs` |
//! | [`server`] | `server/src/{storing,writer}.rs`, and copies of a repository |
//! | [`saved`] | the state area, and the driver before it has a session |
//! | [`world`] | the disk, the machine, the link; which step may come next |
//! | [`check`] | the properties, and the exploration |
//! | [`bounds`] | sizes, and how often each event may happen |
//! | [`sabotage`] | defects of single steps, each of which a property finds |
//!
//! Where the code decides without input and output, the model calls it:
//! `snapless_service::session::{judge, go_on}`, `snapless_service::window::Window`, and the
//! server's `StreamState` and `Timeline`, which say what is refused and what can be restored.
//!
//! Not modelled: held writes as such (a write that is held is one that comes later), parts of long
//! writes, clearings, bad sectors, sizes of payloads, comparison by hash.
//!
//! # What is built, and what is design
//!
//! What is built is what happens without an option. With [`bounds::Sizes::begins_anew`] a driver
//! that has lost its memory, and one that does not agree with the server, begin a new session.

pub mod bounds;
pub mod check;
pub mod driver;
mod port;
pub mod record;
pub mod sabotage;
pub mod saved;
pub mod server;
pub mod service;
pub mod world;

pub use check::{Check, Report};
