//! `cargo xtask mutants`: changes the engine in a thousand small ways, one at a time, and asks its tests whether they
//! notice (cargo-mutants).
//!
//! The rule: a change that nobody notices is either killed by a better test or listed, with the reason why it changes
//! nothing that matters, in `engine/MUTANTS.md`; and those are few. The quick tests go first; the simulator is asked
//! about what they let live.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::build::programs;
use crate::command::Tool;
use crate::console::{Outcome, Progress, Steps, say};
use crate::error::{Error, IoContext, Result};
use crate::layout::Layout;

/// How many steps it takes.
const STEPS: usize = 3;

const TOOL: &str = "cargo-mutants";
const TOOL_VERSION: &str = "27.1.0";
/// Of a hundred mutants that compile, so many have to be noticed.
const KILLED_PERCENT_MIN: usize = 95;
/// Exit statuses of the tool that tell of mutants: all noticed, some missed, some that ran too long.
const VERDICTS: [i32; 3] = [0, 2, 3];

/// What the task lets the user choose.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// How many to try at a time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    jobs: u32,
}

/// Runs the task.
pub fn run(layout: &Layout, options: &Options) -> Result<()> {
    let verdict = add_to(&mut Steps::new(STEPS), layout, options)?;
    say(&verdict.line());
    verdict.judge()
}

fn add_to(steps: &mut Steps, layout: &Layout, options: &Options) -> Result<Verdict> {
    steps.run("cargo-mutants", |progress| install(layout, progress))?;
    let run = Run { layout, options, folder: layout.target().join("mutants") };
    crate::setup::wdk_root::remove_folder(&run.folder)?;
    steps.run("mutants against the engine's tests", |_| {
        // They take a second or two; what takes longer never ends.
        run.try_all(&["--timeout=10", "-C=--lib", "-C=--test=session", "-C=--test=memory"])
    })?;
    run.take_endless_as_caught()?;
    steps.run("the survivors against the simulator", |_| {
        // Only those that are left, and against tests of another package.
        let left = ["--iterate", "--baseline=skip", "--timeout=60"];
        run.try_all(&[&left[..], &["--test-package=snapless-sim", "-C=--test=rules"]].concat())
    })?;
    run.verdict()
}

/// What became of the mutants.
#[derive(Debug)]
pub struct Verdict {
    killed: usize,
    survived: usize,
    /// The names of those that survived.
    missed: BTreeSet<String>,
    /// What `engine/MUTANTS.md` gives a reason for.
    listed: BTreeSet<String>,
    list: PathBuf,
}

impl Verdict {
    /// What there is to say in a line.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} of {} mutants killed", self.killed, self.killed + self.survived)
    }

    /// Refuses survivors that nobody has given a reason for, reasons for what does not survive, and too many of them.
    pub fn judge(&self) -> Result<()> {
        let mut problems: Vec<String> = Vec::new();
        let unknown = self.missed.difference(&self.listed);
        problems
            .extend(unknown.map(|name| format!("nobody notices, and no reason is given: {name}")));
        let stale = self.listed.difference(&self.missed);
        problems.extend(stale.map(|name| format!("listed, but it does not survive: {name}")));
        let viable = self.killed + self.survived;
        if self.killed * 100 < viable * KILLED_PERCENT_MIN {
            let killed = self.killed;
            problems.push(format!("{killed} of {viable} killed, less than {KILLED_PERCENT_MIN} %"));
        }
        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::Malformed { file: self.list.clone(), problem: problems.join("\n  ") })
    }
}

fn install(layout: &Layout, progress: &Progress) -> Result<Outcome> {
    let record = layout.tools().join(".crates.toml");
    let installed = fs::read_to_string(record).unwrap_or_default();
    if installed.contains(&format!("\"{TOOL} {TOOL_VERSION} ")) {
        return Ok(Outcome::AlreadyThere);
    }
    programs::host_cargo("installing cargo-mutants")
        .args(["install", TOOL, "--version", TOOL_VERSION, "--locked", "--root"])
        .arg(layout.tools())
        .run_with_progress(progress)?;
    Ok(Outcome::Done)
}

struct Run<'a> {
    layout: &'a Layout,
    options: &'a Options,
    folder: PathBuf,
}

