//! Waiting for a condition with a time limit.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How often a condition is checked.
const POLL: Duration = Duration::from_millis(2);

/// Calls `check` until it returns a value; an error that names `what` after `limit`.
pub fn wait_for<T>(
    what: &'static str,
    limit: Duration,
    mut check: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(value) = check()? {
            return Ok(value);
        }
        if began.elapsed() > limit {
            return Err(Error::Slow { what, seconds: limit.as_secs() });
        }
        std::thread::sleep(POLL);
    }
}
