//! How long the steps may take.
//!
//! Windows has limits of its own (docs: `CommitSnapshots`, `VSS_E_HOLD_WRITES_TIMEOUT`, "Overview
//! of Processing a Backup Under VSS"): a writer gives up when it is frozen for 60 s, and the kernel
//! releases the writes that it holds after 10 s, which ends the freeze. `CommitSnapshots` should
//! take less than a second; ours asks the driver one question.

use std::time::Duration;

/// For the writers to say what they have.
pub const GATHER: Duration = Duration::from_mins(2);
/// For the writers to prepare. Nothing is frozen yet.
pub const PREPARE: Duration = Duration::from_mins(5);
/// For the freeze as a whole: the writers' 60 s, twice (to freeze, and to thaw), and a margin.
pub const FREEZE: Duration = Duration::from_mins(3);
/// For the writers to end the backup. Nothing is frozen any more.
pub const COMPLETE: Duration = Duration::from_mins(2);
