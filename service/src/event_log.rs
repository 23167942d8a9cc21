//! One line into Windows' application event log.
//!
//! The source's messages are in `EventCreate.exe`, which every Windows has: its message 1 to 1000 are each
//! the text that comes with the event (the installer registers it). Rule: a failure to report is logged and
//! goes no further.

use std::io;
use std::ptr;

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::EventLog::{
    DeregisterEventSource, EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE, EVENTLOG_WARNING_TYPE,
    RegisterEventSourceW, ReportEventW,
};

use crate::SERVICE_NAME;
use crate::event::{Event, Severity};

/// Reports `text` under the event's number.
pub fn report(event: Event, text: &str) {
    if let Err(error) = Source::open().and_then(|source| source.report(event, text)) {
        log::debug!("the event log did not take an event: {error}");
    }
}

/// An open event source.
struct Source(HANDLE);

impl Source {
    fn open() -> io::Result<Self> {
        let name = with_nul(SERVICE_NAME);
        // SAFETY: `name` ends with a zero; null stands for this machine.
        let handle = unsafe { RegisterEventSourceW(ptr::null(), name.as_ptr()) };
        if handle.is_null() { Err(io::Error::last_os_error()) } else { Ok(Self(handle)) }
    }

    fn report(&self, event: Event, text: &str) -> io::Result<()> {
        let kind = match event.severity() {
            Severity::Information => EVENTLOG_INFORMATION_TYPE,
            Severity::Warning => EVENTLOG_WARNING_TYPE,
            Severity::Error => EVENTLOG_ERROR_TYPE,
        };
        let id = event.number().into();
        let text = with_nul(text);
        let strings = [text.as_ptr()];
        // SAFETY: one string is announced and given, ended by a zero; no user, no raw data.
        let done = unsafe {
            ReportEventW(self.0, kind, 0, id, ptr::null_mut(), 1, 0, strings.as_ptr(), ptr::null())
        };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // SAFETY: the handle is open and closed only here.
        unsafe { DeregisterEventSource(self.0) };
    }
}

fn with_nul(text: &str) -> Vec<u16> {
    text.encode_utf16().filter(|unit| *unit != 0).chain([0]).collect()
}
