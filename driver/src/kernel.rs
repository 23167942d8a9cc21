//! Safe wrappers over the kernel routines that the driver uses. Nothing here knows about sessions.
//!
//! Each module states at which IRQL its functions may be called. `unsafe` is here and in
//! [`framework`](crate::framework), and nowhere else.

pub mod control_irp;
pub mod etw;
pub mod event;
pub mod irp;
mod layout;
pub mod link;
pub mod log;
pub mod lower;
pub mod mdl;
pub mod passive_lock;
pub mod pool;
pub mod reserved;
pub mod shared;
pub mod spin_lock;
pub mod thread;
pub mod time;
pub mod unicode;

use wdk_sys::{_MODE, KPROCESSOR_MODE};

/// `KernelMode`, in the type that routines take it in.
const KERNEL_MODE: KPROCESSOR_MODE = low_byte(_MODE::KernelMode.cast_unsigned()).cast_signed();

/// Flags that a header defines wider than the field they go to. IRQL <= DISPATCH_LEVEL.
pub const fn low_byte(flags: u32) -> u8 {
    let [byte, ..] = flags.to_le_bytes();
    byte
}
