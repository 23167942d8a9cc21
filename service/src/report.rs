//! The report of a pipeline: a JSON file per volume that `snapless status` reads.
//!
//! Rule: a reader sees a whole report or none, as the file is replaced and never rewritten in
//! place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use snapless_wire::id::VolumeGuid;

use crate::files::{self, Durability, FileError, replace};
use crate::verification::Verification;

/// Version of the file format. Readers skip other versions.
pub const REPORT_VERSION: u32 = 1;
/// Suffix of a report's file name.
pub const REPORT_SUFFIX: &str = ".status.json";

/// What a pipeline does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// Opening the driver, connecting to the server, claiming a session.
    Connecting,
    /// Draining and sending.
    Streaming,
    /// Waiting before the next attempt; `last_error` says why.
    BackingOff,
    /// An administrator has paused the volume: nothing is sent.
    Paused,
    /// An administrator ended the session: the volume is no longer protected.
    Ended,
    /// The service has stopped; the driver keeps the session until the next start.
    Stopped,
}

/// The report of a pipeline. Counts begin with the start of the service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u32,
    /// The volume's GUID at the server.
    pub volume: String,
    /// The volume's device, once known.
    pub device: Option<String>,
    /// The session.
    pub session: Option<String>,
    /// The server's address.
    pub server: String,
    /// What the pipeline does.
    pub activity: Activity,
    /// Why the last attempt failed; `None` after a success.
    pub last_error: Option<String>,
    /// Bytes drained from the driver.
    pub bytes_drained: u64,
    /// Bytes sent to the server, with headers.
    pub bytes_sent: u64,
    /// Payload bytes of zeros that were not sent.
    pub bytes_elided: u64,
    /// Payload bytes that the server had already, and that were not sent.
    #[serde(default)]
    pub bytes_unchanged: u64,
    /// Bytes that compression has saved on the link.
    #[serde(default)]
    pub bytes_compressed: u64,
    /// Frames sent.
    pub frames_sent: u64,
    /// Connections that the server welcomed.
    pub connections: u64,
    /// The last acknowledged epoch.
    pub acknowledged_epoch: u64,
    /// The last acknowledged record.
    pub acknowledged_seq: u64,
    /// The last record that verifies the copy, of those that were drained; 0 without one.
    #[serde(default)]
    pub checked_seq: u64,
    /// What the server has said of the last verification of the copy; `None` if nothing yet.
    #[serde(default)]
    pub verification: Option<Verification>,
    /// The latest instant that the server can restore, in milliseconds since 1970-01-01 UTC on this
    /// machine's clock; `None` if there is none yet, or the server has not said.
    #[serde(default)]
    pub latest_point_unix_ms: Option<u64>,
    /// The time of writing in milliseconds since 1970-01-01 UTC.
    pub written_unix_ms: u64,
}

impl Report {
    /// The report's file in `state_dir`.
    pub fn path(&self, state_dir: &Path) -> PathBuf {
        state_dir.join(format!("{}{REPORT_SUFFIX}", self.volume))
    }

    /// Removes the report of a volume from `state_dir`.
    pub fn remove(state_dir: &Path, volume: VolumeGuid) -> io::Result<()> {
        match fs::remove_file(state_dir.join(format!("{volume}{REPORT_SUFFIX}"))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Replaces the report's file in `state_dir`.
    pub fn write(&self, state_dir: &Path) -> io::Result<()> {
        replace(&self.path(state_dir), &self.to_bytes()?, Durability::BestEffort)
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// A number that JSON has not.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        Ok(serde_json::to_vec_pretty(self)?)
    }

    /// Reads the bytes of a file; `None` for one of another version.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, String> {
        let report: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        Ok(Some(report).filter(|report| report.version == REPORT_VERSION))
    }
}

/// The reports in a folder.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reports {
    /// Those that can be read, in order of their volumes.
    pub sound: Vec<Report>,
    /// Files that are no whole report: a power loss may leave half of one.
    pub damaged: Vec<DamagedReport>,
}

/// A file that is no whole report.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DamagedReport {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// The reports in `state_dir`; none if the folder does not exist.
pub fn read_all(state_dir: &Path) -> io::Result<Reports> {
    let entries = match fs::read_dir(state_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Reports::default()),
        entries => entries?,
    };
    let mut reports = Reports::default();
    for entry in entries {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().ends_with(REPORT_SUFFIX) {
            continue;
        }
        let text = match files::read(&entry.path()) {
            // Removed since the folder was listed.
            Ok(None) => continue,
            Ok(Some(text)) => text,
            Err(FileError::Other(why)) => {
                reports.damaged.push(DamagedReport { file: entry.path(), why });
                continue;
            }
            Err(FileError::System(error)) => return Err(error),
        };
        match Report::parse(&text) {
            Ok(report) => reports.sound.extend(report),
            Err(why) => reports.damaged.push(DamagedReport { file: entry.path(), why }),
        }
    }
    reports.sound.sort_by(|a, b| a.volume.cmp(&b.volume));
    reports.damaged.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(reports)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(volume: &str) -> Report {
        Report {
            version: REPORT_VERSION,
            volume: volume.into(),
            device: None,
            session: None,
            server: "backup:4850".into(),
            activity: Activity::BackingOff,
            last_error: Some("no route".into()),
            bytes_drained: 1,
            bytes_sent: 2,
            bytes_elided: 3,
            bytes_unchanged: 5,
            bytes_compressed: 6,
            frames_sent: 4,
            connections: 5,
            acknowledged_epoch: 6,
            acknowledged_seq: 7,
            checked_seq: 0,
            verification: None,
            latest_point_unix_ms: Some(9),
            written_unix_ms: 8,
        }
    }

    #[test]
    fn reports_are_read_as_written_and_sorted() {
        let folder = tempfile::tempdir().unwrap();
        report("b").write(folder.path()).unwrap();
        report("a").write(folder.path()).unwrap();
        report("a").write(folder.path()).unwrap();
        let read = read_all(folder.path()).unwrap();
        assert_eq!((read.sound, read.damaged), (vec![report("a"), report("b")], vec![]));
    }

    #[test]
    fn a_report_that_is_torn_anywhere_is_named_and_hides_no_other() {
        let folder = tempfile::tempdir().unwrap();
        report("a").write(folder.path()).unwrap();
        report("b").write(folder.path()).unwrap();
        let torn = report("a").path(folder.path());
        let whole = fs::read(&torn).unwrap();
        for len in 0..whole.len() {
            for filler in [0, 1] {
                // As a power loss leaves it: the end is missing, or zeros.
                let mut bytes = whole[..len].to_vec();
                bytes.resize(len + filler * (whole.len() - len), 0);
                fs::write(&torn, bytes).unwrap();
                let read = read_all(folder.path()).unwrap();
                assert_eq!(read.sound, [report("b")], "{len} bytes");
                assert_eq!(read.damaged.len(), 1, "{len} bytes");
                assert_eq!(read.damaged[0].file, torn);
            }
        }
    }

    #[test]
    fn other_files_and_other_versions_are_skipped() {
        let folder = tempfile::tempdir().unwrap();
        Report { version: 99, ..report("a") }.write(folder.path()).unwrap();
        fs::write(folder.path().join("a.session.json"), "{").unwrap();
        assert_eq!(read_all(folder.path()).unwrap(), Reports::default());
        assert_eq!(read_all(&folder.path().join("absent")).unwrap(), Reports::default());
    }
}
