//! The domain types that every part of Snapless shares: each is defined here, once.
//!
//! | module | types |
//! | --- | --- |
//! | [`block`] | [`BlockIndex`], [`BlockRange`] |
//! | [`extent`] | [`Extent`] |
//! | [`geometry`] | [`Geometry`] and the one check of a volume's sizes |
//! | [`regions`] | [`Regions`]: what a saved state has one bit for |
//! | [`stream`] | [`Seq`], [`EpochId`], [`RecordKind`], [`Clearing`] |
//! | [`counters`] | [`SessionCounters`], [`HoldTimes`] |
//! | [`gap`] | [`GapReason`], [`Overflow`] |
//! | [`made`] | [`Made`] |
//! | [`ends`] | [`End`], [`Ends`] |
//! | [`tick`] | [`Tick`] |
//!
//! Values are plain numbers in the machine's order; `wire/` says how they stand in a buffer. The
//! crate has no dependencies and allocates nothing, so that the driver can use it.
#![no_std]
#![forbid(unsafe_code)]

pub mod block;
pub mod counters;
pub mod ends;
pub mod extent;
pub mod gap;
pub mod geometry;
pub mod made;
mod numbered;
pub mod regions;
pub mod stream;
pub mod tick;

pub use block::{BlockIndex, BlockRange};
pub use counters::{HOLD_BUCKETS, HoldTimes, SessionCounters};
pub use ends::{ENDS_MAX, End, Ends};
pub use extent::Extent;
pub use gap::{GapReason, Overflow};
pub use geometry::{Geometry, GeometryError};
pub use made::Made;
pub use regions::{REGIONS_MAX, Regions};
pub use stream::{Clearing, EpochId, ORIGIN_MAX, RecordKind, Seq};
pub use tick::Tick;
