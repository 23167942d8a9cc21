//! The IRQL of each thread, kept in a thread-local word, since Wine has no IRQL.
//!
//! The rule: a call with a level limit is checked wherever it comes from: under a spin lock, from a
//! completion routine, or from a dispatch routine that storage may enter at DISPATCH_LEVEL.

use nt::thread::ThreadWord;

use crate::checks::violation;

/// An interrupt request level.
pub(crate) type Irql = u8;

/// `PASSIVE_LEVEL`
pub(crate) const PASSIVE_LEVEL: Irql = 0;
/// `APC_LEVEL`
pub(crate) const APC_LEVEL: Irql = 1;
/// `DISPATCH_LEVEL`
pub(crate) const DISPATCH_LEVEL: Irql = 2;

static LEVEL: ThreadWord = ThreadWord::new();

/// The level of the calling thread.
pub(crate) fn current() -> Irql {
    LEVEL.get() as Irql
}

/// Sets the level of the calling thread and returns the one before.
pub(crate) fn set(level: Irql) -> Irql {
    let before = current();
    LEVEL.set(usize::from(level));
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
pub(crate) fn require_at_most(function: &str, highest: Irql) {
    let level = current();
    if level > highest {
        let (level, highest) = (name(level), name(highest));
        violation!(Irql, function, "called at {level}, allowed at most at {highest}");
    }
}

/// Reports a call below DISPATCH_LEVEL that needs it.
pub(crate) fn require_dispatch(function: &str) {
    let level = current();
    if level < DISPATCH_LEVEL {
        violation!(Irql, function, "called at {}, allowed at DISPATCH_LEVEL only", name(level));
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

/// Raises the calling thread to DISPATCH_LEVEL and returns the level before. The test volume calls
/// this around each completion: a disk's completions reach the driver under test at that level.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn SnaplessRigRaiseIrql() -> u8 {
    set(DISPATCH_LEVEL)
}

/// Sets the calling thread's level back.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn SnaplessRigLowerIrql(level: u8) {
    set(level);
}
