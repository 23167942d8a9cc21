//! The bench host: the real engine between a file and NBD clients, so that common tools can load
//! it.
//!
//! It is for measurements, not for production: every process that can open its sockets has full
//! access, and nothing is kept across restarts.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`server`] | volumes, their sessions, the socket for NBD clients |
//! | [`volume`] | a volume's loop: one thread and one ring for requests and the engine's workers |
//! | [`connection`] | one client; the protocol is in `nbd/` |
//! | [`ring`], [`memory`] | `io_uring`, and the memory that the kernel accesses |
//! | [`disk`], [`host`] | a volume's file; the lock, clocks and wake-ups that the engine needs |
//! | [`spec`], [`run`] | a session's limits; a session with its memory |
//! | [`sink`] | where records go |
//! | [`control`], [`protocol`] | the control channel; its commands and answers |
//! | [`alone`] | the engine without files and clients, on several threads |
//! | [`raw_read`] | the physical limit of a first sync |
//! | [`history`], [`counted`] | a repository with a history, for restores and mounts; its files |
//! | [`feed`] | a stream to a server, without a volume |
//! | [`stream`] | the records and frames of both |
//! | [`process`] | the host as a child process |
//!
//! All `unsafe` is in [`ring`] and [`memory`].

pub mod alone;
pub mod connection;
pub mod control;
pub mod counted;
pub mod disk;
pub mod error;
pub mod feed;
pub mod history;
pub mod host;
pub mod memory;
pub mod process;
pub mod protocol;
pub mod raw_read;
pub mod ring;
pub mod run;
pub mod server;
pub mod sink;
pub mod spec;
pub mod stream;
pub mod volume;
