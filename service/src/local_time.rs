//! The machine's local time.
//!
//! The system is asked each time, so that its rules for time zone and daylight saving time count as
//! they are now; a copy of the time zone database has no part in this.

use std::sync::Arc;

use jiff::civil::DateTime;

/// Tells the local time.
pub type LocalClock = Arc<dyn Fn() -> DateTime + Send + Sync>;

/// The machine's clock, to the second.
#[cfg(windows)]
pub fn machine_clock() -> LocalClock {
    Arc::new(now)
}

#[cfg(windows)]
fn now() -> DateTime {
    use windows_sys::Win32::Foundation::SYSTEMTIME;
    use windows_sys::Win32::System::SystemInformation::GetLocalTime;

    let mut time = SYSTEMTIME::default();
    // SAFETY: the structure is writable and lives until the call ends.
    unsafe { GetLocalTime(&raw mut time) };
    let of_day = [time.wMonth, time.wDay, time.wHour, time.wMinute, time.wSecond];
    let [month, day, hour, minute, second] = of_day.map(|it| i8::try_from(it).unwrap_or(0));
    let year = i16::try_from(time.wYear).unwrap_or(0);
    // The system's times are valid.
    DateTime::new(year, month, day, hour, minute, second, 0).unwrap_or_default()
}

#[cfg(all(test, windows))]
mod tests {
    use super::*;

    #[test]
    fn the_machine_tells_a_time_that_goes_on() {
        let clock = machine_clock();
        let before = clock();
        assert!(before > jiff::civil::date(2026, 1, 1).at(0, 0, 0, 0), "{before}");
        assert!(clock() >= before);
    }
}
