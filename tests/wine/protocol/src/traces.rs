//! The log of trace events of the driver under test, one a line: the event's name, its level, and
//! each field as `name=value`.

/// The log as the drivers name it.
pub const LOG_NT_PATH: &str = r"\??\C:\windows\temp\snapless-rig-traces.log";

/// The log, relative to a Wine prefix, as the host finds it.
pub const LOG_IN_PREFIX: &str = "drive_c/windows/temp/snapless-rig-traces.log";
