//! Calls that are made until they are carried out, and work whose panic is an error like others.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use snapless_driver_client::DriverError;

use crate::stop::StopSignal;

/// Pause before a call to the driver is repeated.
const REPEAT_PAUSE: Duration = Duration::from_millis(100);

/// Calls the driver until it has carried the call out, unless the stream ends.
///
/// A call without memory was not begun. A cancelled one has taken no record: the driver completes
/// only drains that wait as cancelled. The system may cancel a call that this program did not.
pub fn repeat<T>(
    halted: &StopSignal,
    mut ask: impl FnMut() -> Result<T, DriverError>,
) -> Result<T, DriverError> {
    loop {
        match ask() {
            Err(DriverError::NoMemory(_) | DriverError::Cancelled(_))
                if !halted.wait_for(REPEAT_PAUSE) => {}
            answer => return answer,
        }
    }
}

/// What `work` returns, or what its panic says.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|panic| panic_text(&*panic))
}

/// What a panic says.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without text").to_owned()
}
