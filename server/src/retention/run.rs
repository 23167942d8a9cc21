//! Folds sessions and removes them, as the policy says: by hand, or while the server runs.
//!
//! A *plan* says what would become of each session of a volume. It is made while pins are held, so
//! that no bookmark is added unseen: see [`FOLD`].

use std::any::Any;

use serde::Serialize;
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};

use super::engine::{Engine, Plan, Refused};
use super::minimum::Minimums;
use super::policy::{Keep, Policies, Policy};
use super::removal::{self, Remains};
use super::select::{Ages, Verdict, select};
use super::survey::{Surveyed, Volume};
use crate::error::{Error, Result};
use crate::format::session::SessionHeader;
use crate::location::Location;
use crate::pin::{Pin, Pins, holders};
use crate::repository::{Repository, WritableRepository};
use crate::seal::KeySource;
use crate::stop::StopFlag;
use crate::time;
use crate::timeline::Cut;

/// The command of the pins that are held while a plan is made and carried out. A bookmark that is
/// added meanwhile may be too late for the plan: `bookmark add` looks for such pins when its file
/// is there.
pub const FOLD: &str = "fold";

/// A fold of fewer bytes of the log is not worth it.
pub const WORTH_BYTES: u64 = 1 << 30;
/// Nor is one of a smaller part of the session.
const WORTH_PART: u64 = 16;

/// What would become of a volume.
#[derive(Debug)]
pub struct Planned {
    /// The volume.
    pub volume: VolumeGuid,
    /// What holds for it.
    pub policy: Policy,
    /// Its sessions, oldest first.
    pub sessions: Vec<PlannedSession>,
    /// Those that are damaged, and stay as they are.
    pub damaged: Vec<(SessionId, Error)>,
}

/// What would become of a session.
#[derive(Debug)]
pub struct PlannedSession {
    /// The session.
    pub surveyed: Surveyed,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Bytes of its log that would be folded.
    pub old_bytes: u64,
    /// Bytes of its log.
    pub log_bytes: u64,
}

/// What else works on the repository.
pub trait Others: Sync {
    /// Keeps others from making files of a session, until the result is dropped.
    fn hold_off(&self, session: &SessionHeader) -> Box<dyn Any>;

    /// Claims a session; `None` if a connection serves it.
    fn claim(&self, volume: VolumeGuid, session: SessionId) -> Option<Box<dyn Any>>;
}

/// Nothing else: the process has the repository for itself.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Others for Alone {
    fn hold_off(&self, _: &SessionHeader) -> Box<dyn Any> {
        Box::new(())
    }

    fn claim(&self, _: VolumeGuid, _: SessionId) -> Option<Box<dyn Any>> {
        Some(Box::new(()))
    }
}

/// When a session is folded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// If there is anything to fold.
    Always,
    /// If so many bytes of its log at least are to be folded, and a sixteenth of it; one that was
    /// replaced, always.
    Worth(u64),
}

/// How the work is done.
#[derive(Clone, Copy)]
pub struct How<'a> {
    /// Makes folds.
    pub engine: &'a dyn Engine,
    /// What else works on the repository.
    pub others: &'a dyn Others,
    /// Which sessions are folded.
    pub when: When,
    /// The time, by the server's clock.
    pub now: FileTime,
    /// Ends the work.
    pub stop: &'a StopFlag,
}

/// What became of a volume.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// Its GUID.
    pub volume: String,
    /// Its sessions, oldest first.
    pub sessions: Vec<Session>,
}

/// What became of a session.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Session {
    /// Its identity.
    pub session: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What became of a session.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It stays as it was.
    Kept,
    /// So little of its log is old that a fold is not worth it yet.
    NotWorth {
        /// Bytes of the log that are old.
        old_bytes: u64,
    },
    /// It was folded.
    Folded {
        /// Since when every instant is there.
        from: String,
        /// Points before that.
        points: usize,
        /// Bytes that were read.
        read_bytes: u64,
        /// Bytes that were written.
        written_bytes: u64,
        /// Bytes of files that were removed.
        removed_bytes: u64,
        /// Nothing was removed yet, since the session is in use.
        is_pinned: bool,
        /// What an object store did not let be removed.
        #[serde(skip_serializing_if = "Refused::is_empty")]
        refused: Refused,
    },
    /// It was removed.
    Removed {
        /// Bytes of files that were removed.
        removed_bytes: u64,
        /// Nothing was removed yet, since the session is read.
        is_pinned: bool,
        /// What an object store did not let be removed.
        #[serde(skip_serializing_if = "Refused::is_empty")]
        refused: Refused,
    },
    /// A connection serves it: it is removed later.
    Served,
    /// It cannot be folded now.
    NotFolded {
        /// Why not.
        error: String,
    },
    /// It is damaged, and stays as it was.
    Damaged {
        /// How.
        error: String,
    },
}

