//! What operators do: bookmarks, mounts, restores, verification, files of a point.

use serde::{Deserialize, Serialize};

use super::{At, BookmarkName, FileName, HexId, Progress, Span, VolumeId};

/// A bookmark to be made.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBookmark {
    /// Its name.
    pub name: BookmarkName,
    /// The point.
    pub at: At,
    /// How long it is kept; as the policy says if that is not said.
    #[serde(default)]
    pub keep: Option<Span>,
}

/// Where a mount listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// A Unix socket of the server's user.
    #[default]
    Socket,
    /// A port of the loopback.
    Port,
}

/// A mount to be made.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewMount {
    /// The point.
    pub at: At,
    /// Clients may write.
    #[serde(default)]
    pub writable: bool,
    /// Where it listens.
    #[serde(default)]
    pub transport: Transport,
}

/// A restore to be made.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRestore {
    /// The point.
    pub at: At,
    /// One of the server's folders for restores.
    pub folder: String,
    /// The file, which is not there yet.
    pub file: FileName,
    /// Its format.
    #[serde(default = "raw")]
    pub format: String,
}

fn raw() -> String {
    "raw".to_owned()
}

/// What a job does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobKind {
    /// Serves a point as a disk.
    Mount,
    /// Restores a point to a file.
    Restore,
    /// Checks what is stored.
    Verify,
}

impl JobKind {
    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mount => "mount",
            Self::Restore => "restore",
            Self::Verify => "verify",
        }
    }
}

/// What became of a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// It runs.
    Running,
    /// It was asked to stop.
    Stopping,
    /// It came to its end.
    Done,
    /// It failed.
    Failed,
    /// It was stopped.
    Stopped,
}

/// A job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Job {
    /// Its id.
    pub job: HexId,
    /// What it does.
    pub kind: JobKind,
    /// Of which volume.
    pub volume: VolumeId,
    /// Of which point.
    pub at: Option<String>,
    /// What became of it.
    pub state: JobState,
    /// Who started it.
    pub by: String,
    /// When it began.
    pub started_ms: u64,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// What it does, or what came of it.
    pub text: String,
    /// Why it failed.
    pub error: Option<String>,
    /// Where it serves.
    pub mount: Option<Mount>,
    /// What came of it.
    pub result: Option<JobResult>,
}

/// Where a point is served.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Mount {
    /// A socket's file, or an address with a port.
    pub address: String,
    /// As an URI of NBD.
    pub uri: String,
    /// Ready to be pasted.
    pub commands: Vec<String>,
}

/// What came of a job.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct JobResult {
    /// The file of a restore.
    pub file: Option<String>,
    /// Bytes restored or read.
    pub bytes: Option<u64>,
    /// No damage and no hole was met.
    pub sound: bool,
    /// Damage and holes.
    pub findings: Vec<String>,
}

/// What an entry of a folder is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A link or another reparse point, which is not followed.
    Link,
}

/// An entry of a folder.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: FileKind,
    /// Its bytes.
    pub size: Option<u64>,
    /// When it was changed.
    pub modified_ms: Option<u64>,
    /// What NTFS says of it.
    pub attributes: Vec<String>,
    /// Why it cannot be read.
    pub unreadable: Option<String>,
}

/// A folder of a point.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Folder {
    /// The point.
    pub at_ms: Option<u64>,
    /// What it was read with.
    pub file_system: String,
    /// Its path.
    pub path: String,
    /// In order of their names.
    pub entries: Vec<FileEntry>,
    /// There are more.
    pub more: bool,
}
