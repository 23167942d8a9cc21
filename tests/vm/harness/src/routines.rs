//! How long DPCs and ISRs took while diskspd ran: the traces of the program in the guest, as a
//! table and as a verdict.
//!
//! The rule: a trace that has lost anything shows no limit.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use vm_protocol::message::Command;
use vm_protocol::routines::{BUCKETS, Histogram, Kind, LIMIT_NANOS, Routines};

use crate::measure::{DRIVERS, Driver};
use crate::verdict::Verdict;

/// The file name of the driver, as in [`Routines::modules`].
const SNAPLESS: &str = "snapless.sys";
/// What none of its routines may take.
const LIMIT_MICROS: u64 = LIMIT_NANOS / 1000;

/// Traces until its standard input ends.
pub fn command(driver: Driver) -> Command {
    let trace = Command::new("snapless-e2e.exe", &["routines"]);
    Command { save_as: Some(file_name(driver)), ..trace }
}

fn file_name(driver: Driver) -> String {
    format!("routines-{driver}.json")
}

/// The traces of a run's folder; the inner error says what is wrong with one.
fn traces(files: &Path) -> Vec<(Driver, Result<Routines, String>)> {
    let read = |driver| {
        let text = fs::read(files.join(file_name(driver))).ok()?;
        Some((driver, serde_json::from_slice(&text).map_err(|error| error.to_string())))
    };
    DRIVERS.into_iter().filter_map(read).collect()
}

/// Judges the traces of a run's folder. None if it has none.
pub fn verdict(files: &Path) -> Option<Verdict> {
    let traces = traces(files);
    let faults = traces.iter().filter_map(|(driver, trace)| {
        let fault =
            trace.as_ref().map_or_else(|error| Some(error.clone()), |it| fault(it, *driver));
        fault.map(|fault| format!("{driver}: {fault}"))
    });
    let why = faults.collect::<Vec<_>>().join("; ");
    let verdict = if why.is_empty() { Verdict::Passed } else { Verdict::Failed { why } };
    (!traces.is_empty()).then_some(verdict)
}

/// Why a trace does not show that the driver's routines keep to the limit.
fn fault(trace: &Routines, driver: Driver) -> Option<String> {
    let Routines { lost_events, lost_buffers, unread, modules } = trace;
    if *lost_events > 0 || *lost_buffers > 0 || *unread > 0 {
        return Some(format!(
            "{lost_events} events and {lost_buffers} buffers of the trace were lost, {unread} \
             events could not be read: measure again"
        ));
    }
    if modules.values().all(BTreeMap::is_empty) {
        return Some("the trace has no DPC and no ISR".to_owned());
    }
    let Some(own) = modules.get(SNAPLESS) else {
        let missing = format!("the trace does not know the image of {SNAPLESS}");
        return (driver != Driver::Absent).then_some(missing);
    };
    let own = merged(own.values());
    let others = longest(modules.iter().filter(|(name, _)| *name != SNAPLESS));
    (own.above_limit > 0).then(|| {
        let longest = micros(own.longest_nanos);
        let others = others.map_or_else(String::new, |(name, of)| {
            format!("; the longest of others: {} µs, in {name}", micros(of.longest_nanos))
        });
        format!(
            "{} took more than {LIMIT_MICROS} µs, the longest {longest} µs{others}",
            own.above_limit
        )
    })
}

type Kinds = BTreeMap<Kind, Histogram>;

/// The module with the longest routine.
fn longest<'a>(
    modules: impl Iterator<Item = (&'a String, &'a Kinds)>,
) -> Option<(&'a str, Histogram)> {
    let all = modules.map(|(name, kinds)| (name.as_str(), merged(kinds.values())));
    all.max_by_key(|(_, histogram)| histogram.longest_nanos)
}

fn merged<'a>(parts: impl Iterator<Item = &'a Histogram>) -> Histogram {
    parts.fold(Histogram::default(), |mut sum, part| {
        sum.merge(part);
        sum
    })
}

