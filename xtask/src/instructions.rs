//! `cargo xtask instructions`: counts the instructions of the engine's verbs with callgrind, and
//! compares them with `bench/instructions.toml`.
//!
//! The rule: a count that differs by more than [`TOLERANCE`], up or down, is an error: who makes
//! the engine slower sees it as a number, and who makes it faster keeps what was won, with
//! `--bless`. Counts are the same on every machine, but not with every compiler: with another one
//! than the table's, [`TOLERANCE_ELSEWHERE`] holds.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::build::programs;
use crate::command::Tool;
use crate::console::{Outcome, Progress, Steps, say};
use crate::error::{Error, IoContext, Result};
use crate::layout::Layout;

/// What to call it.
pub const NAME: &str = "instructions of the engine";
/// Largest difference, as a share of what the table says.
const TOLERANCE: f64 = 0.03;
/// The same, where the table was made with another compiler.
const TOLERANCE_ELSEWHERE: f64 = 0.15;
/// The package, which needs the engine alone, and its program.
const PROGRAM: &str = "snapless-bench-operations";

/// What is counted: a line of the table.
struct Operation {
    name: &'static str,
    /// The functions of the program that it is made of.
    functions: &'static [&'static str],
    what: &'static str,
    /// What it shall not exceed, if there is such a thing.
    aim: Option<f64>,
}

const OPERATIONS: [Operation; 10] = [
    operation("unprotected", &["acquire", "release"], "a write without a session", Some(10.0)),
    operation(
        "synced_write",
        &["submit", "captured", "completed"],
        "a synced write of 4 KiB, without the copy",
        Some(250.0),
    ),
    operation("submit", &["submit"], "of these: submit, with the queue's reserve", None),
    operation("captured", &["captured"], "of these: captured, with the queue's commit", None),
    operation("completed", &["completed"], "of these: completed", None),
    operation(
        "deep_write",
        &["deep_submit", "deep_captured", "deep_completed"],
        "a synced write among 1,000 in flight and 1,000 held",
        Some(1_000.0),
    ),
    operation(
        "deep_hold",
        &["deep_hold", "deep_dispatch"],
        "holding and dispatching a write among as many",
        Some(1_500.0),
    ),
    operation("drain", &["drain", "drained"], "draining a record", None),
    operation("sweep", &["sweep", "read_done"], "the sweep's bookkeeping for a block", Some(40.0)),
    operation("scan", &["scan"], "looking at a block in the table", None),
];

const fn operation(
    name: &'static str,
    functions: &'static [&'static str],
    what: &'static str,
    aim: Option<f64>,
) -> Operation {
    Operation { name, functions, what, aim }
}

/// What the task lets the user choose.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Options {
    /// Write what is counted to the table, instead of comparing it
    #[arg(long)]
    bless: bool,
}

type Counts = BTreeMap<String, f64>;

/// The table.
#[derive(serde::Deserialize)]
struct Table {
    /// What `rustc --version` said when it was made.
    compiler: String,
    counts: Counts,
}

/// Runs the task.
pub fn run(layout: &Layout, options: Options) -> Result<()> {
    let mut counts = Counts::new();
    Steps::new(1).run(NAME, |progress| {
        counts = count(layout, progress)?;
        Ok(Outcome::Done)
    })?;
    print!("{}", report(&counts));
    let path = layout.instructions();
    if options.bless {
        return std::fs::write(&path, table(&compiler()?, &counts)).on("write", &path);
    }
    compare(&path, &counts)
}

/// Counts and compares, as a step of a longer task.
pub fn check(layout: &Layout, progress: &Progress) -> Result<Outcome> {
    compare(&layout.instructions(), &count(layout, progress)?)?;
    Ok(Outcome::Done)
}

fn count(layout: &Layout, progress: &Progress) -> Result<Counts> {
    let program = layout.target().join("release").join(PROGRAM);
    programs::host_cargo("building what is counted")
        .current_dir(layout.root())
        .args(["build", "--release", "--package", PROGRAM, "--target-dir"])
        .arg(layout.target())
        .run_with_progress(progress)?;
    let said = Tool::new("running what is counted", &program).output()?;
    let units = units(&said);
    let mut functions: BTreeMap<&str, f64> = BTreeMap::new();
    for function in OPERATIONS.iter().flat_map(|operation| operation.functions) {
        if !functions.contains_key(function) {
            progress.detail(function);
            let unit = units.get(*function).copied().unwrap_or(0.0);
            let found = collected(layout, &program, function)? / unit;
            if !found.is_normal() {
                let problem = format!("nothing was counted in measured_{function}");
                return Err(Error::Malformed { file: program, problem });
            }
            functions.insert(function, found);
        }
    }
    let sum = |operation: &Operation| {
        let parts = operation.functions.iter().filter_map(|it| functions.get(it));
        (operation.name.to_owned(), (parts.sum::<f64>() * 100.0).round() / 100.0)
    };
    Ok(OPERATIONS.iter().map(sum).collect())
}

