//! The Snapless service: sends what the driver captures to the server and resumes after a restart.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`config`] | the TOML file, checked |
//! | [`runner`] | the whole of it, until the service stops |
//! | [`supervisor`] | one pipeline per volume, and their reports |
//! | [`administration`], [`settings_file`] | requests of `snapless`; changes to the TOML file |
//! | [`inquiry`] | what it asks the server for an administrator: points, names for them |
//! | `consistent`, [`scripts`] | instants for which applications are prepared |
//! | [`pipeline`] | one volume: connect, claim, stream, back off |
//! | [`connector`], [`renewal`] | how the server is reached; the machine's certificate |
//! | [`session`] | resume the driver's session or begin a new one |
//! | [`session_report`] | what the server's console is told of it |
//! | [`stream`] | drain → window, until something ends the claim |
//! | [`window`] | what the server has not acknowledged, to be sent again |
//! | [`throttle`], [`schedule`], [`local_time`] | how fast all of them send; at which times |
//! | [`links`] | window → server, acknowledgements → driver, one link after another |
//! | [`batch`] | the records of one drain: zeros dropped, cut into frames |
//! | [`drained`] | up to where a stream had come at an instant of several volumes |
//! | [`meeting`] | when writes wait so that volumes of several machines end at one instant |
//! | [`compare`] | what the server has already is not sent |
//! | [`state`], [`counters`] | memory across restarts, counters |
//! | [`watch`] | events of a stream: gaps, unreadable blocks, base complete |
//! | [`report`] | the report of a pipeline, which `snapless status` reads |
//! | [`event`], [`notice`], [`logging`] | the event log and the log file |
//! | [`performance`] | performance counters |
//!
//! All but the service manager, the event log and performance counters runs on every system, with
//! any [`snapless_driver_client::Driver`].

pub mod administration;
pub mod attempt;
pub mod backoff;
pub mod batch;
pub mod checks;
pub mod compare;
pub mod config;
pub mod connector;
mod consistent;
pub mod counters;
pub mod drained;
pub mod event;
mod files;
pub mod inquiry;
pub mod links;
pub mod local_time;
pub mod logging;
pub mod meeting;
pub mod notice;
pub mod performance;
pub mod pipeline;
pub mod renewal;
pub mod report;
pub mod runner;
pub mod schedule;
pub mod scripts;
pub mod session;
pub mod session_report;
pub mod settings_file;
pub mod size;
pub mod state;
mod state_keeper;
pub mod stop;
pub mod stream;
pub mod supervisor;
pub mod sweep;
pub mod throttle;
pub mod unused;
pub mod verification;
pub mod watch;
pub mod watermark;
pub mod window;

#[cfg(windows)]
pub mod event_log;

/// The service's name in the service manager.
pub const SERVICE_NAME: &str = event::SOURCE;
