//! Safe wrappers over the kernel routines that the driver uses.
//!
//! The rule: each module states at which IRQL its functions may be called. This folder and
//! [`framework`](crate::framework) hold all of the driver's `unsafe` code; `cargo xtask check`
//! checks that.

pub mod child_irp;
pub mod etw;
pub mod event;
pub mod global;
pub mod irp;
mod layout;
pub mod link;
pub mod log;
pub mod lower_device;
pub mod mapping_reserve;
pub mod mdl;
mod own_irp;
pub mod parked_irps;
pub mod passive_lock;
pub mod payload_mdl;
pub mod pool;
pub mod power;
pub mod processor;
pub mod query;
pub mod queue_memory;
pub mod raw_io;
pub mod reader;
pub mod reserved;
pub mod rundown;
pub mod shared;
pub mod spin_lock;
pub mod thread;
pub mod time;
pub mod unicode;
pub mod waiting_irps;

use wdk_sys::{_MODE, KPROCESSOR_MODE};

/// `KernelMode` as the type that routines take.
const KERNEL_MODE: KPROCESSOR_MODE = low_byte(_MODE::KernelMode.cast_unsigned()).cast_signed();

/// Flags that a header defines wider than their field. IRQL <= DISPATCH_LEVEL.
pub const fn low_byte(flags: u32) -> u8 {
    let [byte, ..] = flags.to_le_bytes();
    byte
}
