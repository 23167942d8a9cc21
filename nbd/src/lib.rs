//! The server's end of the network block device protocol (NBD), for the bench and for `mount`.
//!
//! | module | its one job |
//! | --- | --- |
//! | [`handshake`] | the export, and what both ends agree on |
//! | [`request`], [`reply`] | the bytes of the transmission phase |
//! | [`serve`] | one client of one [`Disk`], request by request |
//! | [`stream`] | the sockets that carry it |
//!
//! Rule: lengths are checked before memory is allocated, extents before the disk is accessed. The
//! numbers are those of the NBD project's `doc/proto.md`.
#![forbid(unsafe_code)]

pub mod handshake;
pub mod reply;
pub mod request;
pub mod serve;
pub mod stream;

pub use handshake::{Access, Agreed, Export, shake_hands};
pub use reply::Allocation;
pub use request::{Command, Errno, Header, PAYLOAD_MAX, REQUEST_LEN, Violation};
pub use serve::{Disk, serve};
pub use stream::Stream;
