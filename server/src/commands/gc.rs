//! `snapless-server gc`.

use std::process::ExitCode;

use crate::cli;
use crate::error::Result;
use crate::repository::Repository;
use crate::retention::folds::Folds;
use crate::retention::gc::{File, Report, collect};
use crate::retention::run::{Alone, open_by_hand};

use super::console::{BAD, EXIT_DAMAGE, POOR, bytes, on_signal, tell};
use super::output::outln;

pub(super) fn run(args: &cli::Gc) -> Result<ExitCode> {
    let stop = on_signal(|| {})?;
    let report = if args.dry_run {
        let repository =
            Repository::open(args.repository.only_directory()?)?.unlock(&args.key.source())?;
        collect(&repository, &Folds, None, &stop)?
    } else {
        let writable = open_by_hand(args.repository.only_directory()?, &args.key.source())?;
        collect(writable.repository(), &Folds, Some(&Alone), &stop)?
    };
    tell(&report, args.json, |report| print(report, args.dry_run))?;
    let is_sound = report.damaged.is_empty();
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::from(EXIT_DAMAGE) })
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
    let (count, all) = (report.files.len(), bytes(report.bytes));
    if is_dry {
        outln!("{count} file(s) of garbage, {all}");
    } else {
        outln!("{count} file(s) of garbage, {all}; {} removed", bytes(report.removed_bytes));
    }
}
