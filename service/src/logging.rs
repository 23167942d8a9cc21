//! The service's log: `service.log` and a few older files beside it.
//!
//! Rule: the log files have a bounded size in total, so that they cannot fill the disk.

use std::path::Path;

use flexi_logger::{
    Cleanup, Criterion, DeferredNow, Duplicate, FileSpec, FlexiLoggerError, Logger, LoggerHandle,
    Naming,
};
use log::Record;
use snapless_trust::private;

/// The log is rotated at this many bytes.
pub const FILE_LEN_MAX: u64 = 8 << 20;
/// Rotated files that are kept.
pub const FILES_KEPT: usize = 4;

/// Where log lines go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// The file.
    FileOnly,
    /// The file and standard error.
    Console,
}

/// Starts logging into `folder`. Logging ends when the handle is dropped.
pub fn start(folder: &Path, audience: Audience) -> Result<LoggerHandle, FlexiLoggerError> {
    // Its files are written under the umask: the folder keeps others out.
    private::create_folders(folder)?;
    // flexi_logger has no other way to a fixed name of the current file than an infix.
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
