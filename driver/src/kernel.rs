//! Safe wrappers over the kernel routines that the driver uses. Nothing here knows about sessions.
//!
//! Each module states at which IRQL its functions may be called. `unsafe` is here and in
//! [`framework`](crate::framework), and nowhere else.

pub mod event;
pub mod irp;
pub mod log;
pub mod lower;
pub mod mdl;
pub mod passive_lock;
pub mod pool;
pub mod shared;
pub mod spin_lock;
pub mod thread;
pub mod time;
pub mod unicode;
