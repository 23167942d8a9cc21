//! `cargo xtask mutants`: changes the engine in a thousand small ways, one at a time
//! (cargo-mutants), and runs its tests, which must notice each.
//!
//! A change that makes no difference is excluded in `.cargo/mutants.toml`, with the reason. The
//! quick tests run first; the simulator runs on what they miss. A test run tries a slice of the
//! mutants, another one with each change of the engine. A test that is added leaves the slice as it
//! is, so that it is seen to notice what was missed.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::path::Path;

use crate::console::{Outcome, Progress, Steps};
use crate::error::{Error, IoContext, Result};
use crate::files::{files_below, remove_folder};
use crate::layout::Layout;
use crate::setup::tools::{self, MUTANTS};

/// How many steps [`add_to`] takes.
pub const STEPS: usize = 2;
/// What to call it where other tests run as well.
pub const NAME: &str = "a slice of the engine's mutants";

/// Exit statuses of the tool that judge mutants: all noticed, some missed, some without an end.
const VERDICTS: [i32; 3] = [0, 2, 3];
/// Slices of a test run: about a dozen mutants each, a minute on two processors.
const SLICES: u64 = 160;

/// What the task lets the user choose.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// How many to try at a time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    jobs: u32,
    /// Try only each N-th mutant, from the K-th on: 0/160
    #[arg(long, value_name = "K/N")]
    slice: Option<String>,
}

impl Options {
    /// A slice for a test run: the same for the same engine, also with more tests.
    pub fn of_a_test(layout: &Layout) -> Result<Self> {
        let mut hasher = DefaultHasher::new();
        for folder in ["engine/src", "tracking/src", "fixed/src"] {
            for file in files_below(&layout.root().join(folder))? {
                let text = fs::read_to_string(&file).on("read", &file)?;
                text.split("#[cfg(test)]").next().hash(&mut hasher);
            }
        }
        Ok(Self { jobs: 2, slice: Some(format!("{}/{SLICES}", hasher.finish() % SLICES)) })
    }
}

/// Runs the task.
pub fn run(layout: &Layout, options: &Options) -> Result<()> {
    let steps = Steps::new(1 + STEPS);
    tools::add_to(&steps, layout)?;
    add_to(&steps, layout, options)
}

/// Tries the mutants, and fails if one of them is missed.
pub fn add_to(steps: &Steps, layout: &Layout, options: &Options) -> Result<()> {
    let mut missed = Vec::new();
    steps.run("mutants against the engine's tests", |progress| {
        // They take a second or two; what takes longer never ends.
        let mut arguments = vec!["--timeout=10", "-C=--lib"];
        arguments.extend(["-C=--test=session", "-C=--test=memory", "-C=--test=look_ups"]);
        arguments.push("--test-package=snapless-engine,snapless-tracking,snapless-fixed");
        let shard = options.slice.as_ref().map(|slice| format!("--shard={slice}"));
        arguments.extend(shard.iter().flat_map(|shard| [shard, "--sharding=round-robin"]));
        let tried = Run { layout, jobs: options.jobs, name: "mutants" }.try_those(&arguments)?;
        missed = tried.missed;
        note(progress, tried.noticed, missed.len());
        Ok(Outcome::Done)
    })?;
    steps.run("the survivors against the simulator", |progress| {
        if missed.is_empty() {
            return Ok(Outcome::NotNeeded("there are none".to_owned()));
        }
        // Each by its name, against tests of another package.
        let only = |name: &String| format!("--re=^{}$", regex_syntax::escape(name));
        let names: Vec<String> = missed.iter().map(only).collect();
        let mut arguments =
            vec!["--baseline=skip", "--timeout=60", "--test-package=snapless-sim", "-C=--test=rules"];
        arguments.extend(names.iter().map(String::as_str));
        // The build of the simulator, with all of the server, takes longer than a few of its runs.
        let run = Run { layout, jobs: 1, name: "mutants-simulated" };
        let tried = run.try_those(&arguments)?;
        // The tool also tries some that it was not asked for: those that delete a field.
        missed.retain(|name| tried.missed.contains(name));
        note(progress, tried.noticed, missed.len());
        if missed.is_empty() {
            return Ok(Outcome::Done);
        }
        let file = layout.root().join(".cargo/mutants.toml");
        let problem = format!(
            "no test notices these changes. Write a test, or exclude the change with a reason:\n  {}",
            missed.join("\n  ")
        );
        Err(Error::Malformed { file, problem })
    })
}

fn note(progress: &Progress, noticed: usize, missed: usize) {
    progress.note(&format!("  {noticed} of {} mutants noticed", noticed + missed));
}

/// What became of some mutants.
struct Tried {
    noticed: usize,
    missed: Vec<String>,
}

struct Run<'a> {
    layout: &'a Layout,
    /// How many at a time; each builds in a folder of its own.
    jobs: u32,
    /// The folder, below the one for what is built.
    name: &'a str,
}

impl Run<'_> {
    /// Tries the mutants that the arguments select, against the tests that they select.
    fn try_those(&self, arguments: &[&str]) -> Result<Tried> {
        let folder = self.layout.target().join(self.name);
        remove_folder(&folder)?;
        // The tool's copies of the sources: here they go with the rest if it is killed.
        let copies = folder.join("copies");
        fs::create_dir_all(&copies).on("create", &copies)?;
        let log = folder.join("console.log");
        let status = MUTANTS
            .tool(self.layout, "cargo-mutants")
            // The same cases each time: a test must not notice by luck.
            .env("PROPTEST_RNG_SEED", "1")
            .env("TMPDIR", &copies)
            .args(["mutants", "--no-shuffle", "--output"])
            .arg(&folder)
            .args(["--jobs", &self.jobs.to_string()])
            .args(arguments)
            .logged_to(&log)?;
        if !status.code().is_some_and(|code| VERDICTS.contains(&code)) {
            let problem = format!("cargo-mutants could not try the mutants ({status})");
            return Err(Error::Malformed { file: log, problem });
        }
        let those = |file: &str| lines(&folder.join("mutants.out").join(file));
        // A test that does not end notices as well.
        let noticed = those("caught.txt")?.len() + those("timeout.txt")?.len();
        Ok(Tried { noticed, missed: those("missed.txt")? })
    }
}

fn lines(path: &Path) -> Result<Vec<String>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        read => Ok(read.on("read", path)?.lines().map(str::to_owned).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_run_takes_the_same_slice_of_the_same_engine() {
        let layout = Layout::of_this_repository();
        let slice = || Options::of_a_test(&layout).expect("the engine is there").slice;
        assert_eq!(slice(), slice());
        assert!(slice().expect("a slice").ends_with("/160"));
    }
}
