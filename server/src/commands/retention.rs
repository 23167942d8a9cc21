//! `snapless-server retention`.

use std::fmt::Write;
use std::process::ExitCode;

use crate::cli::{RetentionCommand, RetentionSet, RetentionShow};
use crate::error::Result;
use crate::retention::folds::Folds;
use crate::retention::minimum::{Minimum, Minimums};
use crate::retention::policy::{Keep, LEVELS, Level, Policies, Policy};
use crate::retention::show::{Next, Report, Session, show};
use crate::time;

use super::audit::{self, Act};
use super::console::{BAD, GOOD, POOR, bytes, on_signal, tell};
use super::output::outln;

/// Points that are printed; all of them are in the report as JSON.
const LINES_MAX: usize = 40;

pub(super) fn run(command: &RetentionCommand) -> Result<ExitCode> {
    match command {
        RetentionCommand::Show(args) => run_show(args)?,
        RetentionCommand::Set(args) => run_set(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn run_show(args: &RetentionShow) -> Result<()> {
    let stop = on_signal(|| {})?;
    let repository = args.repository.open()?;
    let repository = repository.unlock(&args.key.source())?.pinned_for("retention");
    let report = show(&repository, args.volume, &Folds, time::now(), &stop)?;
    tell(&report, args.json, print)
}

fn run_set(args: &RetentionSet) -> Result<()> {
    let repository = args.repository.open()?;
    let (store, changes, now) = (repository.store(), args.changes(), time::now());
    let mut policies = Policies::read(store)?;
    if let Some(volume) = args.volume.filter(|_| args.unset) {
        policies.unset(volume);
    }
    if !changes.is_empty() {
        policies.set(args.volume, &changes);
    }
    Minimums::read(store, now)?.check(&policies)?;
    policies.write(store)?;
    if let Some(Keep::For(ticks)) = args.lock_for {
        let minimum = Minimum::new(ticks, policies.clone(), now);
        minimum.add(store)?;
        let about = format!("a minimum until {}", minimum.shown().until);
        audit::note(&args.repository, None, Act::RetentionSet, &about);
    }
    let policy = args.volume.map_or_else(|| policies.of_others(), |volume| policies.of(volume));
    let of = args.volume.map_or_else(|| "every volume".to_owned(), |it| format!("volume {it}"));
    audit::note(&args.repository, None, Act::RetentionSet, &format!("{of}: {}", words(&policy)));
    tell(&policy, args.json, |policy| {
        outln!("{GOOD}set{GOOD:#} for {of}: {}", words(policy));
        if let Some(span) = args.lock_for {
            outln!("a minimum of {span} lasts {span} from now");
        }
    })
}

/// A policy in a line.
fn words(policy: &Policy) -> String {
    if policy.keep_all == Keep::Forever {
        return "everything is kept".to_owned();
    }
    let mut text = format!("every instant for {}", policy.keep_all);
    for level in LEVELS {
        let name = match level {
            Level::Hourly => "hourly",
            Level::Daily => "daily",
            Level::Weekly => "weekly",
            Level::Monthly => "monthly",
            Level::Yearly => "yearly",
        };
        match policy.slots(level) {
            0 => {}
            count => _ = write!(text, ", {count} {name}"),
        }
    }
    match policy.bookmarks {
        Keep::Forever => text.push_str(", bookmarks"),
        Keep::For(_) => _ = write!(text, ", bookmarks for {}", policy.bookmarks),
    }
    format!("{text} ({})", policy.time_zone)
}

fn print(report: &Report) {
    outln!("default: {}", words(&report.default));
    for minimum in &report.minimums {
        outln!(
            "{POOR}minimum{POOR:#}: until {} nothing younger than {} is removed, and no policy is \
             shortened",
            minimum.until,
            minimum.span
        );
    }
    for volume in &report.volumes {
        outln!("volume {}: {}", volume.volume, words(&volume.policy));
        volume.sessions.iter().for_each(print_session);
    }
}

fn print_session(session: &Session) {
    let Session { session, log_bytes, next } = session;
    let log = bytes(*log_bytes);
    match next {
        Next::Keep => outln!("  session {session}: {log} of log; nothing to fold"),
        Next::Remove => {
            outln!("  session {session}: {log} of log; {POOR}to be removed{POOR:#}");
        }
        Next::Damaged { error } => {
            outln!("  session {session}: {BAD}damaged{BAD:#}, stays: {error}");
        }
        Next::Fold { from, old_bytes, keeps, drops } => {
            outln!(
                "  session {session}: {} of {log} of log to be folded; every instant from {from} on \
                 stays",
                bytes(*old_bytes)
            );
            print_points("stays", keeps);
            print_points("goes", drops);
        }
    }
}

fn print_points(what: &str, points: &[String]) {
    for point in points.iter().take(LINES_MAX) {
        outln!("    {what:<5}  {point}");
    }
    let more = points.len().saturating_sub(LINES_MAX);
    if more > 0 {
        outln!("    {what:<5}  and {more} more, listed with --json");
    }
}
