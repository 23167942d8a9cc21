//! The Snapless service: takes what the driver captures to the server, and remembers where it was.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`config`] | the TOML file, checked |
//! | [`runner`] | one pipeline per volume, and their reports |
//! | [`pipeline`] | the life of one: connect, claim, stream, back off |
//! | [`session`] | which session a pipeline serves |
//! | [`stream`] | drain → send, acknowledgements → driver |
//! | [`batch`] | what one drain brought: zeros dropped, cut into frames |
//! | [`transport`] | frames over TCP |
//! | [`state`], [`counters`] | what is remembered, what is counted |
//! | [`watch`] | what a stream says that a person must know |
//! | [`event`], [`notice`], [`logging`] | what people are told |
//!
//! Everything but the service manager and the event log runs on any system, against any
//! [`snapless_driver_client::Driver`].

pub mod backoff;
pub mod batch;
pub mod config;
pub mod counters;
pub mod event;
pub mod logging;
pub mod notice;
pub mod pipeline;
pub mod runner;
pub mod session;
pub mod size;
pub mod state;
pub mod stop;
pub mod stream;
pub mod transport;
pub mod watch;

#[cfg(windows)]
pub mod event_log;

/// The service's name in the service manager, and its source in the event log.
pub const SERVICE_NAME: &str = "SnaplessService";
/// The service's name as people see it.
pub const SERVICE_DISPLAY_NAME: &str = "Snapless service";
