//! `cargo xtask test`: sets everything up, then runs every test there is.
//!
//! The rule: a failed check does not keep the others from running, unless they need what it should have made; the
//! last line is `N passed, N failed`, and the exit code says the same.

use snapless_e2e::image::SIZE_MIN_MIB;
use snapless_e2e::process;
use snapless_e2e::scenario::{self, Scenario, Setting};

use crate::build::{self, Artifacts, programs};
use crate::check_sys;
use crate::command::Tool;
use crate::console::{Outcome, Steps, say};
use crate::demo::{failed, files, new_seed, run_folder};
use crate::engine_tests::{LOOM, SABOTAGE};
use crate::error::{Error, Result};
use crate::instructions;
use crate::layout::Layout;
use crate::lint;
use crate::mutants;
use crate::scenario_console::ScenarioConsole;
use crate::selftest;
use crate::setup;
use crate::tsan;

/// The seed of the runs that are the same every time.
const FIXED_SEED: u64 = 1;
/// Limit of the load in bytes per second.
const RATE: u64 = 32 << 20;
/// Seconds of the stress test under `ThreadSanitizer`.
const TSAN_SECONDS: u64 = 15;
/// Seconds of live replication after the first sync.
const LIVE_SECONDS: u64 = 3;

/// What the tests let the user choose.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Replay the end-to-end runs with this seed only
    #[arg(long)]
    seed: Option<u64>,
    /// Run only this end-to-end scenario, and no other test: protect, malformed-requests, power-and-usage,
    /// slow-server, service-crash, server-crash, every-write, low-memory, buffered-volume, paging-file, settings
    /// or removal
    #[arg(long, value_parser = scenario_named)]
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
    let mut steps = Steps::new(setup::STEPS + build::STEPS + CHECKS);
    setup::add_to(&mut steps, layout)?;
    let artifacts = build::all(&mut steps, layout)?;
    if options.scenario.is_none() {
        checks(layout, &artifacts, &mut steps, &mut tally)?;
    }
    end_to_end(layout, options, &artifacts, &mut tally)?;
    tally.finish()
}

/// How many steps [`checks`] takes.
const CHECKS: usize = lint::STEPS + 7 + tsan::STEPS + mutants::STEPS;

fn checks(
    layout: &Layout,
    artifacts: &Artifacts,
    steps: &mut Steps,
    tally: &mut Tally,
) -> Result<()> {
    for part in lint::PARTS {
        tally.count(part.name(), part.add_to(steps, layout))?;
    }
    let checked = check_sys::add_to(steps, layout, &artifacts.driver.image);
    tally.count("check of snapless.sys", checked)?;
    let tests = |what| {
        let tool = programs::host_cargo("cargo test").current_dir(layout.root());
        tool.args(["test", "--workspace", "--no-fail-fast", what])
    };
    cargo_tests(tests("--all-targets"), steps, tally, "unit, property and integration tests")?;
    cargo_tests(tests("--doc"), steps, tally, "documentation tests")?;
    for flagged in [LOOM, SABOTAGE] {
        cargo_tests(flagged.tool(layout, None), steps, tally, flagged.name)?;
    }
    let stress = tsan::Options { seconds: TSAN_SECONDS };
    tally.count("ThreadSanitizer", tsan::add_to(steps, layout, &stress).map(drop))?;
    let slice = mutants::Options::of_a_test(layout)?;
    tally.count(mutants::NAME, mutants::add_to(steps, layout, &slice))?;
    let counted = steps.run(instructions::NAME, |progress| instructions::check(layout, progress));
    tally.count("count of instructions", counted)?;
    let (count, ran) = selftest::add_to(steps, layout, artifacts, |_| ());
    tally.passed += count.passed;
    ran.or_else(|error| tally.fail(selftest::NAME, &error, count.failed.max(1)))
}

/// Runs a `cargo test` and counts its tests.
fn cargo_tests(tool: Tool, steps: &mut Steps, tally: &mut Tally, name: &str) -> Result<()> {
    let mut counted = Counted::default();
    let ran = steps.run(name, |_| {
        let ran = tool.output();
        let said = match &ran {
            Ok(said) | Err(Error::Command { output: said, .. }) => said.as_str(),
            Err(_) => "",
        };
        counted = Counted::of(said);
        ran.map(|_| Outcome::Done)
    });
    tally.passed += counted.passed;
    match ran {
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
        None => Scenario::ALL.to_vec(),
    };
    let first = options.seed.unwrap_or(FIXED_SEED);
    let mut plan: Vec<(Scenario, u64)> = Vec::new();
    for run in 0..options.runs {
        plan.extend(scenarios.iter().map(|&scenario| (scenario, first + run)));
    }
    if options.seed.is_none() {
        plan.push((scenarios[0], new_seed()));
    }
    for (scenario, seed) in plan {
        let name = format!("end to end: {}, seed {seed}", scenario.name());
        say(&name);
        let setting = Setting {
            template: layout.wine_prefix(),
            programs: files(artifacts)?,
            folder: run_folder(layout, &format!("test-{}-{seed}", scenario.name())),
            size_mib: options.size,
            seed,
            rate: RATE,
            live_seconds: LIVE_SECONDS,
        };
        match scenario::run(scenario, &setting, &mut ScenarioConsole::new()) {
            Ok(summary) => {
                say(&summary.line());
                tally.passed += 1;
            }
            Err(source) => {
                let size = options.size;
                say(&format!(
                    "to replay: cargo xtask test --scenario {} --seed {seed} --size {size}",
                    scenario.name()
                ));
                tally.fail(&name, &failed(&setting.folder, source), 1)?;
            }
        }
    }
    Ok(())
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

/// What `cargo test` says that it ran.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    passed: usize,
    failed: usize,
}

impl Counted {
    fn of(said: &str) -> Self {
        let mut counted = Self::default();
        for line in said.lines().filter_map(|line| line.strip_prefix("test result: ")) {
            let words: Vec<&str> = line.split([' ', ';']).collect();
            for pair in words.windows(2) {
                let Ok(number) = pair[0].parse::<usize>() else { continue };
                match pair[1] {
                    "passed" => counted.passed += number,
                    "failed" => counted.failed += number,
                    _ => {}
                }
            }
        }
        counted
    }
}

fn scenario_named(name: &str) -> std::result::Result<Scenario, String> {
    let found = Scenario::ALL.into_iter().find(|scenario| scenario.name() == name);
    found.ok_or_else(|| {
        let names = Scenario::ALL.map(Scenario::name).join(", ");
        format!("there is no such scenario; there are {names}")
    })
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
    }

    #[test]
    fn scenarios_have_names() {
        assert_eq!(scenario_named("slow-server"), Ok(Scenario::SlowServer));
        assert!(scenario_named("nothing").unwrap_err().contains("service-crash"));
    }
}
