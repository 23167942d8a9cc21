//! `snapless-server verify`.

use std::process::ExitCode;

use crate::cli;
use crate::error::Result;
use crate::repository::Repository;
use crate::verify::{Holes, Report, verify};

use super::console::{BAD, EXIT_DAMAGE, GOOD, POOR, bytes, on_signal, print_json};
use super::progress::Bar;

pub(super) fn run(args: &cli::Verify) -> Result<ExitCode> {
    let stop = on_signal(|| {})?;
    let repository = Repository::open(&args.repository)?;
    let bar = Bar::new("verifying");
    let report = verify(&repository, &stop, |progress| bar.set(progress.done, progress.total))?;
    drop(bar);
    if args.json {
        print_json(&report)?;
    } else {
        print(&report);
    }
    let sound = report.damage.is_empty();
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(EXIT_DAMAGE) })
}

fn print(report: &Report) {
    for finding in &report.damage {
        let at = finding.offset.map_or_else(String::new, |offset| format!(" at byte {offset}"));
        let file = finding.file.display();
        anstream::println!("{BAD}damaged{BAD:#}: {file}{at}: {}", finding.error);
    }
    for Holes { session, blocks, blocks_at_t0, .. } in &report.holes {
        anstream::println!(
            "{POOR}holes{POOR:#}: session {session} has {blocks} block(s) that the volume's disk could \
             not read, {blocks_at_t0} of the t0 image: images have zeros there"
        );
    }
    let read = bytes(report.bytes);
    let verdict = match report.damage.len() {
        0 => format!("{GOOD}sound{GOOD:#}"),
        count => format!("{BAD}{count} damaged place(s){BAD:#}"),
    };
    anstream::println!(
        "{verdict}: {} session(s), {} entries, {read} read",
        report.sessions,
        report.entries
    );
}
