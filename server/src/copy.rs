//! Copies sessions into another repository, incrementally: what the target lacks of each.
//!
//! A copy is a connection of another kind. The frames of the source, each with its checksum
//! checked, pass the stream's rules once more and go to an ordinary
//! [`crate::writer::SessionWriter`] of the target, which cuts segments, makes indices and keeps the
//! state as it does for a service. So the two repositories may be kept in different ways. The
//! source is only read: a server may be writing to it, and what it has acknowledged when the plan
//! is made is copied.
//!
//! The target's acknowledged end says where a copy goes on: a copy that was stopped or killed has
//! lost nothing that was committed. The last entry of the target must be one of the source
//! (rules.md#resume); otherwise the session is left alone.
//!
//! | file | what |
//! | --- | --- |
//! | `how` | what a copy may take |
//! | `plan` | which sessions, and from where on |
//! | `session` | copies one |
//! | `marks` | bookmarks |
//! | `pace` | a limit of the rate |

mod how;
mod marks;
mod pace;
mod plan;
mod report;
mod session;

use std::time::Instant;

use crate::error::Result;
use crate::repository::{Repository, WritableRepository};
use crate::stop::StopFlag;

pub use how::{COMMIT_BYTES, How};
use pace::Pace;
pub use plan::{Plan, Wanted};
use report::Copied;
pub use report::{Outcome, Report, SessionReport};
use session::copy_session;

/// How far a copy has come, in bytes of the source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Copied so far.
    pub done: u64,
    /// To copy in all.
    pub total: u64,
}

/// Carries out a plan, whose target must be the one that it was made for. What is wrong with a
/// session of the source is in the report and keeps no other from being copied.
///
/// # Errors
/// What is wrong with the target, or [`crate::error::Error::Stopped`]: what was committed stays.
pub fn copy(
    plan: Plan,
    to: &WritableRepository,
    how: &How,
    stop: &StopFlag,
    mut progress: impl FnMut(Progress),
) -> Result<Report> {
    let begun = Instant::now();
    let mut pace = Pace::new(how.limit);
    let (total, mut done) = (plan.bytes(), 0);
    let Plan { sessions, bookmarks } = plan;
    let mut report = Report::default();
    for planned in sessions {
        let (volume, session, due) = (planned.volume, planned.session, planned.bytes());
        let mut moved = 0;
        let outcome = match planned.standing {
            Err(error) => Outcome::failed(&error),
            Ok(plan::Standing::Forgotten) => Outcome::Forgotten,
            Ok(plan::Standing::Source(source)) => {
                let advance = |bytes| {
                    moved += bytes;
                    // What is copied again after damage counts once.
                    progress(Progress { done: done + due.min(moved), total });
                };
                match copy_session(&source, to, how, &mut pace, stop, advance)? {
                    Ok(Copied { records: 0, .. }) => Outcome::UpToDate,
                    Ok(copied) => Outcome::of(copied),
                    Err(error) => Outcome::failed(&error),
                }
            }
        };
        done += due;
        progress(Progress { done, total });
        report.add(volume, session, outcome);
    }
    report.bookmarks = marks::copy(&bookmarks, to.repository())?;
    report.seconds = begun.elapsed().as_secs();
    Ok(report)
}

/// Makes a plan for a target that is a repository, and carries it out.
///
/// # Errors
/// As for [`Plan::make`] and [`copy`].
pub fn copy_all(
    from: &Repository,
    to: &WritableRepository,
    how: &How,
    stop: &StopFlag,
) -> Result<Report> {
    let plan = Plan::make(from, Some(to.repository()), &Wanted::default(), stop)?;
    copy(plan, to, how, stop, |_| {})
}
