//! What the driver under test is refused, and what it has: kept by the rig's KMDF, which it asks for memory.

use protocol::memory::{Memory, Scarcity};

#[link(name = "wdfldr.sys", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "system" {
    /// Refuses allocations of some kinds from now on.
    fn SnaplessRigScarcity(kinds: u32, nth: u64);
    /// Says what was asked for and what is outstanding.
    fn SnaplessRigMemory(memory: *mut Memory);
}

/// Refuses these from now on.
pub(crate) fn set(scarcity: Scarcity) {
    // SAFETY: has no preconditions.
    unsafe { SnaplessRigScarcity(scarcity.kinds, scarcity.nth) };
}

/// What was asked for since, and what is outstanding.
pub(crate) fn memory() -> Memory {
    let mut memory = Memory::default();
    // SAFETY: valid for a write.
    unsafe { SnaplessRigMemory(&raw mut memory) };
    memory
}
