//! `cargo xtask test`: sets everything up, then runs every test; `--quick` runs the inner loop's
//! part.
//!
//! A failed check does not keep the others from running, unless they need what it should have made.
//! The last line is `N passed, N failed`, and the exit code says the same.

use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use snapless_e2e::image::SIZE_MIN_MIB;
use snapless_e2e::process;
use snapless_e2e::scenario::Scenario;

use crate::api;
use crate::build::{self, Artifacts, ForWindows, programs};
use crate::check_sys;
use crate::check_tree;
use crate::command::Tool;
use crate::console::{Outcome, Steps, say, side_by_side};
use crate::demo::{msi_folder, new_seed};
use crate::end_to_end::Plan;
use crate::engine_tests::{LOOM, SABOTAGE};
use crate::error::{Error, Result};
use crate::fuzz;
use crate::instructions;
use crate::layout::Layout;
use crate::lint::Part;
use crate::package::{self, Contents, trial};
use crate::page;
use crate::selftest;
use crate::setup::{self, tools};
use crate::space::{self, Need};
use crate::tsan;
use crate::vm;

/// The seed of the runs that are the same every time.
const FIXED_SEED: u64 = 1;
/// Seconds of the stress test under `ThreadSanitizer`.
const TSAN_SECONDS: u64 = 15;
/// The packages whose documentation has examples, and their folders: rustdoc takes seconds for each
/// package, for one without as well.
const WITH_EXAMPLES: [(&str, &str); 2] =
    [("engine", "snapless-engine"), ("types", "snapless-types")];

/// What the tests let the user choose.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Only what finds most mistakes soon: lints for Linux, checks of the repository, unit and
    /// integration tests, one end-to-end run; less than five minutes with everything built
    #[arg(long, conflicts_with_all = ["scenario", "runs"])]
    quick: bool,
    /// Replay the end-to-end runs with this seed only
    #[arg(long)]
    seed: Option<u64>,
    /// Run only this end-to-end scenario, and no other test
    #[arg(long, value_parser = scenarios())]
    scenario: Option<Scenario>,
    /// Run each end-to-end scenario this many times, each time with another seed
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    runs: u64,
    /// MiB of the volume of the end-to-end runs
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u64).range(SIZE_MIN_MIB..=65536))]
    size: u64,
}

/// How much runs besides end-to-end scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checks {
    None,
    Quick,
    All,
}

/// Runs the task.
pub fn run(layout: &Layout, options: &Options) -> Result<()> {
    process::catch_interrupts()?;
    let checks = match options {
        Options { scenario: Some(_), .. } => Checks::None,
        Options { quick: true, .. } => Checks::Quick,
        _ => Checks::All,
    };
    space::require(layout, checks.need(options.size))?;
    let steps = Steps::new(setup::STEPS + build::STEPS + checks.steps());
    setup::add_to(&steps, layout)?;
    // Other compilers, other folders: side by side they keep two processors busy.
    let ((fuzz_built, fuzz_to_run), steps) = (mpsc::channel(), &steps);
    let sides = side_by_side(
        move || windows_side(steps, layout, checks, &fuzz_to_run),
        || linux_side(steps, layout, checks, fuzz_built),
    );
    let ((windows, mut tally), (server, of_linux)) = sides?;
    tally.add(of_linux);
    end_to_end(layout, options, &Artifacts { windows, server }, &mut tally)?;
    tally.finish()
}

const QUICK_LINTS: [Part; 3] = [Part::Format, Part::Inf, Part::Linux];
const WINDOWS_LINTS: [Part; 3] = [Part::Windows, Part::Driver, Part::Kernel];
/// How many steps [`quick_checks`] takes.
const QUICK_CHECKS: usize = QUICK_LINTS.len() + check_tree::STEPS + 1;
/// How many steps [`slow_checks`] takes.
const SLOW_CHECKS: usize = 5 + page::STEPS + vm::STEPS;
/// How many steps [`windows_checks`] takes.
const WINDOWS_CHECKS: usize = WINDOWS_LINTS.len() + 3 + tsan::STEPS;
/// How many steps the fuzz targets take: one on each side.
const FUZZ_CHECKS: usize = 2;

impl Checks {
    fn steps(self) -> usize {
        match self {
            Self::None => 0,
            Self::Quick => QUICK_CHECKS,
            Self::All => QUICK_CHECKS + SLOW_CHECKS + WINDOWS_CHECKS + FUZZ_CHECKS,
        }
    }

    fn need(self, size_mib: u64) -> Need {
        match self {
            Self::None | Self::Quick => Need::of_some_tests(size_mib),
            Self::All => Need::of_tests(size_mib),
        }
    }
}

