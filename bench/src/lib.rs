//! The bench host: the real engine between a file and NBD clients, so that ordinary tools can load it.
//!
//! A test host, not a product: it trusts whoever may open its sockets, and keeps nothing across restarts.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`server`] | volumes, sessions, the socket where clients come |
//! | [`volume`] | one thread and one ring for each volume: requests, and the engine's workers |
//! | [`nbd`], [`connection`] | the protocol; one client |
//! | [`ring`], [`memory`] | `io_uring`, and what the kernel reads and writes by itself |
//! | [`session`], [`host`] | a session with its memory; what the engine needs from a system |
//! | [`sink`] | where records go |
//! | [`control`] | start, status, verify, stop: a line of JSON each |
//! | [`raw_read`] | the physical limit |
//! | [`process`] | the host as another program |
//!
//! All `unsafe` is in [`ring`] and [`memory`].

pub mod connection;
pub mod control;
pub mod disk;
pub mod error;
pub mod host;
pub mod memory;
pub mod nbd;
pub mod process;
pub mod protocol;
pub mod raw_read;
pub mod record;
pub mod ring;
pub mod run;
pub mod server;
pub mod sink;
pub mod spec;
pub mod volume;
