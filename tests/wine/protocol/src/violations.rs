//! The log of violations that the rig's KMDF writes.
//!
//! The rule: after a run without violations this file does not exist or is empty. The rig only
//! appends to it; a run starts with a fresh prefix.

/// The log as the drivers name it.
pub const LOG_NT_PATH: &str = r"\??\C:\windows\temp\snapless-rig-violations.log";

/// The log, relative to a Wine prefix, as the host finds it.
pub const LOG_IN_PREFIX: &str = "drive_c/windows/temp/snapless-rig-violations.log";

/// How every report begins, here and in the debugger's output.
pub const PREFIX: &str = "KMDF RIG: violation: ";
