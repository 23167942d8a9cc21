//! `snapless-server restore`.

use std::process::ExitCode;

use crate::cli;
use crate::error::Result;
use crate::repository::Repository;
use crate::restore::{PassedOver, Report, Request, Source, restore};

use super::console::{GOOD, POOR, bytes, on_signal, print_json};
use super::progress::Bar;

pub(super) fn run(args: cli::Restore) -> Result<ExitCode> {
    let stop = on_signal(|| {})?;
    let repository = Repository::open(&args.repository)?;
    let request = Request {
        source: Source { volume: args.volume, session: args.session, at: args.at },
        to: args.to,
        force: args.force,
    };
    let bar = Bar::new("restoring");
    let report =
        restore(&repository, &request, &stop, |progress| bar.set(progress.done, progress.total))?;
    drop(bar);
    if args.json {
        print_json(&report)?;
    } else {
        print(&report);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Report) {
    anstream::println!(
        "{GOOD}restored{GOOD:#} {} as of {} to {}",
        report.volume,
        report.time,
        report.file.display()
    );
    anstream::println!(
        "session {}: {} from {} records, {} of them written",
        report.session,
        bytes(report.bytes),
        report.records,
        bytes(report.bytes_written)
    );
    for PassedOver { session, why } in &report.passed_over {
        anstream::println!("{POOR}note{POOR:#}: not from the newer session {session}: {why}");
    }
    if let Some(since) = &report.gap_since {
        anstream::println!(
            "{POOR}note{POOR:#}: the volume is in a gap since {since}; \
             this is the last point before it"
        );
    }
    for extent in &report.unreadable {
        anstream::println!(
            "{POOR}unreadable{POOR:#}: {} bytes at {}: \
             the disk could not read them; zeros in the image",
            extent.len(),
            extent.offset()
        );
    }
}
