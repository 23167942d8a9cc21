//! `snapless-server gc`.

use std::process::ExitCode;

use crate::cli;
use crate::error::Result;
use crate::retention::engine::Refused;
use crate::retention::folds::Folds;
use crate::retention::gc::{File, Report, collect};
use crate::retention::run::{Alone, open_by_hand};

use super::console::{BAD, EXIT_DAMAGE, POOR, bytes, on_signal, tell};
use super::output::outln;

pub(super) fn run(args: &cli::Gc) -> Result<ExitCode> {
    let stop = on_signal(|| {})?;
    let report = if args.dry_run {
        let repository = args.repository.open()?.unlock(&args.key.source())?;
        collect(&repository, &Folds, None, &stop)?
    } else {
        let writable = open_by_hand(&args.repository, &args.key.source())?;
        collect(writable.repository(), &Folds, Some(&Alone), &stop)?
    };
    tell(&report, args.json, |report| print(report, args.dry_run))?;
    let is_sound = report.damaged.is_empty();
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::from(EXIT_DAMAGE) })
}

/// Says what an object store did not let be removed.
pub(super) fn print_refused(refused: &Refused, indent: &str) {
    let Refused { files, bytes: len, why } = refused;
    if refused.is_empty() {
        return;
    }
    let (len, why) = (bytes(*len), why.as_deref().unwrap_or("no reason was given"));
    outln!(
        "{indent}{POOR}refused{POOR:#}: the store does not let {files} object(s) of garbage, {len}, \
         be removed: {why}; they are tried again next time, or run `gc` with credentials that may \
         remove them"
    );
}

fn print(report: &Report, is_dry: bool) {
    for File { file, bytes: len, reason } in &report.files {
        outln!("{file}  {}  {reason}", bytes(*len));
    }
    for pin in &report.pins {
        outln!(
            "{POOR}pinned{POOR:#}: session {} is read by `{}`, process {}, since {}",
            pin.session,
            pin.command,
            pin.process,
            pin.since
        );
    }
    for damaged in &report.damaged {
        outln!("{BAD}damaged{BAD:#}: session {}: {}", damaged.session, damaged.error);
    }
    print_refused(&report.refused, "");
    let (count, all) = (report.files.len(), bytes(report.bytes));
    if is_dry {
        outln!("{count} file(s) of garbage, {all}");
    } else {
        outln!("{count} file(s) of garbage, {all}; {} removed", bytes(report.removed_bytes));
    }
}