/// What Debian's compiler builds: the programs for Windows, and the checks of them. Then the fuzz
/// targets, which the other side has built long since: this one has less to do.
fn windows_side(
    steps: &Steps,
    layout: &Layout,
    checks: Checks,
    fuzz_to_run: &Receiver<()>,
) -> Result<(ForWindows, Tally)> {
    setup::wine_prefix(steps, layout)?;
    let built = build::for_windows(steps, layout)?;
    let mut tally = Tally::default();
    if checks == Checks::All {
        windows_checks(layout, &built, steps, &mut tally)?;
        // Where there is nothing to run, the other side has counted why.
        if fuzz_to_run.recv().is_ok() {
            let ran = steps.run(fuzz::NAME, |progress| fuzz::check(layout, progress));
            tally.count(fuzz::NAME, ran)?;
        }
    }
    Ok((built, tally))
}

/// What the toolchain of this program builds. The fuzz targets are built beside the tests, since
/// they share most crates with them, and tell when they are there.
fn linux_side(
    steps: &Steps,
    layout: &Layout,
    checks: Checks,
    fuzz_built: Sender<()>,
) -> Result<(PathBuf, Tally)> {
    let server = build::server(steps, layout)?;
    let mut tally = Tally::default();
    if checks == Checks::All {
        match steps.run(fuzz::BUILD, |progress| fuzz::build(layout, progress)) {
            // The other side may have ended by an error.
            Ok(()) => drop(fuzz_built.send(())),
            Err(error) => tally.fail(fuzz::BUILD, &error, 1)?,
        }
    }
    drop(fuzz_built);
    if checks != Checks::None {
        quick_checks(layout, steps, &mut tally)?;
    }
    if checks == Checks::All {
        slow_checks(layout, steps, &mut tally)?;
    }
    Ok((server, tally))
}

fn quick_checks(layout: &Layout, steps: &Steps, tally: &mut Tally) -> Result<()> {
    for part in QUICK_LINTS {
        tally.count(part.name(), part.add_to(steps, layout))?;
    }
    check_tree::add_to(steps, layout, |name, ended| tally.count(name, ended))?;
    let nextest = tools::NEXTEST.tool(layout, "cargo nextest").args(["nextest", "run"]);
    let nextest = nextest.args(["--workspace", "--all-targets", "--no-fail-fast"]);
    let nextest = nextest.args(["--status-level", "fail", "--color", "never"]);
    run_tests(nextest, steps, tally, "unit, property and integration tests")
}

fn slow_checks(layout: &Layout, steps: &Steps, tally: &mut Tally) -> Result<()> {
    let doc = programs::host_cargo("cargo test").current_dir(layout.root());
    let doc = doc.args(["test", "--no-fail-fast", "--doc"]);
    let doc = WITH_EXAMPLES.iter().fold(doc, |doc, (_, package)| doc.args(["--package", *package]));
    run_tests(doc, steps, tally, "documentation tests")?;
    for flagged in [LOOM, SABOTAGE] {
        run_tests(flagged.tool(layout, None), steps, tally, flagged.name)?;
    }
    let api = steps.run(api::NAME, |progress| api::check(layout, progress));
    tally.count(api::NAME, api)?;
    page::add_to(steps, layout, |name, ended| tally.count(name, ended))?;
    let counted = steps.run(instructions::NAME, |progress| instructions::check(layout, progress));
    tally.count(instructions::NAME, counted)?;
    match vm::prepare(steps, layout) {
        Ok(()) => run_tests(vm::rehearsal(layout), steps, tally, vm::NAME),
        Err(error) => tally.fail(vm::NAME, &error, 1),
    }
}

fn windows_checks(
    layout: &Layout,
    built: &ForWindows,
    steps: &Steps,
    tally: &mut Tally,
) -> Result<()> {
    for part in WINDOWS_LINTS {
        tally.count(part.name(), part.add_to(steps, layout))?;
    }
    let checked = check_sys::add_to(steps, layout, &built.driver.image);
    tally.count("check of snapless.sys", checked)?;
    let (count, ran) = selftest::add_to(steps, layout, built, |_| ());
    tally.passed += count.passed;
    ran.or_else(|error| tally.fail(selftest::NAME, &error, count.failed.max(1)))?;
    let contents = Contents::built(&built.driver, &built.programs);
    tally.count(trial::NAME, trial::add_to(steps, layout, &contents, &built.rig))?;
    let stress = tsan::Options { seconds: TSAN_SECONDS };
    tally.count("ThreadSanitizer", tsan::add_to(steps, layout, &stress).map(drop))
}

/// Runs a program of tests and counts what it says that it ran.
fn run_tests(tool: Tool, steps: &Steps, tally: &mut Tally, name: &str) -> Result<()> {
    let mut counted = Counted::default();
    let ran = steps.run(name, |progress| {
        let (ended, said) = tool.said(|line| progress.detail(line))?;
        counted = Counted::of(&said);
        ended.map(|()| Outcome::Done)
    });
    tally.passed += counted.passed;
    match ran {
        // A run without tests shows nothing.
        Ok(()) if counted.passed == 0 => tally.fail(name, &Error::Tests { failed: 1 }, 1),
        Ok(()) => Ok(()),
        Err(error) => tally.fail(name, &error, counted.failed.max(1)),
    }
}

