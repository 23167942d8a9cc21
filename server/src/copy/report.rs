//! What a copy has done.

use serde::Serialize;
use snapless_types::Seq;
use snapless_wire::id::{SessionId, VolumeGuid};

use crate::error::Error;

/// What a copy has done, or would do.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Report {
    /// Each session that was asked for.
    pub sessions: Vec<SessionReport>,
    /// Records that were copied.
    pub records: u64,
    /// Bytes of the source that were copied, or are to be.
    pub bytes: u64,
    /// Bookmarks that were copied.
    pub bookmarks: u64,
    /// Whole seconds that it took.
    pub seconds: u64,
}

/// What became of a session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SessionReport {
    /// The volume.
    pub volume: String,
    /// The session.
    pub session: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What becomes of a session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Outcome {
    /// The target lacked some of it.
    Copied {
        /// Records.
        records: u64,
        /// Bytes of the source.
        bytes: u64,
        /// The last record, which both repositories have now.
        last_seq: u64,
    },
    /// Some of it would be copied.
    ToCopy {
        /// Bytes of the source.
        bytes: u64,
    },
    /// The target had all records of it.
    UpToDate,
    /// It was removed from the target on purpose, and is left out.
    Forgotten,
    /// It cannot be copied, or not all of it.
    Failed {
        /// Why.
        error: String,
        /// It is damaged in one of the repositories.
        damaged: bool,
    },
}

/// What was copied of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Copied {
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// The last record.
    pub(super) last: Seq,
}

impl Outcome {
    pub(super) fn of(copied: Copied) -> Self {
        let Copied { records, bytes, last } = copied;
        Self::Copied { records, bytes, last_seq: last.get() }
    }

    pub(super) fn failed(error: &Error) -> Self {
        Self::Failed { error: error.to_string(), damaged: error.is_damage() }
    }
}

impl Report {
    /// True if every session that was asked for is in the target, but for those that it has
    /// forgotten.
    pub fn is_complete(&self) -> bool {
        !self.sessions.iter().any(|it| matches!(it.outcome, Outcome::Failed { .. }))
    }

    /// True if a session is damaged.
    pub fn has_damage(&self) -> bool {
        let mut outcomes = self.sessions.iter().map(|it| &it.outcome);
        outcomes.any(|it| matches!(it, Outcome::Failed { damaged: true, .. }))
    }

    pub(super) fn add(&mut self, volume: VolumeGuid, session: SessionId, outcome: Outcome) {
        match outcome {
            Outcome::Copied { records, bytes, .. } => {
                self.records += records;
                self.bytes += bytes;
            }
            Outcome::ToCopy { bytes } => self.bytes += bytes,
            Outcome::UpToDate | Outcome::Forgotten | Outcome::Failed { .. } => {}
        }
        let (volume, session) = (volume.to_string(), session.to_string());
        self.sessions.push(SessionReport { volume, session, outcome });
    }
}
