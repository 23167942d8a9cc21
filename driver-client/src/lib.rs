//! How user mode talks to `snapless.sys`: the one library under the service and the command line.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`port`] | the driver's verbs as a trait, so that a pipeline can be tested without a driver |
//! | [`control`] | the port over the real control device (Windows) |
//! | [`volume`] | the names under which people and Windows know a volume |
//! | [`protection`] | why a volume cannot be protected |
//! | [`status`] | a session's counters, and what they say: progress, rate, holds |
//! | [`paths`] | where Snapless keeps its files |
//!
//! Rule: nothing that the driver answered is used before it was parsed into a type here.

pub mod error;
pub mod identity;
pub mod paths;
pub mod port;
pub mod protection;
pub mod status;
pub mod volume;

#[cfg(windows)]
pub mod control;
mod folder;
#[cfg(windows)]
mod known_folder;
#[cfg(windows)]
mod overlapped;
#[cfg(windows)]
mod wide;

pub use error::DriverError;
pub use port::{Driver, DriverPort, Volume};
pub use status::SessionStatus;
pub use volume::VolumeName;
