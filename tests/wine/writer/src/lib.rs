//! The rig's writer: a program that loads a volume as busy applications do, and logs every write.
//!
//! | module | concept |
//! | --- | --- |
//! | [`extent`] | a stretch of the volume, in whole sectors |
//! | [`regions`] | which extents may be written |
//! | [`payload`] | content that names its own write, sector by sector |
//! | [`plan`] | the requests of a thread: seeded, overlapping on purpose |
//! | [`pace`] | the limit on bytes per second |
//! | [`log`] | the file of completed writes |
//! | [`device`] | how requests reach the volume |
//! | [`worker`] | one thread of load |
//!
//! The end-to-end runs use the library part to check a run: log format and payload stand here once.

pub mod device;
pub mod error;
pub mod extent;
pub mod log;
pub mod pace;
pub mod payload;
pub mod plan;
pub mod regions;
pub mod worker;

pub use error::WriterError;
