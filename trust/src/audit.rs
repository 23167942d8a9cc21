//! The audit log: one JSON line for each act, appended and synced.
//!
//! Acts that anybody on the network can cause are limited in number, so that they cannot fill the
//! disk; those left out are counted.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::TrustError;
use crate::identity::MachineId;
use crate::{private, regular};

/// The log's name in the authority's folder.
pub const AUDIT_FILE: &str = "audit.log";
/// Refusals in the log within [`REFUSALS_TIME`].
const REFUSALS_MAX: u32 = 60;
/// See [`REFUSALS_MAX`].
const REFUSALS_TIME: Duration = Duration::from_mins(1);
/// The longest text from outside, in bytes.
const TEXT_MAX: usize = 300;
/// Bytes that are read, from the log's end.
const END_BYTES: u64 = 2 << 20;

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// The authority was made.
    AuthorityMade,
    /// A token was made.
    TokenMade,
    /// A machine enrolled.
    Enrolled,
    /// A machine's certificate was renewed.
    Renewed,
    /// A machine or a certificate was revoked.
    Revoked,
    /// A connection was refused.
    ConnectRefused,
    /// An enrolment or a renewal was refused.
    EnrolRefused,
    /// A volume was bound to a machine.
    VolumeBound,
    /// A volume was restored.
    Restored,
    /// A machine may restore its volumes over the network for a time.
    RestoresAllowed,
    /// A machine may do so no longer.
    RestoresEnded,
    /// A machine has begun to read a point of its volume over the network.
    PointRead,
    /// A point of a volume was mounted.
    Mounted,
    /// A point of a volume got a name.
    BookmarkAdded,
    /// A group of volumes was set or removed.
    GroupSet,
    /// What is kept was set.
    RetentionSet,
    /// A name of a point was removed.
    BookmarkRemoved,
    /// Sessions were copied into another repository.
    Copied,
    /// A user of the console did something: the particulars say what.
    Console,
}

/// The log.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    refusals: Mutex<Refusals>,
}

/// Refusals of the current span of time.
#[derive(Debug)]
struct Refusals {
    since: Instant,
    count: u32,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    act: Act,
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    about: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    left_out: u32,
}

/// An act as it is in the log.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Noted {
    /// When, as RFC 3339 text.
    pub time: String,
    /// What was done: an [`Act`], perhaps one of another release.
    pub act: String,
    /// The user of the console who did it.
    pub who: Option<String>,
    /// The address from which it was asked for.
    pub peer: Option<String>,
    /// The machine that it concerns.
    pub machine: Option<String>,
    /// The particulars.
    #[serde(default)]
    pub about: String,
}

/// One act.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What was done.
    pub act: Act,
    /// The user of the console who did it.
    pub who: Option<&'a str>,
    /// The address from which it was asked for.
    pub peer: Option<&'a str>,
    /// The machine that it concerns.
    pub machine: Option<MachineId>,
    /// The particulars.
    pub about: &'a str,
}

impl Audit {
    /// The log in this folder.
    pub fn new(folder: &Path) -> Self {
        let refusals = Mutex::new(Refusals { since: Instant::now(), count: 0 });
        Self { path: folder.join(AUDIT_FILE), refusals }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends an act.
    ///
    /// # Errors
    /// [`TrustError::File`]: the act is not in the log.
    pub fn append(&self, entry: &Entry<'_>) -> Result<(), TrustError> {
        self.write(entry, 0)
    }

    /// Appends a refusal, unless there were too many just now. A log that cannot be written does
    /// not turn a refusal into anything else.
    pub fn refused(&self, entry: &Entry<'_>) {
        let Some(left_out) = self.admit() else { return };
        if let Err(error) = self.write(entry, left_out) {
            log::error!("the audit log lacks a refusal: {error}");
        }
    }

    /// The last acts, the newest first: so many at most, of the log's last 2 MiB. Lines that are
    /// none are left out.
    ///
    /// # Errors
    /// The system's. A log that is not there yet has no acts.
    pub fn end(&self, limit: usize) -> io::Result<Vec<Noted>> {
        let mut file = match regular::open_to_read(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            opened => opened?,
        };
        let begin = file.metadata()?.len().saturating_sub(END_BYTES);
        file.seek(SeekFrom::Start(begin))?;
        let mut bytes = Vec::new();
        file.take(END_BYTES).read_to_end(&mut bytes)?;
        // The first line may be half of one.
        let lines = bytes.split(|byte| *byte == b'\n').rev();
        Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).take(limit).collect())
    }

    /// How many refusals were left out before this one, or `None` if this one is left out too.
    fn admit(&self) -> Option<u32> {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left_out = 0;
        if refusals.since.elapsed() >= REFUSALS_TIME {
            left_out = refusals.count.saturating_sub(REFUSALS_MAX);
            *refusals = Refusals { since: Instant::now(), count: 0 };
        }
        refusals.count = refusals.count.saturating_add(1);
        (refusals.count <= REFUSALS_MAX).then_some(left_out)
    }

    fn write(&self, entry: &Entry<'_>, left_out: u32) -> Result<(), TrustError> {
        let line = Line {
            time: text_of(SystemTime::now()),
            act: entry.act,
            who: entry.who.map(cut),
            peer: entry.peer,
            machine: entry.machine.map(|machine| machine.to_string()),
            about: cut(entry.about),
            left_out,
        };
        let mut text = serde_json::to_vec(&line)
            .map_err(|why| TrustError::Cryptography(format!("an act cannot be written: {why}")))?;
        text.push(b'\n');
        let failed = || TrustError::file("append to", &self.path);
        let mut file = self.open().map_err(failed())?;
        // One call: lines of several processes do not mix.
        file.write_all(&text).and_then(|()| file.sync_data()).map_err(failed())
    }

    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        private::only_owner(&mut options);
        regular::open(&options, &self.path)
    }
}