impl Run<'_> {
    fn try_all(&self, arguments: &[&str]) -> Result<Outcome> {
        fs::create_dir_all(&self.folder).on("create", &self.folder)?;
        let tool = Tool::new("cargo-mutants", self.layout.tools().join("bin").join(TOOL))
            .current_dir(self.layout.root())
            // The same cases each time: what a test finds by luck today, it would miss tomorrow.
            .env("PROPTEST_RNG_SEED", "1")
            .args(["mutants", "--no-shuffle", "--output"])
            .arg(&self.folder)
            .args(["--jobs", &self.options.jobs.to_string()]);
        let log = self.folder.join("console.log");
        let status = tool.args(arguments).logged_to(&log)?;
        match status.code() {
            Some(code) if VERDICTS.contains(&code) => Ok(Outcome::Done),
            _ => {
                let problem = format!("cargo-mutants could not try the mutants ({status})");
                Err(Error::Malformed { file: log, problem })
            }
        }
    }

    /// A test that never ends has noticed: the tool would ask the simulator as well, which may know nothing of it.
    fn take_endless_as_caught(&self) -> Result<()> {
        let path = self.folder.join("mutants.out/caught.txt");
        let mut caught = self.lines("mutants.out/caught.txt")?;
        caught.extend(self.lines("mutants.out/timeout.txt")?);
        fs::write(&path, caught.join("\n") + "\n").on("write", &path)
    }

    fn lines(&self, file: &str) -> Result<Vec<String>> {
        let path = self.folder.join(file);
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            read => Ok(read.on("read", &path)?.lines().map(str::to_owned).collect()),
        }
    }

    fn verdict(&self) -> Result<Verdict> {
        let missed = self.lines("mutants.out/missed.txt")?;
        let mut killed = 0;
        for file in ["previously_caught.txt", "caught.txt", "timeout.txt"] {
            killed += self.lines(&format!("mutants.out/{file}"))?.len();
        }
        // Those that do not compile are counted among the first.
        killed = killed.saturating_sub(self.lines("mutants.out.old/unviable.txt")?.len());
        let list = self.layout.root().join("engine/MUTANTS.md");
        Ok(Verdict {
            killed,
            survived: missed.len(),
            missed: missed.iter().map(|name| without_place(name)).collect(),
            listed: listed(&list)?,
            list,
        })
    }
}

/// A mutant's name without its line and column, which change with every edit.
fn without_place(name: &str) -> String {
    let (place, change) = name.split_once(": ").unwrap_or((name, ""));
    let file = place.split(':').next().unwrap_or(place);
    format!("{file}: {change}")
}

/// The mutants of the list: each row of its table begins with one, between back-quotes; a bar in it has a backslash
/// before it, as Markdown wants.
fn listed(list: &Path) -> Result<BTreeSet<String>> {
    let text = fs::read_to_string(list).on("read", list)?;
    let name = |row: &str| {
        row.strip_prefix("| `")?.split_once('`').map(|(name, _)| name.replace("\\|", "|"))
    };
    Ok(text.lines().filter_map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(killed: usize, missed: &[&str], listed: &[&str]) -> Verdict {
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let (survived, list) = (missed.len(), "list".into());
        Verdict { killed, survived, missed: set(missed), listed: set(listed), list }
    }

    #[test]
    fn a_survivor_without_a_reason_is_refused() {
        assert!(verdict(99, &["a"], &["a"]).judge().is_ok());
        let error = verdict(98, &["a", "b"], &["a"]).judge().unwrap_err().to_string();
        assert!(error.contains("no reason is given: b"), "{error}");
    }

    #[test]
    fn stale_reasons_are_refused_and_so_are_too_many_survivors() {
        assert!(verdict(19, &["a"], &["a"]).judge().is_ok());
        assert!(verdict(100, &[], &["a"]).judge().is_err());
        let error = verdict(18, &["a"], &["a"]).judge().unwrap_err().to_string();
        assert!(error.contains("less than 95 %"), "{error}");
    }

    #[test]
    fn a_mutant_is_known_by_its_file_and_change() {
        let name = "engine/src/arena.rs:44:68: replace - with + in MemorySpan::part";
        assert_eq!(
            without_place(name),
            "engine/src/arena.rs: replace - with + in MemorySpan::part"
        );
    }

    #[test]
    fn the_list_is_the_first_column_of_its_table() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("MUTANTS.md");
        fs::write(
            &list,
            "# Mutants\n\n| mutant | why |\n| --- | --- |\n| `x: replace \\| with ^` | c `d` |\n",
        )
        .unwrap();
        assert_eq!(listed(&list).unwrap(), BTreeSet::from(["x: replace | with ^".to_owned()]));
    }
}