/// The policy that holds for each volume, now.
///
/// # Errors
/// [`Error::Policy`] if that is not understood in full.
pub fn policy_of(
    repository: &Repository,
    now: FileTime,
) -> Result<impl Fn(VolumeGuid) -> Policy + use<>> {
    let policies = Policies::read(repository.store())?;
    let minimums = Minimums::read(repository.store(), now)?;
    Ok(move |volume| minimums.hold(volume, policies.of(volume)))
}

/// Opens a repository to fold or collect by hand. In an object store servers may run meanwhile.
///
/// # Errors
/// [`Error::ServerFolds`] if a server runs.
pub fn open_by_hand(at: &Location, key: &KeySource) -> Result<WritableRepository> {
    at.open_for_writing(key).map_err(|error| match error {
        Error::Locked(path) => Error::ServerFolds(path),
        other => other,
    })
}

/// The volumes that are asked for.
///
/// # Errors
/// [`Error::NoVolume`].
pub fn volumes(repository: &Repository, asked: Option<VolumeGuid>) -> Result<Vec<VolumeGuid>> {
    let known = repository.volumes()?;
    match asked {
        Some(volume) if !known.contains(&volume) => Err(Error::NoVolume { volume, known }),
        Some(volume) => Ok(vec![volume]),
        None => Ok(known),
    }
}

/// Plans what becomes of a volume.
///
/// # Errors
/// A directory that cannot be listed, or [`Error::Stopped`].
pub fn plan(
    repository: &Repository,
    volume: VolumeGuid,
    policy: Policy,
    engine: &dyn Engine,
    now: FileTime,
    stop: &StopFlag,
) -> Result<Planned> {
    let found = Volume::survey(repository, volume, &policy, engine, now, stop)?;
    let verdicts = select(&policy, &found.told(), now);
    let planned = found.sessions.into_iter().zip(verdicts).map(|(surveyed, verdict)| {
        let log_bytes = surveyed.reader.stream_bytes()?;
        let old_bytes = match &verdict {
            Verdict::Keep => 0,
            Verdict::Fold { boundary, .. } => surveyed.bytes_to(*boundary),
            Verdict::Drop => log_bytes,
        };
        Ok(PlannedSession { surveyed, verdict, old_bytes, log_bytes })
    });
    let sessions = planned.collect::<Result<_>>()?;
    Ok(Planned { volume, policy, sessions, damaged: found.damaged })
}

/// Does to a volume what its policy says. Damage of a session is in the report.
///
/// # Errors
/// A failure to read or write, or [`Error::Stopped`]: what was done until then stays done.
pub fn run(
    repository: &Repository,
    volume: VolumeGuid,
    policy: Policy,
    how: How<'_>,
    mut progress: impl FnMut(u64, u64),
) -> Result<Report> {
    if policy.keep_all == Keep::Forever {
        let sessions = Vec::new();
        return Ok(Report { volume: volume.to_string(), sessions });
    }
    let store = repository.store();
    let sessions = repository.session_ids(volume)?;
    let pins = sessions.iter().map(|session| Pins::of_session(store, volume, *session).hold(FOLD));
    let pins: Vec<Pin> = pins.collect();
    let planned = plan(repository, volume, policy, how.engine, how.now, how.stop)?;
    let count = planned.sessions.len();
    let mut done = Vec::new();
    for (index, session) in planned.sessions.into_iter().enumerate() {
        let id = session.surveyed.reader.header().session;
        // The newest one goes on, and is folded when it is worth it.
        let when = if index + 1 == count { how.when } else { When::Always };
        let outcome = match act(repository, &session, when, how, &mut progress) {
            Err(error) if error.is_damage() => Outcome::Damaged { error: error.to_string() },
            Err(error @ (Error::CannotFold { .. } | Error::FoldRuns(_) | Error::OtherFolds(_))) => {
                Outcome::NotFolded { error: error.to_string() }
            }
            outcome => outcome?,
        };
        done.push((id, outcome, session.surveyed));
    }
    // What was folded is removed unless another command reads it.
    drop(pins);
    let mut report = Report { volume: volume.to_string(), sessions: Vec::new() };
    for (id, mut outcome, surveyed) in done {
        collect(repository, &surveyed, &mut outcome, how)?;
        report.sessions.push(Session { session: id.to_string(), outcome });
    }
    let damaged = planned.damaged.iter().map(|(session, error)| Session {
        session: session.to_string(),
        outcome: Outcome::Damaged { error: error.to_string() },
    });
    report.sessions.extend(damaged);
    Ok(report)
}