/// How often each function did its work: a name and a number on each line.
fn units(said: &str) -> Counts {
    let pair = |line: &str| {
        let (name, count) = line.split_once(' ')?;
        Some((name.to_owned(), count.trim().parse().ok()?))
    };
    said.lines().filter_map(pair).collect()
}

/// Instructions inside one function, all calls together.
fn collected(layout: &Layout, program: &Path, function: &str) -> Result<f64> {
    let log = layout.target().join("callgrind.log");
    Tool::new("counting instructions", "valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect=*::measured_{function}"))
        .arg(format!("--log-file={}", log.display()))
        .arg(program)
        .run()?;
    let said = std::fs::read_to_string(&log).on("read", &log)?;
    std::fs::remove_file(&log).on("remove", &log)?;
    collected_in(&said).ok_or_else(|| Error::Malformed {
        file: log,
        problem: format!("callgrind has not said what it collected:\n{said}"),
    })
}

fn collected_in(said: &str) -> Option<f64> {
    let line = said.lines().find_map(|line| line.split_once("Collected : "))?;
    line.1.split_whitespace().next()?.parse().ok()
}

fn report(counts: &Counts) -> String {
    let mut text = String::new();
    for Operation { name, what, aim, .. } in &OPERATIONS {
        let count = counts.get(*name).copied().unwrap_or(0.0);
        let aim = aim.map_or(String::new(), |aim| {
            let verdict = if count <= aim { "reached" } else { "not reached" };
            format!("  aim {aim}: {verdict}")
        });
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:14} {count:9.2}  {what}{aim}");
    }
    text
}

fn compiler() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    Ok(Tool::new("asking for the compiler", rustc).arg("--version").output()?.trim().to_owned())
}

fn table(compiler: &str, counts: &Counts) -> String {
    let mut text = "# Instructions of the engine's verbs, counted by callgrind. Written by\n\
                    # `cargo xtask instructions --bless`; compared by `cargo xtask instructions` and `cargo xtask test`.\n"
        .to_owned();
    // Writing to a string does not fail.
    let _ = writeln!(text, "compiler = {compiler:?}\n\n[counts]");
    for Operation { name, what, .. } in &OPERATIONS {
        let count = counts.get(*name).copied().unwrap_or(0.0);
        // Writing to a string does not fail.
        let _ = writeln!(text, "# {what}\n{name} = {count:.2}");
    }
    text
}

fn compare(path: &Path, counts: &Counts) -> Result<()> {
    let text = std::fs::read_to_string(path).on("read", path)?;
    let malformed = |problem: String| Error::Malformed { file: path.to_path_buf(), problem };
    let wanted: Table = toml::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    let is_same = compiler()? == wanted.compiler;
    let tolerance = if is_same { TOLERANCE } else { TOLERANCE_ELSEWHERE };
    let found = differences(&wanted.counts, counts, tolerance);
    if found.is_empty() {
        return Ok(());
    }
    say("If the change is meant: cargo xtask instructions --bless");
    Err(malformed(found.join("; ")))
}

fn differences(wanted: &Counts, counts: &Counts, tolerance: f64) -> Vec<String> {
    let names: std::collections::BTreeSet<_> = wanted.keys().chain(counts.keys()).collect();
    let difference = |name: &&String| match (wanted.get(*name), counts.get(*name)) {
        (Some(wanted), Some(count)) if (count - wanted).abs() <= wanted * tolerance => None,
        (Some(wanted), Some(count)) => {
            let percent = (count / wanted - 1.0) * 100.0;
            Some(format!("{name}: {count:.2} instructions, not {wanted:.2} ({percent:+.1} %)"))
        }
        _ => Some(format!("{name}: only in one of the table and the program")),
    };
    names.iter().filter_map(difference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pairs: &[(&str, f64)]) -> Counts {
        pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn more_and_fewer_instructions_are_differences_past_the_tolerance() {
        let wanted = counts(&[("submit", 100.0)]);
        let found = |pair| differences(&wanted, &counts(&[pair]), TOLERANCE).len();
        assert_eq!((found(("submit", 103.0)), found(("submit", 97.0))), (0, 0));
        assert_eq!((found(("submit", 103.1)), found(("submit", 96.9))), (1, 1));
        assert_eq!(found(("drain", 1.0)), 2);
    }

    #[test]
    fn the_table_says_what_it_was_made_of() {
        let all: Counts =
            OPERATIONS.iter().map(|operation| (operation.name.to_owned(), 12.5)).collect();
        let read: Table = toml::from_str(&table("rustc \"1\"", &all)).expect("it is TOML");
        assert_eq!((read.compiler.as_str(), read.counts), ("rustc \"1\"", all));
    }

    #[test]
    fn the_output_of_the_programs_is_understood() {
        assert_eq!(collected_in("==1== Events : Ir\n==1== Collected : 1234\n"), Some(1234.0));
        assert_eq!(collected_in("nothing"), None);
        assert_eq!(units("submit 10\nnoise\n"), counts(&[("submit", 10.0)]));
    }
}
