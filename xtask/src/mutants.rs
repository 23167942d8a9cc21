//! `cargo xtask mutants`: changes the engine in a thousand small ways, one at a time
//! (cargo-mutants), and runs its tests, which must notice each.
//!
//! A change that makes no difference is excluded in `.cargo/mutants.toml`, with the reason. The
//! quick tests run first; the simulator runs on what they miss. All of them take hours: whoever
//! changes the engine tries those of the lines that are new (`--since`).

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::command::Tool;
use crate::console::{Outcome, Progress, Steps};
use crate::error::{Error, IoContext, Result};
use crate::files::remove_folder;
use crate::layout::Layout;
use crate::setup::tools::{self, MUTANTS};

/// Exit statuses of the tool that judge mutants: all noticed, some missed, some without an end.
const VERDICTS: [i32; 3] = [0, 2, 3];
/// What is changed, as `.cargo/mutants.toml` says more precisely.
const FOLDERS: [&str; 3] = ["engine/src", "fixed/src", "tracking/src"];

/// What the task lets the user choose.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// How many to try at a time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    jobs: u32,
    /// Try only each N-th mutant, from the K-th on: 0/160
    #[arg(long, value_name = "K/N")]
    slice: Option<String>,
    /// Try only those of lines that have changed since this commit
    #[arg(long, value_name = "COMMIT")]
    since: Option<String>,
}

/// Runs the task: tries the mutants, and fails if one of them is missed.
pub fn run(layout: &Layout, options: &Options) -> Result<()> {
    let steps = Steps::new(3);
    steps.run("cargo-mutants", |progress| tools::install(layout, &[&MUTANTS], progress))?;
    let mut missed = Vec::new();
    steps.run("mutants against the engine's tests", |progress| {
        // They take a second or two; what takes longer never ends.
        let mut arguments = vec!["--timeout=10", "-C=--lib"];
        arguments.extend(["-C=--test=session", "-C=--test=memory", "-C=--test=look_ups"]);
        arguments.push("--test-package=snapless-engine,snapless-tracking,snapless-fixed");
        let shard = options.slice.as_ref().map(|slice| format!("--shard={slice}"));
        arguments.extend(shard.iter().flat_map(|shard| [shard, "--sharding=round-robin"]));
        let changes = options.since.as_ref().map(|since| changes(layout, since)).transpose()?;
        let changes = changes.map(|file| format!("--in-diff={}", file.display()));
        arguments.extend(changes.as_deref());
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

/// A file with what has changed since a commit.
fn changes(layout: &Layout, since: &str) -> Result<PathBuf> {
    let diff = Tool::new("asking for what has changed", "git")
        .current_dir(layout.root())
        .args(["diff", since, "--"])
        .args(FOLDERS)
        .output()?;
    let file = layout.target().join("mutants.diff");
    fs::write(&file, diff).on("write", &file)?;
    Ok(file)
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
