//! Restores a point of a volume over the network: the machine's end.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`restore`](mod@restore) | the course of a restore: opens the point, goes on after a cut, compares |
//! | [`pass`] | one pass through the image over one link |
//! | [`disk`] | what is written to: a disk, and a file as one |
//! | [`guarded`] | a disk whose both ends are written last |
//! | `volume` | a volume of Windows, held offline |
//! | `place`, `device` | reads and writes at a place; requests to devices of Windows |
//! | [`error`] | why it failed |
//!
//! The machine reads what its disk has and sends hashes of that; the server sends what differs
//! ([`snapless_wire::fetch`]). So a restore to an empty disk, one that goes on after a cut, and a
//! failback are the same.
//!
//! Rule: a disk that does not have the whole image does not look as if it had one.

#[cfg(windows)]
mod device;
pub mod disk;
pub mod error;
pub mod guarded;
pub mod pass;
mod place;
pub mod restore;
#[cfg(windows)]
pub mod volume;

pub use disk::{Disk, FileDisk};
pub use error::RestoreError;
pub use restore::{Options, Progress, Report, Stage, Wanted, restore};
