//! `snapless-server stat`.

use std::process::ExitCode;

use log::warn;

use crate::bill::{Bill, CountedBy, Month, Prices};
use crate::cli;
use crate::dedup::Dedup;
use crate::error::Result;
use crate::stat::{Overhead, Report, Usage, stat};

use super::console::{BAD, EXIT_DAMAGE, POOR, bytes, on_signal, tell};
use super::output::outln;
use super::progress::Bar;

/// Days that are printed; all of them are in the report as JSON.
const DAYS_MAX: usize = 7;

pub(super) fn run(args: &cli::Stat) -> Result<ExitCode> {
    let stop = on_signal(|| {})?;
    // First: what is wrong with it is said before all is read.
    let prices = args.prices.as_deref().map(Prices::find).transpose()?;
    let repository = args.stored.open()?.pinned_for("stat");
    let bar = Bar::new("reading headers");
    let mut report = stat(&repository, args.volume, &stop, |done, total| bar.set(done, total))?;
    drop(bar);
    if args.dedup {
        let bar = Bar::new("comparing content");
        report.add_dedup(&repository, &stop, |done, total| bar.set(done, total))?;
    }
    if let Some(prices) = prices {
        report.add_bills(&repository, prices);
    }
    tell(&report, args.json, print)?;
    if let Some(shortage) = &report.shortage {
        warn!("{shortage}");
    }
    Ok(if report.has_damage() { ExitCode::from(EXIT_DAMAGE) } else { ExitCode::SUCCESS })
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
        if let Some(dedup) = &volume.dedup {
            print_dedup(dedup);
        }
        if let (Some(bill), Some(prices)) = (&volume.bill, &report.prices) {
            print_bill(bill, &prices.currency);
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
        if let (Some(bill), Some(prices)) = (&report.bill, &report.prices) {
            print_bill(bill, &prices.currency);
        }
    }
    if let Some(prices) = &report.prices {
        let Prices { store, source, date, .. } = prices;
        outln!("prices: {store}, {date}, {source}");
    }
}

fn print_dedup(dedup: &Dedup) {
    let Dedup { unit_bytes, sampled, .. } = *dedup;
    let of = match sampled {
        1 => String::new(),
        sampled => format!(", from a sample of one in {sampled}"),
    };
    outln!(
        "  equal         in units of {}, {} compared{of}",
        bytes(unit_bytes),
        bytes(dedup.compared_bytes)
    );
    outln!("    saved       {} of zeros", bytes(dedup.saved_zero_bytes));
    for (what, count) in [
        ("of zeros", dedup.zero_bytes),
        ("that their place held before", dedup.same_place_bytes),
        ("that other places held before", dedup.elsewhere_bytes),
    ] {
        outln!("    not saved   {} {what}", bytes(count));
    }
    if let Some(error) = &dedup.error {
        outln!("    {BAD}damaged{BAD:#}: {error}");
    }
}

fn print_bill(bill: &Bill, currency: &str) {
    let counted = match bill.counted_by {
        CountedBy::Objects => "",
        CountedBy::Epochs => " if each epoch were one",
    };
    let puts = match bill.puts_per_day {
        Some(puts) => format!("{puts} PUTs a day{counted}"),
        None => "too short a time for a rate of PUTs".to_owned(),
    };
    let Month { storage, puts: of_puts, total } = bill.month;
    outln!("  bill          {} objects, {puts}", bill.objects);
    outln!("    a month     {total:.2} {currency}: {storage:.2} for bytes, {of_puts:.2} for PUTs");
    outln!(
        "    a restore   {:.2} {currency} at most: {} GETs of all that is stored, from outside",
        bill.restore,
        bill.restore_gets
    );
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
