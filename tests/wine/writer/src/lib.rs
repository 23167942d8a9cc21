//! The rig's writer: a program that hammers a volume the way busy applications do, and remembers
//! every byte that it asked for.
//!
//! | module | concept |
//! | --- | --- |
//! | [`extent`] | a stretch of the volume, in whole sectors |
//! | [`regions`] | which extents may be written |
//! | [`payload`] | content that names its own write, sector by sector |
//! | [`plan`] | what a thread does next: seeded, overlapping on purpose |
//! | [`pace`] | the limit on bytes per second |
//! | [`log`] | the file of completed writes |
//! | [`port`] | how requests reach the device |
//! | [`worker`] | one thread of load |
//!
//! The library part is shared with the program that judges a run: both sides read one log format and
//! know one payload.

pub mod error;
pub mod extent;
pub mod log;
pub mod pace;
pub mod payload;
pub mod plan;
pub mod port;
pub mod regions;
pub mod worker;

pub use error::WriterError;
