//! Allocations that fail when a scenario says so.
//!
//! The rule: a failing allocation gives the result that is documented for it, and nothing else
//! changes. Only allocations of the driver under test fail.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use protocol::ioctl::{AllocationFailure, Memory};

use crate::ledger;

/// What the driver allocates.
#[derive(Clone, Copy)]
pub(crate) enum Allocation {
    /// Pool, a packet, a memory descriptor list, a thread.
    Kernel,
    /// System addresses for a buffer.
    Mapping,
    /// An object of the framework.
    Framework,
}

/// The kinds that fail, as `AllocationFailure` numbers them.
static KINDS: AtomicU32 = AtomicU32::new(0);
/// Which of them fails, counted from 1; 0 for each.
static NTH: AtomicU64 = AtomicU64::new(0);
static ASKED: AtomicU64 = AtomicU64::new(0);
static FAILED: AtomicU64 = AtomicU64::new(0);

/// Whether this allocation has to fail. Counts it, so it is called once for each.
pub(crate) fn fails(allocation: Allocation) -> bool {
    let kind = match allocation {
        Allocation::Kernel => AllocationFailure::KERNEL,
        Allocation::Mapping => AllocationFailure::MAPPINGS,
        Allocation::Framework => AllocationFailure::FRAMEWORK,
    };
    // Relaxed, here and below: a scenario waits for the command that changed this.
    if KINDS.load(Ordering::Relaxed) & kind == 0 {
        return false;
    }
    let number = ASKED.fetch_add(1, Ordering::Relaxed) + 1;
    let nth = NTH.load(Ordering::Relaxed);
    let failed = nth == 0 || nth == number;
    if failed {
        FAILED.fetch_add(1, Ordering::Relaxed);
    }
    failed
}

/// Makes allocations of these kinds fail from now on: each one if `nth` is 0, else the `nth` only.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn SnaplessRigFailAllocations(kinds: u32, nth: u64) {
    KINDS.store(0, Ordering::Relaxed);
    NTH.store(nth, Ordering::Relaxed);
    ASKED.store(0, Ordering::Relaxed);
    FAILED.store(0, Ordering::Relaxed);
    KINDS.store(kinds, Ordering::Relaxed);
}

/// Reports the allocations since, and those that the driver has not freed.
///
/// # Safety
/// `memory` is valid for a write.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn SnaplessRigMemory(memory: *mut Memory) {
    let counts = Memory {
        asked: ASKED.load(Ordering::Relaxed),
        failed: FAILED.load(Ordering::Relaxed),
        outstanding: ledger::outstanding(),
    };
    // SAFETY: the caller says so.
    unsafe { memory.write(counts) };
}