/// Does what a verdict says, but removes nothing yet.
fn act(
    repository: &Repository,
    session: &PlannedSession,
    when: When,
    how: How<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Outcome> {
    let PlannedSession { surveyed, verdict, old_bytes, log_bytes } = session;
    let header = surveyed.reader.header();
    match verdict {
        Verdict::Keep => Ok(Outcome::Kept),
        Verdict::Fold { boundary, points } => {
            if let When::Worth(least) = when
                && *old_bytes < least.max(log_bytes / WORTH_PART)
            {
                return Ok(Outcome::NotWorth { old_bytes: *old_bytes });
            }
            let plan = Plan { boundary: *boundary, points: points.clone() };
            let _held_off = how.others.hold_off(header);
            let folded = how.engine.fold(&surveyed.reader, &plan, how.stop, progress)?;
            Ok(Outcome::Folded {
                from: time::to_text(surveyed.time_of(*boundary)),
                points: points.len(),
                read_bytes: folded.read_bytes,
                written_bytes: folded.written_bytes,
                removed_bytes: 0,
                is_pinned: false,
                refused: Refused::default(),
            })
        }
        Verdict::Drop => {
            let Some(_claim) = how.others.claim(header.volume, header.session) else {
                return Ok(Outcome::Served);
            };
            removal::mark(repository, header.volume, header.session)?;
            let refused = Refused::default();
            Ok(Outcome::Removed { removed_bytes: 0, is_pinned: false, refused })
        }
    }
}

/// Removes what is garbage now.
fn collect(
    repository: &Repository,
    surveyed: &Surveyed,
    outcome: &mut Outcome,
    how: How<'_>,
) -> Result<()> {
    let header = surveyed.reader.header();
    match outcome {
        Outcome::Folded { removed_bytes, is_pinned, refused, .. } => {
            let pins = Pins::of(repository.store(), header);
            let _held_off = how.others.hold_off(header);
            match how.engine.collect(&surveyed.reader, &pins, how.stop) {
                // What it would have removed, the next collection does.
                Err(Error::FoldRuns(_) | Error::OtherFolds(_)) => *is_pinned = true,
                collected => {
                    let collected = collected?;
                    (*removed_bytes, *is_pinned) = (collected.bytes, collected.is_pinned);
                    *refused = collected.refused;
                }
            }
        }
        Outcome::Removed { removed_bytes, is_pinned, refused } => {
            let all = removal::remains(repository, |volume| volume == header.volume)?;
            let is_this =
                |it: &&Remains| (it.volume, it.session) == (header.volume, header.session);
            if let Some(remains) = all.iter().find(is_this) {
                let collected = removal::finish(repository, remains, how.stop)?;
                (*removed_bytes, *is_pinned) = (collected.bytes, collected.is_pinned);
                *refused = collected.refused;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Checks that a bookmark that was just added is not too late for a fold that runs.
///
/// # Errors
/// [`Error::Folding`] if it may be; what keeps that from being known.
pub fn check_bookmark(
    repository: &Repository,
    header: &SessionHeader,
    point: (FileTime, Cut),
    stop: &StopFlag,
) -> Result<()> {
    let is_fold = |it: &crate::format::pin::Holder| {
        (it.volume, it.session, it.command.as_str()) == (header.volume, header.session, FOLD)
    };
    if holders(repository.store(), is_fold)?.is_empty() {
        return Ok(());
    }
    let now = time::now();
    let Keep::For(keep) = policy_of(repository, now)?(header.volume).keep_all else {
        return Ok(());
    };
    let age = age_of(repository, header, point, now, stop)?;
    // A plan was made before, when the point was younger.
    if age.is_some_and(|age| age < keep) { Ok(()) } else { Err(Error::Folding(header.session)) }
}

/// The age of a point; `None` if its session has no point.
fn age_of(
    repository: &Repository,
    header: &SessionHeader,
    (time, cut): (FileTime, Cut),
    now: FileTime,
    stop: &StopFlag,
) -> Result<Option<u64>> {
    let sessions = super::survey::timelines(repository, header.volume, stop)?;
    let times: Vec<_> = sessions.iter().map(|(it, state)| (it.created, state.timeline())).collect();
    let ages = Ages::of(&times, now);
    let index = sessions.iter().position(|(it, _)| it.session == header.session);
    let found = index.and_then(|index| Some((ages[index]?, times[index].1)));
    Ok(found
        .map(|(ages, timeline)| ages.age(timeline, super::survey::instant(timeline, cut, time))))
}
