//! Where the rig's KMDF leaves word of a rule that the driver under test broke.
//!
//! The rule: after a run without violations this file does not exist or is empty. It is appended to, never emptied,
//! by the rig; whoever starts a run removes it first.

/// The log as the drivers name it.
pub const LOG_NT_PATH: &str = r"\??\C:\windows\temp\snapless-rig-violations.log";

/// The log, relative to a Wine prefix, as the host finds it.
pub const LOG_IN_PREFIX: &str = "drive_c/windows/temp/snapless-rig-violations.log";

/// How every report begins, here and in the debugger's output.
pub const PREFIX: &str = "KMDF RIG: violation: ";
