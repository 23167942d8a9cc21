//! What `copy`, `export` and `import` share.

use std::path::Path;
use std::process::ExitCode;

use crate::cli::CopyOptions;
use crate::copy::{COMMIT_BYTES, How, Outcome, Plan, Report, SessionReport, Wanted, copy};
use crate::copy_error::CopyError;
use crate::error::{Error, Result};
use crate::location::Location;
use crate::repository::{Repository, WritableRepository};
use crate::serve::Limits;
use crate::stop::StopFlag;
use crate::target::keep_out;

use super::console::{BAD, EXIT_DAMAGE, EXIT_FAILED, GOOD, POOR, bytes, duration, on_signal};
use super::output::outln;
use super::progress::Bar;

/// Indices, states and maps take so small a part of what is copied.
const DERIVED_PART: u64 = 64;

/// Where a copy goes, and how that is opened for writing.
pub(super) struct Target<'a, O> {
    /// Where it is.
    pub(super) place: &'a Location,
    /// What is there; `None` if it is not a repository yet.
    pub(super) present: Option<Repository>,
    /// Opens it for writing.
    pub(super) open: O,
}

/// Copies into the target; returns that if anything may have been changed.
pub(super) fn transfer<O>(
    from: &Repository,
    target: Target<'_, O>,
    wanted: &Wanted,
    options: &CopyOptions,
) -> Result<(Report, Option<WritableRepository>)>
where
    O: FnOnce() -> Result<WritableRepository>,
{
    let stop = on_signal(|| {})?;
    let plan = Plan::make(from, target.present.as_ref(), wanted, &stop)?;
    if options.dry_run {
        return Ok((plan.report(), None));
    }
    if let Some(dir) = target.place.directory().filter(|_| !options.no_space_check) {
        check_space(dir, plan.bytes())?;
    }
    let to = (target.open)()?;
    let report = run(from, &to, wanted, options, &stop)?;
    Ok((report, Some(to)))
}

fn run(
    from: &Repository,
    to: &WritableRepository,
    wanted: &Wanted,
    options: &CopyOptions,
    stop: &StopFlag,
) -> Result<Report> {
    // Once more: another command may have changed the target until it was locked.
    let plan = Plan::make(from, Some(to.repository()), wanted, stop)?;
    let limits = Limits::default();
    let (segment_bytes, map_bytes) = (limits.segment_bytes, limits.map_bytes);
    let how = How { segment_bytes, map_bytes, commit_bytes: COMMIT_BYTES, limit: options.limit };
    let bar = Bar::new("copying");
    copy(plan, to, &how, stop, |progress| bar.set(progress.done, progress.total))
}

/// Refuses a target that is the source, or lies in it, or the other way round.
pub(super) fn keep_apart(source: &Location, target: &Location) -> Result<()> {
    let itself = || Err(CopyError::Itself(target.to_string().into()).into());
    let (Some(from), Some(to)) = (source.directory(), target.directory()) else {
        return if source == target { itself() } else { Ok(()) };
    };
    if same_file::is_same_file(from, to).unwrap_or(false) {
        return itself();
    }
    keep_out(to, from)?;
    keep_out(from, to)
}

/// Checks that the file system of a directory, which may be missing yet, has room.
fn check_space(dir: &Path, bytes: u64) -> Result<()> {
    let need = bytes.saturating_add(bytes / DERIVED_PART);
    let there = dir.ancestors().find(|it| it.exists()).unwrap_or(Path::new("."));
    let have = fs4::available_space(there).map_err(Error::file("look at", there))?;
    if need <= have {
        return Ok(());
    }
    Err(CopyError::NoSpace { dir: dir.to_owned(), need, have }.into())
}

/// The exit code for a report.
pub(super) fn exit_code(report: &Report) -> ExitCode {
    if report.has_damage() {
        ExitCode::from(EXIT_DAMAGE)
    } else if !report.is_complete() {
        ExitCode::from(EXIT_FAILED)
    } else {
        ExitCode::SUCCESS
    }
}

/// Prints a report for people.
pub(super) fn print(report: &Report) {
    for SessionReport { volume, session, outcome } in &report.sessions {
        let of = format!("session {session} of volume {volume}");
        match outcome {
            Outcome::Copied { records, bytes: count, .. } => {
                outln!("{GOOD}copied{GOOD:#}     {of}: {records} records, {}", bytes(*count));
            }
            Outcome::ToCopy { bytes: count } => {
                outln!("to copy    {of}: {}", bytes(*count));
            }
            Outcome::UpToDate => outln!("up to date {of}"),
            Outcome::Forgotten => {
                outln!(
                    "{POOR}left out{POOR:#}   {of}: the target has forgotten it; --session copies it"
                );
            }
            Outcome::Failed { error, .. } => {
                outln!("{BAD}failed{BAD:#}     {of}: {error}");
            }
        }
    }
    let in_all = bytes(report.bytes);
    if report.sessions.iter().any(|it| matches!(it.outcome, Outcome::ToCopy { .. })) {
        outln!("{in_all} to copy; nothing was changed");
        return;
    }
    outln!(
        "{} session(s): {} records, {in_all}, {} bookmark(s) copied in {}",
        report.sessions.len(),
        report.records,
        report.bookmarks,
        duration(report.seconds)
    );
}