/// Whole seconds since 1970.
pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A time as RFC 3339 text, in whole seconds.
pub fn text_of(time: SystemTime) -> String {
    let seconds = i64::try_from(seconds(time)).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| "?".into(), |time| time.to_string())
}

fn cut(text: &str) -> &str {
    let end = (0..=TEXT_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(about: &str) -> Entry<'_> {
        Entry {
            act: Act::ConnectRefused,
            who: None,
            peer: Some("192.0.2.1:7"),
            machine: None,
            about,
        }
    }

    fn lines(audit: &Audit) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(audit.path()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn an_act_is_one_line_whatever_its_text() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::new(dir.path());
        let id = MachineId([1; 16]);
        let long = "ä\n".repeat(1000);
        let entry =
            Entry { act: Act::Enrolled, who: None, peer: None, machine: Some(id), about: &long };
        audit.append(&entry).unwrap();
        audit.append(&refusal("x")).unwrap();
        let lines = lines(&audit);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["act"], "enrolled");
        assert_eq!(lines[0]["machine"], id.to_string());
        assert_eq!(lines[1]["peer"], "192.0.2.1:7");
    }

    #[test]
    fn the_last_acts_are_read_newest_first_and_half_a_line_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::new(dir.path());
        assert_eq!(audit.end(10).unwrap(), []);
        let long = "x".repeat(TEXT_MAX);
        audit.append(&refusal(&long)).unwrap();
        let line = std::fs::read(audit.path()).unwrap();
        let (end_bytes, line_bytes) = (usize::try_from(END_BYTES).unwrap(), line.len());
        let before = line.repeat(end_bytes / line_bytes + 2);
        std::fs::write(audit.path(), &before).unwrap();
        let entry = Entry { who: Some("alice"), machine: Some(MachineId([1; 16])), ..refusal("y") };
        audit.append(&entry).unwrap();
        let end = audit.end(2).unwrap();
        let told = |noted: &Noted| (noted.act.clone(), noted.who.clone(), noted.about.clone());
        assert_eq!(told(&end[0]), ("connect-refused".into(), Some("alice".into()), "y".into()));
        assert_eq!(end[0].machine, Some(MachineId([1; 16]).to_string()));
        assert_eq!(told(&end[1]), ("connect-refused".into(), None, long));
        assert_eq!(end.len(), 2);
        let last_bytes = std::fs::read(audit.path()).unwrap().len() - before.len();
        let whole = (end_bytes - last_bytes) / line_bytes + 1;
        assert_eq!(audit.end(usize::MAX).unwrap().len(), whole);
    }

    #[test]
    fn a_flood_of_refusals_does_not_fill_the_disk_and_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::new(dir.path());
        for _ in 0..REFUSALS_MAX + 1000 {
            audit.refused(&refusal("x"));
        }
        assert_eq!(lines(&audit).len(), REFUSALS_MAX as usize);
        audit.refusals.lock().unwrap().since = Instant::now().checked_sub(REFUSALS_TIME).unwrap();
        audit.refused(&refusal("y"));
        assert_eq!(lines(&audit).last().unwrap()["left_out"], 1000);
    }
}
