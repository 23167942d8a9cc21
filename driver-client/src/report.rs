//! The service's own counters for one volume, in a JSON file that `snapless status` reads.
//!
//! Rule: a reader sees a whole report or none: the file is replaced, never rewritten in place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Version of the file. Readers skip others.
pub const REPORT_VERSION: u32 = 1;
/// Ending of a report's file name.
pub const REPORT_SUFFIX: &str = ".status.json";

/// What a pipeline is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// Looking for the driver, the server, the session.
    Connecting,
    /// Draining and sending.
    Streaming,
    /// Waiting before the next attempt; the report's error says why.
    BackingOff,
    /// The session was ended by an administrator; nothing more is protected.
    Ended,
    /// The service has stopped; the driver keeps the session for the next start.
    Stopped,
}

/// One pipeline's report.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u32,
    /// GUID under which the server knows the volume.
    pub volume: String,
    /// Device name, once it was found.
    pub device: Option<String>,
    /// Session that the pipeline serves.
    pub session: Option<String>,
    /// The server's address.
    pub server: String,
    /// What the pipeline is doing.
    pub activity: Activity,
    /// Why the last attempt ended; `None` if none has failed since the last success.
    pub last_error: Option<String>,
    /// Bytes that the driver handed over, since the service started.
    pub bytes_drained: u64,
    /// Bytes sent to the server, with headers, since the service started.
    pub bytes_sent: u64,
    /// Payload bytes that were all zeros and did not travel.
    pub bytes_elided: u64,
    /// Frames sent.
    pub frames_sent: u64,
    /// Connections that reached the server's welcome.
    pub connections: u64,
    /// Last epoch that the server acknowledged.
    pub acknowledged_epoch: u64,
    /// Last record that the server acknowledged.
    pub acknowledged_seq: u64,
    /// When this was written: milliseconds since 1970-01-01 UTC.
    pub written_unix_ms: u64,
}

impl Report {
    /// The report's file in `state_dir`.
    pub fn path(&self, state_dir: &Path) -> PathBuf {
        state_dir.join(format!("{}{REPORT_SUFFIX}", self.volume))
    }

    /// Replaces the report's file in `state_dir`.
    pub fn write(&self, state_dir: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        replace(&self.path(state_dir), &text, Durability::BestEffort)
    }
}

/// All whole reports of this version in `state_dir`; none if the folder is not there.
pub fn read_all(state_dir: &Path) -> io::Result<Vec<Report>> {
    let entries = match fs::read_dir(state_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut reports = Vec::new();
    for entry in entries {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().ends_with(REPORT_SUFFIX) {
            continue;
        }
        let text = match fs::read(entry.path()) {
            // Replaced between the listing and the reading.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            text => text?,
        };
        let report = serde_json::from_slice::<Report>(&text).map_err(io::Error::from)?;
        if report.version == REPORT_VERSION {
            reports.push(report);
        }
    }
    reports.sort_by(|a, b| a.volume.cmp(&b.volume));
    Ok(reports)
}

/// Whether a file must have reached the disk before it takes the old one's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// It must.
    Synced,
    /// The next one comes soon.
    BestEffort,
}

/// Puts `content` in `path` as a whole: written beside it, then renamed.
pub fn replace(path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    use io::Write;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let mut file = fs::File::create(&beside)?;
    file.write_all(content)?;
    if durability == Durability::Synced {
        file.sync_all()?;
    }
    drop(file);
    fs::rename(&beside, path)
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
            frames_sent: 4,
            connections: 5,
            acknowledged_epoch: 6,
            acknowledged_seq: 7,
            written_unix_ms: 8,
        }
    }

    #[test]
    fn reports_come_back_as_written_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        report("b").write(folder.path()).unwrap();
        report("a").write(folder.path()).unwrap();
        report("a").write(folder.path()).unwrap();
        assert_eq!(read_all(folder.path()).unwrap(), [report("a"), report("b")]);
    }

    #[test]
    fn other_files_and_other_versions_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        Report { version: 99, ..report("a") }.write(folder.path()).unwrap();
        fs::write(folder.path().join("a.session.json"), "{").unwrap();
        assert_eq!(read_all(folder.path()).unwrap(), []);
        assert_eq!(read_all(&folder.path().join("absent")).unwrap(), []);
    }
}
