//! `snapless-server verify`.

use std::path::Path;
use std::process::ExitCode;

use crate::against;
use crate::checks::{Checks, Differing};
use crate::cli;
use crate::error::Result;
use crate::repository::Repository;
use crate::restore::{Found, Source};
use crate::seal::KeySource;
use crate::stop::StopFlag;
use crate::verify::{Holes, Report, Selection, verify_selected};

use super::console::{
    BAD, EXIT_DAMAGE, EXIT_DIFFERS, GOOD, POOR, bytes, on_signal, point_notes, tell,
};
use super::output::outln;
use super::progress::Bar;

/// Ranges that are printed; all of them are in the report as JSON.
const LINES_MAX: usize = 100;

pub(super) fn run(args: &cli::Verify) -> Result<ExitCode> {
    let stop = on_signal(|| {})?;
    let mut repository = args.stored.repository.open()?;
    let key = args.stored.key.source();
    let is_compared = args.against.is_some();
    let command = if is_compared { "verify-against" } else { "verify" };
    if is_compared || key != KeySource::None || !repository.store().seal().is_locked() {
        repository = repository.unlock(&key)?;
    }
    repository = repository.pinned_for(command);
    if let (Some(path), Some(at), Some(volume)) = (&args.against, &args.at, args.volume) {
        let source = at.source(&repository, volume, args.session)?;
        return run_against(args, &repository, &source, path, &stop);
    }
    let selection = Selection { volume: args.volume, session: args.session };
    let bar = Bar::new("verifying");
    let report = verify_selected(&repository, &selection, &stop, |progress| {
        bar.set(progress.done, progress.total);
    })?;
    drop(bar);
    tell(&report, args.json, print)?;
    let sound = report.damage.is_empty();
    Ok(match (sound, report.differs()) {
        (false, _) => ExitCode::from(EXIT_DAMAGE),
        (true, true) => ExitCode::from(EXIT_DIFFERS),
        (true, false) => ExitCode::SUCCESS,
    })
}

fn run_against(
    args: &cli::Verify,
    repository: &Repository,
    source: &Source,
    path: &Path,
    stop: &StopFlag,
) -> Result<ExitCode> {
    let found = Found::find(repository, source, stop)?;
    let bar = Bar::new("reading headers");
    let point = found.open(stop, |progress| bar.restore(progress))?;
    bar.name("comparing");
    let report = against::compare(&found, &point, path, stop, |progress| {
        bar.set(progress.done, progress.total);
    })?;
    drop(bar);
    tell(&report, args.json, print_against)?;
    Ok(if report.is_same() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_DIFFERS) })
}

fn print_against(report: &against::Report) {
    let (time, session) = (&report.time, &report.session);
    let of = format!("{} as of {time}, session {session}", report.volume);
    let file = report.file.display();
    for range in report.differing.iter().take(LINES_MAX) {
        outln!("{BAD}differs{BAD:#}: {} bytes at {}", range.len, range.offset);
    }
    let ranges = report.differing.len() as u64 + report.more_ranges;
    let more = ranges.saturating_sub(LINES_MAX as u64);
    if more > 0 {
        outln!("{BAD}differs{BAD:#}: {more} more ranges, listed with --json");
    }
    let left_out = [
        (report.excluded_bytes, "of no file, or of paging, swap and hibernation files"),
        (report.unreadable_bytes, "that the volume's disk could not read"),
    ];
    for (count, what) in left_out.into_iter().filter(|(count, _)| *count > 0) {
        outln!("{POOR}left out{POOR:#}: {} {what}", bytes(count));
    }
    let longer = report.file_bytes.saturating_sub(report.bytes);
    if longer > 0 {
        outln!("{POOR}left out{POOR:#}: {} past the volume's end", bytes(longer));
    }
    for note in point_notes(&report.passed_over, report.gap_since.as_deref()) {
        outln!("{POOR}note{POOR:#}: {note}");
    }
    let compared = bytes(report.compared_bytes);
    if report.is_same() {
        outln!("{GOOD}same{GOOD:#}: {file} is {of}; {compared} compared");
        return;
    }
    let differing = bytes(report.differing_bytes);
    outln!(
        "{BAD}different{BAD:#}: {file} is not {of}; {differing} of {compared} differ, in {ranges} \
         range(s)"
    );
}

/// What the volume of a session had when it was verified, beside the copy.
fn print_checks(found: &Checks) {
    let session = &found.session;
    for Differing { offset, len, seq } in found.differing.iter().take(LINES_MAX) {
        outln!(
            "{BAD}differs{BAD:#}: session {session}: {len} bytes at {offset} are not what the volume \
             had (record {seq})"
        );
    }
    let notes = [
        (found.unclear_bytes, "differ where the copy has free space or trimmed bytes: no error"),
        (found.overtaken_bytes, "were written to before they could be compared"),
        (found.left_out_bytes, "of no file, of paging files or unreadable sectors were left out"),
        (found.earlier_differing_bytes, "differed in an earlier verification"),
    ];
    for (count, what) in notes.into_iter().filter(|(count, _)| *count > 0) {
        outln!("{POOR}note{POOR:#}: session {session}: {} {what}", bytes(count));
    }
    if let Some(why) = &found.not_compared {
        outln!("{POOR}note{POOR:#}: session {session}: not every check could be compared: {why}");
    }
    let (same, differing) = (bytes(found.same_bytes), bytes(found.differing_bytes));
    if found.differ() {
        outln!(
            "{BAD}different{BAD:#}: session {session}: {differing} differ from the volume, {same} do not"
        );
    } else {
        outln!(
            "{GOOD}same{GOOD:#}: session {session}: {same} are what the volume had when it was verified"
        );
    }
}

fn print(report: &Report) {
    for finding in &report.damage {
        let at = finding.offset.map_or_else(String::new, |offset| format!(" at byte {offset}"));
        let file = finding.file.display();
        outln!("{BAD}damaged{BAD:#}: {file}{at}: {}", finding.error);
    }
    for Holes { session, blocks, blocks_at_t0, .. } in &report.holes {
        outln!(
            "{POOR}holes{POOR:#}: session {session} has {blocks} block(s) that the volume's disk could \
             not read, {blocks_at_t0} of the t0 image: images have zeros there"
        );
    }
    report.checks.iter().for_each(print_checks);
    if report.without_key {
        outln!(
            "{POOR}note{POOR:#}: the repository is encrypted, and without its key only the checksums \
             of what is stored were checked, not that the key opens it, nor the streams' rules"
        );
    }
    let read = bytes(report.bytes);
    let verdict = match report.damage.len() {
        0 => format!("{GOOD}sound{GOOD:#}"),
        count => format!("{BAD}{count} damaged place(s){BAD:#}"),
    };
    outln!("{verdict}: {} session(s), {} entries, {read} read", report.sessions, report.entries);
}
