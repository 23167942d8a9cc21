//! `snapless-server stat`.

use std::process::ExitCode;

use log::warn;

use crate::cli;
use crate::error::Result;
use crate::stat::{Overhead, Report, Usage, stat};

use super::console::{BAD, EXIT_DAMAGE, POOR, bytes, on_signal, tell};
use super::output::outln;
use super::progress::Bar;

/// Days that are printed; all of them are in the report as JSON.
const DAYS_MAX: usize = 7;

pub(super) fn run(args: &cli::Stat) -> Result<ExitCode> {
    let stop = on_signal(|| {})?;
    let repository = args.stored.open()?.pinned_for("stat");
    let bar = Bar::new("reading headers");
    let report = stat(&repository, args.volume, &stop, |done, total| bar.set(done, total))?;
    drop(bar);
    tell(&report, args.json, print)?;
    if let Some(shortage) = &report.shortage {
        warn!("{shortage}");
    }
    let is_damaged = report.volumes.iter().any(|volume| {
        volume.error.is_some() || volume.sessions.iter().any(|session| session.error.is_some())
    });
    Ok(if is_damaged { ExitCode::from(EXIT_DAMAGE) } else { ExitCode::SUCCESS })
}

fn print(report: &Report) {
    if report.volumes.is_empty() {
        outln!("no volumes yet");
    }
    for volume in &report.volumes {
        outln!("volume {}", volume.volume);
        print_usage(&volume.total);
        if let Some(error) = &volume.error {
            outln!("  {BAD}damaged{BAD:#}: {error}");
        }
        for session in &volume.sessions {
            if let Some(error) = &session.error {
                outln!("  {BAD}damaged{BAD:#}: session {}: {error}", session.session);
            }
        }
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
    if let [_, _, ..] = report.volumes[..] {
        outln!("all volumes");
        print_usage(&report.total);
    }
}

fn print_usage(usage: &Usage) {
    let Usage { sessions, segments, entries, records, .. } = usage;
    outln!(
        "  stored        {}: {sessions} session(s), {segments} segment(s), {entries} entries, \
         {records} records",
        bytes(usage.stored_bytes)
    );
    for (name, cause) in usage.causes.each().iter().filter(|(_, cause)| cause.records > 0) {
        let elided = match cause.elided_bytes {
            0 => String::new(),
            elided => format!(", {} of zeros not stored", bytes(elided)),
        };
        outln!(
            "  {name:<12}  {} for {} of the volume, {} records{elided}",
            bytes(cause.stored_bytes),
            bytes(cause.volume_bytes),
            cause.records
        );
    }
    let Overhead { derived_bytes, .. } = usage.overhead;
    outln!(
        "  overhead      {}, {} of it derived files",
        bytes(usage.overhead.bytes()),
        bytes(derived_bytes)
    );
    if usage.retained_bytes + usage.garbage_bytes > 0 {
        outln!(
            "  folded        {} of retained points, {} of garbage",
            bytes(usage.retained_bytes),
            bytes(usage.garbage_bytes)
        );
    }
    if usage.compression_saved_bytes > 0 {
        outln!("  compression   saves {}", bytes(usage.compression_saved_bytes));
    }
    if let Some(amplification) = usage.write_amplification {
        outln!("  amplification {amplification} bytes stored for each byte of content");
    }
    let growth = &usage.growth;
    if let Some(per_day) = growth.bytes_per_day {
        outln!("  growth        {} a day", bytes(per_day));
    }
    let skipped = growth.days.len().saturating_sub(DAYS_MAX);
    for day in &growth.days[skipped..] {
        outln!("    {}  {}", day.date, bytes(day.bytes));
    }
}
