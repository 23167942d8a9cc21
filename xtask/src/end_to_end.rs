//! The end-to-end runs of a test: a few at a time.
//!
//! A scenario waits for its load and its volume's delays most of the time: three of them keep two
//! processors busy.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Mutex, mpsc};
use std::thread;

use snapless_e2e::scenario::{self, Scenario, Setting};

use crate::build::Artifacts;
use crate::console::say;
use crate::demo::{failed, files, run_folder};
use crate::error::Result;
use crate::layout::Layout;
use crate::scenario_console::ScenarioConsole;

/// How many scenarios run at a time.
const AT_A_TIME: usize = 3;
/// Limit of the load in bytes per second.
const RATE: u64 = 32 << 20;
/// Seconds of live replication after the first sync.
const LIVE_SECONDS: u64 = 3;

/// What to run.
pub struct Plan<'a> {
    /// The repository.
    pub layout: &'a Layout,
    /// What is under test.
    pub artifacts: &'a Artifacts,
    /// The MSI, which the administrator's run installs.
    pub package: Option<PathBuf>,
    /// MiB of each run's volume.
    pub size_mib: u64,
    /// Scenarios and their seeds, in the order in which they begin.
    pub runs: Vec<(Scenario, u64)>,
}

impl Plan<'_> {
    /// Runs everything. `ended` gets each run's name and end, and may end the rest by an error.
    pub fn run(&self, mut ended: impl FnMut(&str, Result<()>) -> Result<()>) -> Result<()> {
        let waiting = Mutex::new(VecDeque::from(self.runs.clone()));
        let next = || waiting.lock().ok().and_then(|mut waiting| waiting.pop_front());
        let labelled = self.runs.len() > 1;
        let (sender, endings) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..AT_A_TIME.min(self.runs.len()) {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    while let Some((scenario, seed)) = next() {
                        let name = format!("end to end: {}, seed {seed}", scenario.name());
                        let ended = self.run_one(scenario, seed, &name, labelled);
                        if sender.send((name, ended)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            let told = endings.iter().try_for_each(|(name, run)| ended(&name, run));
            // Threads that go on find nothing to do.
            drop(endings);
            if let Ok(mut waiting) = waiting.lock() {
                waiting.clear();
            }
            told
        })
    }

    fn run_one(&self, scenario: Scenario, seed: u64, name: &str, labelled: bool) -> Result<()> {
        say(name);
        let mut programs = files(self.artifacts.clone());
        if scenario == Scenario::Administration {
            programs.package.clone_from(&self.package);
        }
        let setting = Setting {
            template: self.layout.wine_prefix(),
            programs,
            folder: run_folder(self.layout, &format!("test-{}-{seed}", scenario.name())),
            size_mib: self.size_mib,
            seed,
            rate: RATE,
            live_seconds: LIVE_SECONDS,
            repository_stays: false,
        };
        let mut console = if labelled {
            ScenarioConsole::labelled(&format!("{} {seed}", scenario.name()))
        } else {
            ScenarioConsole::new()
        };
        let summary = scenario::run(scenario, &setting, &mut console).map_err(|source| {
            let size = self.size_mib;
            let again = format!("cargo xtask test --scenario {} --seed {seed}", scenario.name());
            say(&format!("to replay: {again} --size {size}"));
            failed(&setting.folder, source)
        })?;
        say(&format!("{name}: {}", summary.line()));
        Ok(())
    }
}
