//! Application-consistent instants by VSS *without a shadow copy*.
//!
//! VSS freezes the applications that have a writer, flushes the volume and holds its writes, and
//! then has a *provider* make a shadow copy. The provider is ours: it takes an instant, which is a
//! question to the driver, and makes no copy ([`conductor`] has the steps).
//!
//! Rule: writers that were frozen are thawed, whatever fails, and within the limits of [`limits`];
//! an instant counts only if it was taken while they were frozen and no writer failed.

// The requestor's and the provider's interfaces are calls of Windows.
#![cfg_attr(not(windows), forbid(unsafe_code))]

pub mod code;
pub mod commit;
pub mod conductor;
pub mod ids;
pub mod limits;
#[cfg(windows)]
mod windows;
pub mod writer;

use conductor::{FreezeError, Frozen};

/// Has the writers frozen that have files on a volume, `take` called once meanwhile, and the
/// writers thawed. `volume`: its name as `\\?\Volume{GUID}\`. `take` must do no input or output on
/// a disk: the volume's writes are held.
///
/// # Errors
/// [`FreezeError`]; the writers are thawed.
pub fn with_writers_frozen<T, E>(
    volume: &str,
    take: impl Fn() -> Result<T, E> + Send + Sync + 'static,
) -> Result<Frozen<T>, FreezeError<E>>
where
    T: Send + 'static,
    E: Send + 'static,
{
    let commit = commit::Commit::new(take);
    #[cfg(windows)]
    return windows::freeze(volume, &commit);
    #[cfg(not(windows))]
    {
        _ = (volume, commit);
        Err(FreezeError::NoVss)
    }
}

/// Removes what a service that ended in the midst of a freeze has left registered with VSS, where
/// it would be in the way of other backup programs.
///
/// # Errors
/// Why it cannot be removed.
pub fn clean_up() -> Result<(), conductor::StepError> {
    #[cfg(windows)]
    return windows::clean_up();
    #[cfg(not(windows))]
    Ok(())
}
