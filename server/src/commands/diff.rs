//! `snapless-server diff`.

use std::process::ExitCode;

use crate::cli;
use crate::diff::{Comparison, Report, Side};
use crate::error::Result;
use crate::point_name::PointName;

use super::console::{POOR, bytes, on_signal, tell};
use super::output::outln;
use super::progress::Bar;

/// Ranges that are printed; all of them are in the report as JSON.
const LINES_MAX: usize = 100;

pub(super) fn run(args: &cli::Diff) -> Result<ExitCode> {
    let stop = on_signal(|| {})?;
    let repository = args.stored.open()?.pinned_for("diff");
    let source = |at: &PointName| at.source(&repository, args.volume, args.session);
    let sources = [source(&args.from)?, source(&args.to)?];
    let bar = Bar::new("reading headers");
    let found = Comparison::find(&repository, sources, &stop, |progress| bar.restore(progress));
    let comparison = found?;
    let report = if args.content {
        bar.name("comparing");
        comparison.by_content(&stop, |progress| bar.set(progress.done, progress.total))?
    } else {
        comparison.by_place()?
    };
    drop(bar);
    tell(&report, args.json, print)?;
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Report) {
    outln!("volume {}", report.volume);
    print_side("from", &report.from);
    print_side("to", &report.to);
    for range in report.changed.iter().take(LINES_MAX) {
        outln!("  {} bytes at {}", range.len, range.offset);
    }
    let more = report.changed.len().saturating_sub(LINES_MAX);
    if more > 0 {
        outln!("  and {more} more ranges, listed with --json");
    }
    let verb = if report.by_content { "differ" } else { "may differ" };
    outln!("{} in {} range(s) {verb}", bytes(report.changed_bytes), report.changed.len());
}

fn print_side(name: &str, side: &Side) {
    outln!("  {name:<4} {}, session {}", side.time, side.session);
    if side.unreadable_bytes > 0 {
        outln!(
            "       {POOR}unreadable{POOR:#}: {} bytes, which the disk could not read, are zeros",
            side.unreadable_bytes
        );
    }
}
