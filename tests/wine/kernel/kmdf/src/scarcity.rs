//! Memory that runs out when a scenario says so.
//!
//! The rule: what is refused is what a kernel without memory refuses, with the answer that is documented for it; nothing
//! else changes. The driver under test is the only one that it is refused to.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use protocol::memory::{Memory, Scarcity};

use crate::ledger;

/// What is asked for.
#[derive(Clone, Copy)]
pub(crate) enum Wanted {
    /// Pool, a packet, a memory descriptor list, a thread.
    Kernel,
    /// System address space for somebody's buffer.
    Mapping,
    /// An object of the framework.
    Framework,
}

/// The kinds that are refused, as `Scarcity` numbers them.
static KINDS: AtomicU32 = AtomicU32::new(0);
/// Which of them, counted from 1; 0 for each.
static NTH: AtomicU64 = AtomicU64::new(0);
static ASKED: AtomicU64 = AtomicU64::new(0);
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// Whether this has to fail. Counts, so it is to be asked once for each.
pub(crate) fn refuses(wanted: Wanted) -> bool {
    let kind = match wanted {
        Wanted::Kernel => Scarcity::KERNEL,
        Wanted::Mapping => Scarcity::MAPPINGS,
        Wanted::Framework => Scarcity::FRAMEWORK,
    };
    // Relaxed, here and below: a scenario waits for the command that changed this before it relies on it.
    if KINDS.load(Ordering::Relaxed) & kind == 0 {
        return false;
    }
    let number = ASKED.fetch_add(1, Ordering::Relaxed) + 1;
    let nth = NTH.load(Ordering::Relaxed);
    let refused = nth == 0 || nth == number;
    if refused {
        REFUSED.fetch_add(1, Ordering::Relaxed);
    }
    refused
}

/// Refuses these kinds from now on: each one if `nth` is 0, else the `nth` only. Counts from 0 again.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn SnaplessRigScarcity(kinds: u32, nth: u64) {
    KINDS.store(0, Ordering::Relaxed);
    NTH.store(nth, Ordering::Relaxed);
    ASKED.store(0, Ordering::Relaxed);
    REFUSED.store(0, Ordering::Relaxed);
    KINDS.store(kinds, Ordering::Relaxed);
}

/// Says what was asked for and refused since, and what the driver has not given back.
///
/// # Safety
/// `memory` is valid for a write.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn SnaplessRigMemory(memory: *mut Memory) {
    let said = Memory {
        asked: ASKED.load(Ordering::Relaxed),
        refused: REFUSED.load(Ordering::Relaxed),
        outstanding: ledger::outstanding(),
    };
    // SAFETY: the caller says so.
    unsafe { memory.write(said) };
}