/// The table of a run's folder; empty if nothing was traced.
pub fn table(files: &Path) -> String {
    let mut rows = String::new();
    for (driver, trace) in traces(files) {
        let Ok(trace) = trace else { continue };
        let own = trace.modules.get(SNAPLESS);
        for (kind, histogram) in own.into_iter().flatten() {
            row(&mut rows, driver, SNAPLESS, *kind, histogram);
        }
        if own.is_some_and(BTreeMap::is_empty) {
            let _ = writeln!(rows, "| {driver} | {SNAPLESS} | none {}|", "| ".repeat(BUCKETS + 2));
        }
        for kind in [Kind::Interrupt, Kind::Dpc, Kind::TimerDpc, Kind::ThreadedDpc] {
            let of_kind = || trace.modules.iter().filter_map(|(n, of)| Some((n, of.get(&kind)?)));
            let Some((name, _)) = of_kind().max_by_key(|(_, of)| of.longest_nanos) else {
                continue;
            };
            let all = merged(of_kind().map(|(_, of)| of));
            row(&mut rows, driver, &format!("all; the longest: {name}"), kind, &all);
        }
    }
    if rows.is_empty() {
        return rows;
    }
    let limits: Vec<_> = (0..BUCKETS - 1).map(|bucket| format!("< {} | ", 1 << bucket)).collect();
    let limits = limits.concat();
    format!(
        "DPCs and ISRs while diskspd ran, by their microseconds: the longest, how many took more \
         than {LIMIT_MICROS}, and how many less than each limit and no less than the one before. \
         Completion routines of {SNAPLESS} run within DPCs of others.\n\n\
         | driver | module | kind | longest | > {LIMIT_MICROS} | {limits}more |\n|{}\n{rows}",
        " --- |".repeat(BUCKETS + 5)
    )
}

fn row(rows: &mut String, driver: Driver, module: &str, kind: Kind, histogram: &Histogram) {
    let (longest, above) = (micros(histogram.longest_nanos), histogram.above_limit);
    let _ = write!(rows, "| {driver} | {module} | {kind} | {longest} | {above} |");
    for count in histogram.buckets {
        let _ = write!(rows, " {count} |");
    }
    rows.push('\n');
}

/// A number of nanoseconds, in microseconds.
fn micros(nanos: u64) -> String {
    format!("{}.{}", nanos / 1000, nanos % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trace in which a disk's driver has a DPC, and ours, if it is there, those of this length.
    fn trace(ours: Option<&[u64]>) -> Routines {
        let mut disk = Histogram::default();
        disk.add(40_000);
        disk.add(1_500_000);
        let mut found = Routines::default();
        found.modules.entry("storport.sys".to_owned()).or_default().insert(Kind::Dpc, disk);
        if let Some(ours) = ours {
            let own = found.modules.entry(SNAPLESS.to_owned()).or_default();
            for nanos in ours {
                own.entry(Kind::TimerDpc).or_default().add(*nanos);
            }
        }
        found
    }

    fn judged(traces: &[(Driver, Routines)]) -> (Option<Verdict>, String) {
        let dir = tempfile::tempdir().unwrap();
        for (driver, trace) in traces {
            let text = serde_json::to_string(trace).unwrap();
            fs::write(dir.path().join(file_name(*driver)), text).unwrap();
        }
        (verdict(dir.path()), table(dir.path()))
    }

    #[test]
    fn routines_of_the_driver_below_the_limit_pass_whatever_those_of_others_take() {
        assert_eq!(judged(&[]), (None, String::new()));
        let traces = [
            (Driver::Absent, trace(None)),
            (Driver::Attached, trace(Some(&[]))),
            (Driver::Protecting, trace(Some(&[9_000, 99_950]))),
        ];
        let (verdict, table) = judged(&traces);
        assert_eq!(verdict, Some(Verdict::Passed));
        let columns = |line: &str| line.matches('|').count();
        let lines: Vec<_> = table.lines().filter(|line| line.starts_with('|')).collect();
        assert!(lines.iter().all(|line| columns(line) == columns(lines[0])), "{table}");
        for row in [
            "| absent | all; the longest: storport.sys | DPC | 1500.0 | 1 | 0 | 0 | 0 ",
            "| attached | snapless.sys | none | ",
            "| protecting | snapless.sys | timer DPC | 99.9 | 0 | 0 | 0 | 0 | 0 | 1 ",
            "| protecting | all; the longest: snapless.sys | timer DPC | 99.9 | 0 |",
        ] {
            assert!(table.contains(row), "{row} is not in {table}");
        }
    }

    #[test]
    fn what_a_trace_does_not_show_is_a_failure_in_words() {
        let lost = |lost_events, lost_buffers, unread| {
            let whole = trace(Some(&[]));
            Routines { lost_events, lost_buffers, unread, ..whole }
        };
        for (trace, words) in [
            (trace(Some(&[100_000, 100_100])), "protecting: 1 took more than 100 µs, the longest"),
            (trace(Some(&[100_100])), "100.1 µs; the longest of others: 1500.0 µs, in storport"),
            (trace(None), "does not know the image of snapless.sys"),
            (Routines::default(), "no DPC and no ISR"),
            (lost(1, 0, 0), "1 events and 0 buffers of the trace were lost"),
            (lost(0, 2, 0), "2 buffers"),
            (lost(0, 0, 3), "3 events could not be read"),
        ] {
            let (verdict, _) = judged(&[(Driver::Protecting, trace)]);
            let why = verdict.expect("there is a trace");
            assert!(why.detail().contains(words), "{words} is not in {why:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(file_name(Driver::Absent)), "cannot begin").unwrap();
        assert!(matches!(verdict(dir.path()), Some(Verdict::Failed { .. })));
    }
}
