//! Windows' application event log.
//!
//! The texts are in the service's program, which the installer registers as the message file of the
//! event source. Rule: a failure here is logged and affects nothing else.

use std::io;
use std::ptr;

use windows_strings::HSTRING;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::EventLog::{
    DeregisterEventSource, EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE, EVENTLOG_WARNING_TYPE,
    RegisterEventSourceW, ReportEventW,
};

use crate::event::{Event, SOURCE, Severity};

/// Reports `text` under the event's number.
pub fn report(event: Event, text: &str) {
    if let Err(error) = Source::open().and_then(|source| source.report(event, text)) {
        log::debug!("cannot write to the event log: {error}");
    }
}

/// An open event source.
struct Source(HANDLE);

impl Source {
    fn open() -> io::Result<Self> {
        let name = HSTRING::from(SOURCE);
        // SAFETY: `name` is NUL-terminated; a null server name means this machine.
        let handle = unsafe { RegisterEventSourceW(ptr::null(), name.as_ptr()) };
        if handle.is_null() { Err(io::Error::last_os_error()) } else { Ok(Self(handle)) }
    }

    fn report(&self, event: Event, text: &str) -> io::Result<()> {
        let kind = match event.severity() {
            Severity::Information => EVENTLOG_INFORMATION_TYPE,
            Severity::Warning => EVENTLOG_WARNING_TYPE,
            Severity::Error => EVENTLOG_ERROR_TYPE,
        };
        let id = event.message_id();
        let text = HSTRING::from(text);
        let strings = [text.as_ptr()];
        // SAFETY: `strings` has the one NUL-terminated string; no user SID and no raw data are
        // passed.
        let done = unsafe {
            ReportEventW(self.0, kind, 0, id, ptr::null_mut(), 1, 0, strings.as_ptr(), ptr::null())
        };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // SAFETY: the handle is open and is closed only here.
        unsafe { DeregisterEventSource(self.0) };
    }
}
