//! What the rig's other drivers need of this one: the IRQL that this image tracks.
//!
//! The rule: a completion from below reaches the driver under test at DISPATCH_LEVEL, as a disk's does, so the test
//! volume raises the level around each completion.

use crate::irql;

/// Raises the calling thread to DISPATCH_LEVEL and returns the level before.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn SnaplessRigRaiseIrql() -> u8 {
    irql::set(irql::DISPATCH_LEVEL)
}

/// Sets the calling thread's level back.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn SnaplessRigLowerIrql(level: u8) {
    irql::set(level);
}
