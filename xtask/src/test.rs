//! `cargo xtask test`: sets everything up, then runs every test; `--quick` runs the inner loop's
//! part.
//!
//! A failed check does not keep the others from running, unless they need what it should have made.
//! The last line is `N passed, N failed`, and the exit code says the same.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use snapless_e2e::image::SIZE_MIN_MIB;
use snapless_e2e::process;
use snapless_e2e::scenario::Scenario;

use crate::build::{self, Artifacts, programs};
use crate::check_sys;
use crate::check_tree;
use crate::command::Tool;
use crate::console::{Outcome, Steps, say};
use crate::demo::new_seed;
use crate::end_to_end::Plan;
use crate::engine_tests::{LOOM, SABOTAGE};
use crate::error::{Error, Result};
use crate::fuzz;
use crate::instructions;
use crate::layout::Layout;
use crate::lint::Part;
use crate::mutants;
use crate::selftest;
use crate::setup::{self, tools};
use crate::tsan;

/// The seed of the runs that are the same every time.
const FIXED_SEED: u64 = 1;
/// Seconds of the stress test under `ThreadSanitizer`.
const TSAN_SECONDS: u64 = 15;
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

/// Runs the task.
pub fn run(layout: &Layout, options: &Options) -> Result<()> {
    process::catch_interrupts()?;
    let mut tally = Tally::default();
    let checks = match options {
        Options { scenario: Some(_), .. } => 0,
        Options { quick: true, .. } => QUICK_CHECKS,
        _ => CHECKS,
    };
    let mut steps = Steps::new(setup::STEPS + build::STEPS + checks);
    setup::add_to(&mut steps, layout)?;
    let artifacts = build::all(&mut steps, layout)?;
    if options.scenario.is_none() {
        quick_checks(layout, &mut steps, &mut tally)?;
        if !options.quick {
            slow_checks(layout, &artifacts, &mut steps, &mut tally)?;
        }
    }
    end_to_end(layout, options, &artifacts, &mut tally)?;
    tally.finish()
}

/// How many steps [`quick_checks`] takes.
const QUICK_CHECKS: usize = QUICK_LINTS.len() + check_tree::STEPS + 1;
/// How many steps both kinds of checks take.
const CHECKS: usize = QUICK_CHECKS + SLOW_LINTS.len() + 7 + tsan::STEPS + mutants::STEPS;

const QUICK_LINTS: [Part; 2] = [Part::Format, Part::Linux];
const SLOW_LINTS: [Part; 3] = [Part::Windows, Part::Driver, Part::Kernel];

fn quick_checks(layout: &Layout, steps: &mut Steps, tally: &mut Tally) -> Result<()> {
    for part in QUICK_LINTS {
        tally.count(part.name(), part.add_to(steps, layout))?;
    }
    check_tree::add_to(steps, layout, |name, ended| tally.count(name, ended))?;
    let nextest = tools::NEXTEST.tool(layout, "cargo nextest").args(["nextest", "run"]);
    let nextest = nextest.args(["--workspace", "--all-targets", "--no-fail-fast"]);
    let nextest = nextest.args(["--status-level", "fail", "--color", "never"]);
    run_tests(nextest, steps, tally, "unit, property and integration tests")
}

fn slow_checks(
    layout: &Layout,
    artifacts: &Artifacts,
    steps: &mut Steps,
    tally: &mut Tally,
) -> Result<()> {
    for part in SLOW_LINTS {
        tally.count(part.name(), part.add_to(steps, layout))?;
    }
    let checked = check_sys::add_to(steps, layout, &artifacts.driver.image);
    tally.count("check of snapless.sys", checked)?;
    let doc = programs::host_cargo("cargo test").current_dir(layout.root());
    let doc = doc.args(["test", "--workspace", "--no-fail-fast", "--doc"]);
    run_tests(doc, steps, tally, "documentation tests")?;
    for flagged in [LOOM, SABOTAGE] {
        run_tests(flagged.tool(layout, None), steps, tally, flagged.name)?;
    }
    let stress = tsan::Options { seconds: TSAN_SECONDS };
    tally.count("ThreadSanitizer", tsan::add_to(steps, layout, &stress).map(drop))?;
    let slice = mutants::Options::of_a_test(layout)?;
    tally.count(mutants::NAME, mutants::add_to(steps, layout, &slice))?;
    tally.count(fuzz::NAME, steps.run(fuzz::NAME, |progress| fuzz::check(layout, progress)))?;
    let counted = steps.run(instructions::NAME, |progress| instructions::check(layout, progress));
    tally.count(instructions::NAME, counted)?;
    let (count, ran) = selftest::add_to(steps, layout, artifacts, |_| ());
    tally.passed += count.passed;
    ran.or_else(|error| tally.fail(selftest::NAME, &error, count.failed.max(1)))
}

/// Runs a program of tests and counts what it says that it ran.
fn run_tests(tool: Tool, steps: &mut Steps, tally: &mut Tally, name: &str) -> Result<()> {
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
    let plan = Plan { layout, artifacts, size_mib: options.size, runs: plan };
    plan.run(|name, ended| tally.count(name, ended))
}

/// What has passed and what has failed.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    failed: usize,
    names: Vec<String>,
}

impl Tally {
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
        say(&format!("{error}"));
        self.failed += count;
        self.names.push(name.to_owned());
        Ok(())
    }

    fn finish(self) -> Result<()> {
        for name in &self.names {
            say(&format!("failed: {name}"));
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 { Ok(()) } else { Err(Error::Tests { failed: self.failed }) }
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
    use super::*;

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