fn end_to_end(
    layout: &Layout,
    options: &Options,
    artifacts: &Artifacts,
    tally: &mut Tally,
) -> Result<()> {
    let scenarios = match options.scenario {
        Some(only) => vec![only],
        None if options.quick => Scenario::ALL[..1].to_vec(),
        None => Scenario::ALL.to_vec(),
    };
    let first = options.seed.unwrap_or(FIXED_SEED);
    let mut plan: Vec<(Scenario, u64)> = Vec::new();
    for run in 0..options.runs {
        plan.extend(scenarios.iter().map(|&scenario| (scenario, first + run)));
    }
    if options.seed.is_none() && !options.quick {
        plan.push((scenarios[0], new_seed()));
    }
    let package = scenarios
        .contains(&Scenario::Administration)
        .then(|| package::for_run(layout, &artifacts.windows, &msi_folder(layout)))
        .transpose()?;
    let plan = Plan { layout, artifacts, package, size_mib: options.size, runs: plan };
    plan.run(|name, ended| tally.count(name, ended))
}

/// What has passed and what has failed.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    failed: usize,
    /// The failures: what was tried, and what it said.
    failures: Vec<(String, String)>,
}

/// How many lines of what a failure said are said again at the end: the log of a long run may be
/// cut off before them.
const LINES_AGAIN: usize = 30;

impl Tally {
    /// Adds what another part of the run has counted.
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.failures.extend(other.failures);
    }

    /// Counts a step as one test.
    fn count(&mut self, name: &str, step: Result<()>) -> Result<()> {
        match step {
            Ok(()) => {
                self.passed += 1;
                Ok(())
            }
            Err(error) => self.fail(name, &error, 1),
        }
    }

    /// Counts a failure; an interrupted run ends here.
    fn fail(&mut self, name: &str, error: &Error, count: usize) -> Result<()> {
        process::check_interrupt()?;
        let said = error.to_string();
        say(&said);
        self.failed += count;
        self.failures.push((name.to_owned(), last_lines(&said, LINES_AGAIN)));
        Ok(())
    }

    fn finish(self) -> Result<()> {
        for (name, said) in &self.failures {
            say(&format!("failed: {name}\n{said}"));
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 { Ok(()) } else { Err(Error::Tests { failed: self.failed }) }
    }
}

/// The end of a text, with a mark where something was left off.
fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    match lines.len().checked_sub(count) {
        None | Some(0) => lines.join("\n"),
        Some(left_off) => format!("…\n{}", lines[left_off..].join("\n")),
    }
}

/// What `cargo test` or `cargo nextest` says that it ran.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    passed: usize,
    failed: usize,
}

impl Counted {
    fn of(said: &str) -> Self {
        let mut counted = Self::default();
        let is_summary =
            |line: &&str| line.starts_with("test result: ") || line.contains(" tests run: ");
        for line in said.lines().filter(is_summary) {
            let words: Vec<&str> = line.split([' ', ';', ',']).collect();
            for pair in words.windows(2) {
                let Ok(number) = pair[0].parse::<usize>() else { continue };
                match pair[1] {
                    "passed" => counted.passed += number,
                    "failed" | "timed" | "exec" => counted.failed += number,
                    _ => {}
                }
            }
        }
        counted
    }
}

fn scenarios() -> impl TypedValueParser<Value = Scenario> {
    let named = |name: String| Scenario::ALL.into_iter().find(|scenario| scenario.name() == name);
    PossibleValuesParser::new(Scenario::ALL.map(Scenario::name))
        .try_map(move |name| named(name).ok_or("there is no such scenario"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::check_tree::{Text, Tree};

    #[test]
    fn every_package_with_examples_in_its_documentation_is_tested() {
        let fence = |line: &str| {
            let text = line.trim_start().strip_prefix("//")?.strip_prefix(['/', '!'])?;
            text.trim().strip_prefix("```").map(str::to_owned)
        };
        let tree = Tree::read(Layout::of_this_repository().root()).expect("it is there");
        let mut found = BTreeSet::new();
        for Text { path, text } in tree.with_extension("rs") {
            // Every other fence is the end of an example.
            let mut kinds = text.lines().filter_map(fence).step_by(2);
            if kinds.any(|kind| !["text", "toml"].contains(&kind.as_str())) {
                found.extend(path.iter().next().and_then(|folder| folder.to_str()));
            }
        }
        assert_eq!(found, BTreeSet::from(WITH_EXAMPLES.map(|(folder, _)| folder)));
    }

    #[test]
    fn a_failure_is_said_again_by_its_last_lines() {
        assert_eq!(last_lines("one\ntwo\n", 2), "one\ntwo");
        assert_eq!(last_lines("one\ntwo\nthree", 2), "…\ntwo\nthree");
    }

    #[test]
    fn the_results_of_all_test_programs_are_added_up() {
        let said = "running 2 tests\n\
            test result: ok. 13 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.9s\n\
            noise 5 passed\n\
            test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(Counted::of(said), Counted { passed: 15, failed: 3 });
        let said = "     Summary [   9.0s] 20 tests run: 12 passed (2 slow), 5 failed, 3 timed out, 1 skipped";
        assert_eq!(Counted::of(said), Counted { passed: 12, failed: 8 });
    }
}
