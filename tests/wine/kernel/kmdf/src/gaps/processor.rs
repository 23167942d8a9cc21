//! Processors. A thread of Wine's device process may change its processor at any time.
//!
//! The rule: callers below DISPATCH_LEVEL and above see another processor at each call, also one
//! that has come since they counted: only the time that a driver takes may depend on it.

use core::sync::atomic::{AtomicU32, Ordering};

use wdk_sys::PPROCESSOR_NUMBER;

use crate::irql::{APC_LEVEL, require_at_most};

const COUNT: u32 = 4;
/// Added while the driver runs, as on a virtual machine.
const ADDED: u32 = 1;

pub(crate) unsafe extern "system" fn count(_group: u16) -> u32 {
    require_at_most("KeQueryActiveProcessorCountEx", APC_LEVEL);
    COUNT
}

pub(crate) unsafe extern "system" fn current(_number: PPROCESSOR_NUMBER) -> u32 {
    static TURN: AtomicU32 = AtomicU32::new(0);
    // Relaxed: only the distribution matters. The multiplier spreads neighbours apart.
    let turn = TURN.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B1) >> 16;
    turn % (COUNT + ADDED)
}
