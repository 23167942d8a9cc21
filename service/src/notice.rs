//! What a person must know: logged, and told to Windows' event log.
//!
//! Rule: one notice per change of state, not per attempt: an event log is read by people. Below that, use `log`
//! directly.

#[cfg(windows)]
use crate::event_log;

/// Protection began, went on or ended as asked.
pub fn info(text: &str) {
    log::info!("{text}");
    #[cfg(windows)]
    event_log::report(event_log::Severity::Information, text);
}

/// Protection goes on, but not as a person may think.
pub fn warn(text: &str) {
    log::warn!("{text}");
    #[cfg(windows)]
    event_log::report(event_log::Severity::Warning, text);
}

/// A volume is not protected now.
pub fn error(text: &str) {
    log::error!("{text}");
    #[cfg(windows)]
    event_log::report(event_log::Severity::Error, text);
}
