//! What the policy of each volume is, and what the next fold would keep and drop.

use serde::Serialize;
use snapless_wire::id::{FileTime, VolumeGuid};

use super::engine::Engine;
use super::minimum::{self, Minimums};
use super::policy::{Policies, Policy};
use super::run::{Planned, PlannedSession, plan, policy_of, volumes};
use super::select::Verdict;
use crate::error::Result;
use crate::repository::Repository;
use crate::stop::StopFlag;
use crate::time;

/// The policies of a repository.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// What holds for a volume without a policy of its own.
    pub default: Policy,
    /// What can only be lengthened, and until when.
    pub minimums: Vec<minimum::Shown>,
    /// Each volume.
    pub volumes: Vec<Volume>,
}

/// A volume.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Volume {
    /// Its GUID.
    pub volume: String,
    /// What holds for it, minimums included.
    pub policy: Policy,
    /// What the next fold would do to each of its sessions, oldest first.
    pub sessions: Vec<Session>,
}

/// What the next fold would do to a session.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Session {
    /// Its identity.
    pub session: String,
    /// Bytes of its log.
    pub log_bytes: u64,
    /// What it would do.
    #[serde(flatten)]
    pub next: Next,
}

/// What the next fold would do.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "next", rename_all = "kebab-case")]
pub enum Next {
    /// It would leave the session as it is.
    Keep,
    /// It would fold it.
    Fold {
        /// Since when every instant would stay.
        from: String,
        /// Bytes of the log before that.
        old_bytes: u64,
        /// The points before that which would stay.
        keeps: Vec<String>,
        /// Those of an earlier fold which would not.
        drops: Vec<String>,
    },
    /// It would remove it.
    Remove,
    /// It is damaged, and stays as it is.
    Damaged {
        /// How.
        error: String,
    },
}

/// Shows the policies, and what the next fold would do.
///
/// # Errors
/// [`crate::error::Error::Policy`], [`crate::error::Error::NoVolume`], a directory that cannot be
/// listed, or [`crate::error::Error::Stopped`].
pub fn show(
    repository: &Repository,
    volume: Option<VolumeGuid>,
    engine: &dyn Engine,
    now: FileTime,
    stop: &StopFlag,
) -> Result<Report> {
    let store = repository.store();
    let (policies, minimums) = (Policies::read(store)?, Minimums::read(store, now)?);
    let policy_of = policy_of(repository, now)?;
    let mut told = Vec::new();
    for volume in volumes(repository, volume)? {
        let planned = plan(repository, volume, policy_of(volume), engine, now, stop)?;
        told.push(Volume::of(&planned));
    }
    Ok(Report { default: policies.of_others(), minimums: minimums.shown(), volumes: told })
}

impl Volume {
    fn of(planned: &Planned) -> Self {
        let sound = planned.sessions.iter().map(Session::of);
        let damaged = planned.damaged.iter().map(|(session, error)| Session {
            session: session.to_string(),
            log_bytes: 0,
            next: Next::Damaged { error: error.to_string() },
        });
        Self {
            volume: planned.volume.to_string(),
            policy: planned.policy.clone(),
            sessions: sound.chain(damaged).collect(),
        }
    }
}

impl Session {
    fn of(planned: &PlannedSession) -> Self {
        let PlannedSession { surveyed, verdict, old_bytes, log_bytes } = planned;
        let next = match verdict {
            Verdict::Keep => Next::Keep,
            Verdict::Drop => Next::Remove,
            Verdict::Fold { boundary, points } => {
                let kept = surveyed.history.iter().flat_map(|history| &history.points);
                let dropped = kept.filter(|(cut, _)| !points.contains(cut));
                Next::Fold {
                    from: time::to_text(surveyed.time_of(*boundary)),
                    old_bytes: *old_bytes,
                    keeps: surveyed.times_of(points).into_iter().map(time::to_text).collect(),
                    drops: dropped.map(|(_, at)| time::to_text(at.time)).collect(),
                }
            }
        };
        let session = surveyed.reader.header().session.to_string();
        Self { session, log_bytes: *log_bytes, next }
    }
}
