//! The byte formats of Snapless: what crosses a boundary between two of its parts.
//!
//! | module | boundary |
//! | --- | --- |
//! | [`record`] | the stream's items, from the driver through the service into the repository |
//! | [`check`] | what records that verify the copy carry in the place of the volume's bytes |
//! | [`ioctl`] | driver ↔ service, command line |
//! | [`frame`] | service ↔ server, and the entries of a repository segment (feature `frame`) |
//! | [`compare`] | what two of those frames carry: extents and their hashes (feature `frame`) |
//! | [`fetch`] | what two others carry: the content of a point, as far as a disk lacks it (feature `frame`) |
//! | [`state_area`] | what the driver keeps on the volume while the machine is off |
//! | [`verified`] | what another one carries: how a volume and its copy differ (feature `frame`) |
//! | [`id`] | the identities and counters that all of them carry |
//!
//! Every structure is little-endian with alignment 1, has a pinned size, and is parsed into a type
//! that cannot be wrong: nothing that comes from outside is used before its constructor accepted
//! it.
#![cfg_attr(not(any(test, feature = "frame")), no_std)]
#![forbid(unsafe_code)]

pub mod check;
#[cfg(feature = "frame")]
pub mod compare;
#[cfg(feature = "frame")]
pub mod fetch;
#[cfg(feature = "frame")]
pub mod frame;
pub mod id;
pub mod ioctl;
pub mod record;
pub mod state_area;
#[cfg(feature = "frame")]
pub mod verified;
