//! The IRQL that each thread would run at, kept beside the thread, since Wine has no IRQL.
//!
//! The rule: what must be called at PASSIVE_LEVEL (or below DISPATCH_LEVEL) is caught when it is called with a spin
//! lock held, from a completion routine, or from a dispatch routine that storage may enter at DISPATCH_LEVEL.

use core::sync::atomic::{AtomicU32, Ordering};

use nt::win32::{TLS_OUT_OF_INDEXES, TlsAlloc, TlsGetValue, TlsSetValue};

use crate::checks::{Rule, violation};

/// An interrupt request level.
pub(crate) type Irql = u8;

/// `PASSIVE_LEVEL`
pub(crate) const PASSIVE_LEVEL: Irql = 0;
/// `APC_LEVEL`
pub(crate) const APC_LEVEL: Irql = 1;
/// `DISPATCH_LEVEL`
pub(crate) const DISPATCH_LEVEL: Irql = 2;

static SLOT: AtomicU32 = AtomicU32::new(TLS_OUT_OF_INDEXES);

/// The level of the calling thread.
pub(crate) fn current() -> Irql {
    // SAFETY: the slot was allocated by `initialize`.
    unsafe { TlsGetValue(slot()) as usize as Irql }
}

/// Sets the level of the calling thread and returns the one before.
pub(crate) fn set(level: Irql) -> Irql {
    let before = current();
    // SAFETY: the slot was allocated by `initialize`.
    unsafe { TlsSetValue(slot(), usize::from(level) as *mut _) };
    before
}

/// A stretch of code that runs at a raised level.
#[must_use = "the level falls again when this is dropped"]
pub(crate) struct Raised {
    before: Irql,
}

impl Raised {
    /// Raises the level, if it is not that high already.
    pub(crate) fn to(level: Irql) -> Self {
        Self { before: set(level.max(current())) }
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        set(self.before);
    }
}

/// Reports a call above the highest level that it allows.
pub(crate) fn require_at_most(function: &'static str, highest: Irql) {
    let level = current();
    if level > highest {
        violation(
            Rule::Irql,
            function,
            format_args!("called at {}, allowed at most at {}", name(level), name(highest)),
        );
    }
}

/// Reports a call below the level that it needs.
pub(crate) fn require_at_least(function: &'static str, lowest: Irql) {
    let level = current();
    if level < lowest {
        violation(
            Rule::Irql,
            function,
            format_args!("called at {}, allowed from {} on", name(level), name(lowest)),
        );
    }
}

/// A level's name.
pub(crate) fn name(level: Irql) -> &'static str {
    match level {
        PASSIVE_LEVEL => "PASSIVE_LEVEL",
        APC_LEVEL => "APC_LEVEL",
        DISPATCH_LEVEL => "DISPATCH_LEVEL",
        _ => "a level above DISPATCH_LEVEL",
    }
}

fn slot() -> u32 {
    // Relaxed: the slot number is all there is to see, and losers of the race below take the winner's.
    let slot = SLOT.load(Ordering::Relaxed);
    if slot != TLS_OUT_OF_INDEXES {
        return slot;
    }
    // SAFETY: has no preconditions.
    let fresh = unsafe { TlsAlloc() };
    assert!(fresh != TLS_OUT_OF_INDEXES, "the device process has no thread-local slot left");
    // A slot that loses the race stays unused; there is at most one per racing thread, once.
    SLOT.compare_exchange(TLS_OUT_OF_INDEXES, fresh, Ordering::Relaxed, Ordering::Relaxed)
        .map_or_else(|winner| winner, |_| fresh)
}
