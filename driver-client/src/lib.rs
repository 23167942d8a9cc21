//! The user-mode API of `snapless.sys`, for the service and the command line.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`port`] | the driver's calls as a trait, so that tests need no driver |
//! | [`control`] | the port over the control device (Windows) |
//! | [`volume`] | names of volumes |
//! | [`protection`] | why a volume cannot be protected |
//! | [`file_system`] | what only a volume's file system knows of that |
//! | [`file_layout`] | where a volume's paging, swap and hibernation files are |
//! | [`probe`], [`volume_probe`] | a volume, measured before it is protected; on Windows |
//! | [`state_place`] | where on a volume the driver can save the state of its session |
//! | [`status`] | a session's counters; the progress, rate and holds derived from them |
//! | [`paths`] | paths of Snapless's files |
//! | `access_list`, `wine` | who may do what with a file; whether this is Wine |
//!
//! Rule: every answer of the driver is parsed into a type of this crate before it is used.

pub mod error;
pub mod file_layout;
pub mod file_system;
pub mod identity;
mod known_folder;
pub mod paths;
pub mod port;
pub mod probe;
pub mod protection;
#[cfg(any(windows, test))]
mod sectors;
pub mod state_place;
pub mod status;
pub mod unused_blocks;
pub mod volume;

#[cfg(windows)]
pub mod access_list;
#[cfg(windows)]
pub mod control;
#[cfg(windows)]
mod overlapped;
#[cfg(windows)]
mod state_file;
#[cfg(windows)]
mod volume_handle;
#[cfg(windows)]
pub mod volume_probe;
#[cfg(windows)]
pub mod wine;

pub use error::DriverError;
pub use port::{Driver, DriverPort, Volume};
pub use status::SessionStatus;
pub use volume::VolumeName;
