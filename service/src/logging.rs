//! The service's log file: `service.log`, a few older ones beside it, never more than a few
//! megabytes in all.
//!
//! Rule: the log cannot fill the disk that it describes.

use std::path::Path;

use flexi_logger::{
    Cleanup, Criterion, DeferredNow, Duplicate, FileSpec, FlexiLoggerError, Logger, LoggerHandle,
    Naming,
};
use log::Record;

/// A file is closed when it has this many bytes.
pub const FILE_LEN_MAX: u64 = 8 << 20;
/// Closed files that are kept.
pub const FILES_KEPT: usize = 4;

/// Who reads the log besides the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// Nobody.
    FileOnly,
    /// A person at a console: standard error too.
    Console,
}

/// Starts logging into `folder`. Logging ends when the handle is dropped.
pub fn start(folder: &Path, audience: Audience) -> Result<LoggerHandle, FlexiLoggerError> {
    // The infix is the whole name: flexi_logger has no other way to a fixed name for the current file.
    let file = FileSpec::default().directory(folder).suppress_basename().suffix("log");
    let duplicate = match audience {
        Audience::FileOnly => Duplicate::None,
        Audience::Console => Duplicate::Info,
    };
    Logger::try_with_str("info")?
        .log_to_file(file.suppress_timestamp())
        .append()
        .rotate(
            Criterion::Size(FILE_LEN_MAX),
            Naming::TimestampsCustomFormat {
                current_infix: Some("service"),
                format: "service-%Y-%m-%d_%H-%M-%S",
            },
            Cleanup::KeepLogFiles(FILES_KEPT),
        )
        .duplicate_to_stderr(duplicate)
        .format(line)
        .use_utc()
        .start()
}

fn line(
    out: &mut dyn std::io::Write,
    now: &mut DeferredNow,
    record: &Record<'_>,
) -> std::io::Result<()> {
    let time = now.format_rfc3339();
    write!(out, "{time} {:<5} {}", record.level(), record.args())
}
