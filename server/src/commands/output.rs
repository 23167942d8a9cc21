//! Standard output and standard error, which may be full, closed or stalled.
//!
//! A line that cannot be printed is no panic: the first failure is kept, nothing more is printed,
//! and [`check`] tells it at the end.
//!
//! A signal that comes while a reader does not read ends the program: nothing else could.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};

/// A write that takes longer after a signal waits for a reader that does not read.
const PATIENCE: Duration = Duration::from_millis(200);

/// Prints a line of the report.
macro_rules! outln {
    ($($argument:tt)*) => {
        $crate::commands::output::line(format_args!($($argument)*))
    };
}

/// Prints a line on standard error, if that can be.
macro_rules! errln {
    ($($argument:tt)*) => {
        $crate::commands::output::note(format_args!($($argument)*))
    };
}

pub(super) use {errln, outln};

/// Why the report is not whole.
static FAILURE: Mutex<Option<io::Error>> = Mutex::new(None);
/// How many writes have begun and ended: odd while one is under way.
static WRITES: AtomicU64 = AtomicU64::new(0);

fn failure() -> MutexGuard<'static, Option<io::Error>> {
    FAILURE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See [`outln`].
pub(super) fn line(line: fmt::Arguments<'_>) {
    write(|| writeln!(anstream::stdout().lock(), "{line}"));
}

/// Prints a report as a whole.
pub(super) fn whole(text: &[u8]) {
    write(|| {
        let mut out = io::stdout().lock();
        out.write_all(text).and_then(|()| out.flush())
    });
}

fn write(write: impl FnOnce() -> io::Result<()>) {
    let mut failure = failure();
    if failure.is_none() {
        *failure = interruptible(write).err();
    }
}

/// See [`errln`].
pub(super) fn note(line: fmt::Arguments<'_>) {
    // There is nowhere to say that it failed.
    drop(interruptible(|| writeln!(anstream::stderr().lock(), "{line}")));
}

fn interruptible<T>(write: impl FnOnce() -> T) -> T {
    // Relaxed: the number carries no other data.
    WRITES.fetch_add(1, Ordering::Relaxed);
    let done = write();
    WRITES.fetch_add(1, Ordering::Relaxed);
    done
}

/// Waits, after a signal, and ends the program with this code if a write does not end.
pub(super) fn end_if_stalled(code: u8) -> ! {
    loop {
        let seen = WRITES.load(Ordering::Relaxed);
        thread::sleep(PATIENCE);
        if seen % 2 == 1 && WRITES.load(Ordering::Relaxed) == seen {
            std::process::exit(code.into());
        }
    }
}

/// Tells, once, if anything of the report was not printed.
///
/// # Errors
/// [`Error::Report`].
pub(super) fn check() -> Result<()> {
    failure().take().map_or(Ok(()), |error| Err(Error::Report(error)))
}
