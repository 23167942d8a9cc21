//! `snapless-server compact`.

use std::process::ExitCode;

use serde::Serialize;

use crate::cli;
use crate::error::Result;
use crate::retention::folds::Folds;
use crate::retention::run::{
    Alone, How, Outcome, Report, Session, When, open_by_hand, policy_of, run as fold, volumes,
};
use crate::time;

use super::console::{BAD, EXIT_DAMAGE, GOOD, POOR, bytes, on_signal, tell};
use super::gc::print_refused;
use super::output::outln;
use super::progress::Bar;

/// What became of each volume.
#[derive(Serialize)]
struct All {
    volumes: Vec<Report>,
}

pub(super) fn run(args: &cli::Compact) -> Result<ExitCode> {
    let stop = on_signal(|| {})?;
    let writable = open_by_hand(&args.repository, &args.key.source())?;
    let (repository, now) = (writable.repository(), time::now());
    let policy_of = policy_of(repository, now)?;
    let how = How { engine: &Folds, others: &Alone, when: When::Always, now, stop: &stop };
    let bar = Bar::steps("folding");
    let mut all = All { volumes: Vec::new() };
    for volume in volumes(repository, args.volume)? {
        let tell = |done, total| bar.set(done, total);
        all.volumes.push(fold(repository, volume, policy_of(volume), how, tell)?);
    }
    drop(bar);
    tell(&all, args.json, |all| all.volumes.iter().for_each(print))?;
    let mut sessions = all.volumes.iter().flat_map(|volume| &volume.sessions);
    let is_damaged = sessions.any(|it| matches!(it.outcome, Outcome::Damaged { .. }));
    Ok(if is_damaged { ExitCode::from(EXIT_DAMAGE) } else { ExitCode::SUCCESS })
}

fn print(report: &Report) {
    outln!("volume {}", report.volume);
    if report.sessions.is_empty() {
        outln!("  everything is kept: `snapless-server retention set` changes that");
    }
    for Session { session, outcome } in &report.sessions {
        match outcome {
            Outcome::Kept | Outcome::NotWorth { .. } => {
                outln!("  session {session}: nothing to fold");
            }
            Outcome::Served => outln!("  session {session}: in use, stays for now"),
            Outcome::NotFolded { error } => {
                outln!("  session {session}: {POOR}not folded{POOR:#}: {error}");
            }
            Outcome::Damaged { error } => {
                outln!("  session {session}: {BAD}damaged{BAD:#}, stays: {error}");
            }
            Outcome::Folded { from, points, removed_bytes, is_pinned, refused, .. } => {
                outln!(
                    "  session {session}: {GOOD}folded{GOOD:#}; every instant from {from} on, and \
                     {points} point(s) before it; {} removed",
                    bytes(*removed_bytes)
                );
                print_pinned(*is_pinned);
                print_refused(refused, "    ");
            }
            Outcome::Removed { removed_bytes, is_pinned, refused } => {
                let removed = bytes(*removed_bytes);
                outln!("  session {session}: {GOOD}removed{GOOD:#}; {removed} removed");
                print_pinned(*is_pinned);
                print_refused(refused, "    ");
            }
        }
    }
}

fn print_pinned(is_pinned: bool) {
    if is_pinned {
        outln!(
            "    {POOR}note{POOR:#}: it is read; what is garbage is removed by the next `gc`, or by \
             the server"
        );
    }
}
