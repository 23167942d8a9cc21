//! `snapless-server upgrade`.

use std::process::ExitCode;

use serde::Serialize;

use crate::cli;
use crate::error::Result;
use crate::serve::Limits;
use crate::upgrade::{self, Failed, Made, upgrade};

use super::console::{BAD, EXIT_DAMAGE, EXIT_FAILED, GOOD, on_signal, tell};
use super::output::outln;
use super::progress::Bar;

/// What was made in a repository.
#[derive(Serialize)]
struct Report {
    /// Sessions that were added to the list of those that must be there.
    listed: usize,
    #[serde(flatten)]
    upgraded: upgrade::Report,
}

pub(super) fn run(args: &cli::Upgrade) -> Result<ExitCode> {
    let stop = on_signal(|| {})?;
    let before = args.stored.repository.open()?.known()?.sessions.len();
    // Opening it completes the list.
    let repository = args.stored.repository.open_for_writing(&args.stored.key.source())?;
    let listed = repository.repository().known()?.sessions.len().saturating_sub(before);
    let limits = Limits::default();
    let bar = Bar::new("upgrading");
    let sizes = (limits.segment_bytes, limits.map_bytes);
    let upgraded = upgrade(&repository, sizes, &stop, |done, total| bar.set(done, total))?;
    drop(bar);
    let report = Report { listed, upgraded };
    tell(&report, args.json, print)?;
    let failed = &report.upgraded.failed;
    Ok(if failed.iter().any(|it| it.damaged) {
        ExitCode::from(EXIT_DAMAGE)
    } else if !failed.is_empty() {
        ExitCode::from(EXIT_FAILED)
    } else {
        ExitCode::SUCCESS
    })
}

fn print(report: &Report) {
    let Report { listed, upgraded } = report;
    for Made { volume, session, indices, maps, state } in &upgraded.made {
        let state = if *state { ", the kept state" } else { "" };
        outln!(
            "{GOOD}made{GOOD:#}   for session {session} of volume {volume}: {indices} index(es), {maps} \
             map(s){state}"
        );
    }
    for Failed { volume, session, error, .. } in &upgraded.failed {
        outln!("{BAD}failed{BAD:#} session {session} of volume {volume}: {error}");
    }
    if *listed > 0 {
        outln!("{GOOD}listed{GOOD:#} {listed} session(s) as those that must be there");
    }
    if *listed == 0 && upgraded.made.is_empty() && upgraded.failed.is_empty() {
        let sessions = upgraded.sessions;
        outln!("{sessions} session(s): nothing to do, all of it is of this release");
    }
}
