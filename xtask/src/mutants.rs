//! `cargo xtask mutants`: changes the engine in a thousand small ways, one at a time, and asks its tests whether they
//! notice (cargo-mutants).
//!
//! The rule: a change that nobody notices is either killed by a better test or listed, with the reason why it changes
//! nothing that matters, in `engine/MUTANTS.md`; and those are few. The quick tests go first; the simulator is asked
//! about what they let live. A test run tries a slice of them, another one with each change of the engine.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::build::programs;
use crate::command::Tool;
use crate::console::{Outcome, Progress, Steps, say};
use crate::error::{Error, IoContext, Result};
use crate::layout::Layout;
use crate::stamp::Fingerprint;

/// How many steps it takes.
pub const STEPS: usize = 3;
/// What to call it where other tests run as well.
pub const NAME: &str = "a slice of the engine's mutants";

const TOOL: &str = "cargo-mutants";
const TOOL_VERSION: &str = "27.1.0";
/// Of a hundred mutants that compile, so many have to be noticed.
const KILLED_PERCENT_MIN: usize = 95;
/// Exit statuses of the tool that tell of mutants: all noticed, some missed, some that ran too long.
const VERDICTS: [i32; 3] = [0, 2, 3];
/// Slices of a test run: two minutes each on two processors.
const SLICES: u64 = 20;

/// What the task lets the user choose.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// How many to try at a time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    jobs: u32,
    /// Try only each N-th mutant, from the K-th on
    #[arg(long, value_name = "K/N")]
    slice: Option<Slice>,
}

/// Each `count`-th mutant, from number `index` on; counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slice {
    index: u64,
    count: u64,
}

impl FromStr for Slice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let numbers = text.split_once('/');
        match numbers.map(|(index, count)| (index.parse(), count.parse())) {
            Some((Ok(index), Ok(count))) if index < count => Ok(Self { index, count }),
            _ => Err("a slice is K/N with K less than N, as 0/20".to_owned()),
        }
    }
}

impl Options {
    /// A slice for a test run: the same for the same engine.
    pub fn of_a_test(layout: &Layout) -> Result<Self> {
        let mut engine = Fingerprint::default();
        let sources = engine.contents(&layout.root().join("engine/src"))?;
        Ok(Self { jobs: 2, slice: Some(Slice { index: sources.value() % SLICES, count: SLICES }) })
    }
}

/// Runs the task.
pub fn run(layout: &Layout, options: &Options) -> Result<()> {
    add_to(&mut Steps::new(STEPS), layout, options)
}

/// Tries the mutants, says how many were killed, and judges it.
pub fn add_to(steps: &mut Steps, layout: &Layout, options: &Options) -> Result<()> {
    steps.run("cargo-mutants", |progress| install(layout, progress))?;
    let list = layout.root().join("engine/MUTANTS.md");
    let mut verdict =
        Verdict { slice: options.slice, listed: listed(&list)?, list, ..Verdict::default() };
    steps.run("mutants against the engine's tests", |_| {
        // They take a second or two; what takes longer never ends.
        let mut arguments =
            vec!["--timeout=10", "-C=--lib", "-C=--test=session", "-C=--test=memory"];
        let shard = options.slice.map(|Slice { index, count }| format!("--shard={index}/{count}"));
        arguments.extend(shard.iter().flat_map(|shard| [shard, "--sharding=round-robin"]));
        verdict.first(Run { layout, options, name: "mutants" }.try_those(&arguments)?);
        Ok(Outcome::Done)
    })?;
    steps.run("the survivors against the simulator", |_| {
        // One by one by their names, against tests of another package.
        let names: Vec<String> = verdict.missed.iter().map(|name| only(name)).collect();
        if names.is_empty() {
            return Ok(Outcome::NotNeeded("there are none".to_owned()));
        }
        let tests =
            ["--baseline=skip", "--timeout=60", "--test-package=snapless-sim", "-C=--test=rules"];
        let arguments: Vec<&str> =
            tests.into_iter().chain(names.iter().map(String::as_str)).collect();
        let run = Run { layout, options, name: "mutants-simulated" };
        verdict.second(&run.try_those(&arguments)?);
        Ok(Outcome::Done)
    })?;
    say(&verdict.line());
    verdict.judge()
}

/// What became of some mutants, by the tool's lists.
#[derive(Debug, Default)]
struct Tried {
    noticed: Vec<String>,
    missed: Vec<String>,
}

/// What became of the mutants.
#[derive(Debug, Default)]
struct Verdict {
    slice: Option<Slice>,
    killed: usize,
    /// Those that survived, each with its place.
    missed: BTreeSet<String>,
    /// What `engine/MUTANTS.md` gives a reason for.
    listed: BTreeSet<String>,
    list: PathBuf,
}

impl Verdict {
    /// Notes what the quick tests said of all.
    fn first(&mut self, tried: Tried) {
        self.killed = tried.noticed.len();
        self.missed = tried.missed.into_iter().collect();
    }

    /// Notes what the simulator said of those that were left.
    fn second(&mut self, tried: &Tried) {
        let newly = tried.noticed.iter().filter(|&name| self.missed.remove(name));
        self.killed += newly.count();
    }

    fn viable(&self) -> usize {
        self.killed + self.missed.len()
    }

    /// What there is to say in a line.
    fn line(&self) -> String {
        let slice = self.slice.map_or(String::new(), |Slice { index, count }| {
            format!(", slice {index} of {count} (cargo xtask mutants tries all)")
        });
        format!("{} of {} mutants killed{slice}", self.killed, self.viable())
    }

    /// Refuses survivors that nobody has given a reason for, reasons for what does not survive, and too many of them.
    fn judge(&self) -> Result<()> {
        let missed: BTreeSet<String> = self.missed.iter().map(|name| without_place(name)).collect();
        let unknown = missed.difference(&self.listed);
        let mut problems: Vec<String> =
            unknown.map(|name| format!("nobody notices, and no reason is given: {name}")).collect();
        // A slice does not know what lives in the others.
        if self.slice.is_none() {
            let stale = self.listed.difference(&missed);
            problems.extend(stale.map(|name| format!("listed, but it does not survive: {name}")));
            let (killed, viable) = (self.killed, self.viable());
            if killed * 100 < viable * KILLED_PERCENT_MIN {
                let least = KILLED_PERCENT_MIN;
                problems.push(format!("{killed} of {viable} killed, less than {least} %"));
            }
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
    /// The folder, below the one for what is built.
    name: &'a str,
}

impl Run<'_> {
    /// Tries the mutants that the arguments select, against the tests that they select.
    fn try_those(&self, arguments: &[&str]) -> Result<Tried> {
        let folder = self.layout.target().join(self.name);
        crate::setup::wdk_root::remove_folder(&folder)?;
        // The tool's copies of the sources: here they go with the rest if it is killed.
        let copies = folder.join("copies");
        fs::create_dir_all(&copies).on("create", &copies)?;
        let tool = Tool::new("cargo-mutants", self.layout.tools().join("bin").join(TOOL))
            .current_dir(self.layout.root())
            // The same cases each time: what a test finds by luck today, it would miss tomorrow.
            .env("PROPTEST_RNG_SEED", "1")
            .env("TMPDIR", &copies)
            .args(["mutants", "--no-shuffle", "--output"])
            .arg(&folder)
            .args(["--jobs", &self.options.jobs.to_string()]);
        let log = folder.join("console.log");
        let status = tool.args(arguments).logged_to(&log)?;
        if !status.code().is_some_and(|code| VERDICTS.contains(&code)) {
            let problem = format!("cargo-mutants could not try the mutants ({status})");
            return Err(Error::Malformed { file: log, problem });
        }
        let those = |what| lines(&folder.join("mutants.out").join(what));
        // Tests that did not end have noticed as well.
        let noticed = [those("caught.txt")?, those("timeout.txt")?].concat();
        Ok(Tried { noticed, missed: those("missed.txt")? })
    }
}

fn lines(path: &Path) -> Result<Vec<String>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        read => Ok(read.on("read", path)?.lines().map(str::to_owned).collect()),
    }
}

/// The argument that selects this mutant: its name, as a regular expression. The tool tries some that it is not asked
/// for as well (those that delete a field).
fn only(name: &str) -> String {
    let mut pattern = String::new();
    for letter in name.chars() {
        if r"\.+*?()|[]{}^$".contains(letter) {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    format!("--re=^{pattern}$")
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
        let missed = missed.iter().map(|name| name.replace(": ", ":1:1: ")).collect();
        let listed = listed.iter().map(|&name| name.to_owned()).collect();
        Verdict { killed, missed, listed, ..Verdict::default() }
    }

    #[test]
    fn a_survivor_without_a_reason_is_refused() {
        assert!(verdict(99, &["x: a"], &["x: a"]).judge().is_ok());
        let error = verdict(98, &["x: a", "x: b"], &["x: a"]).judge().unwrap_err().to_string();
        assert!(error.contains("no reason is given: x: b"), "{error}");
    }

    #[test]
    fn stale_reasons_are_refused_and_so_are_too_many_survivors() {
        assert!(verdict(19, &["x: a"], &["x: a"]).judge().is_ok());
        assert!(verdict(100, &[], &["x: a"]).judge().is_err());
        let error = verdict(18, &["x: a"], &["x: a"]).judge().unwrap_err().to_string();
        assert!(error.contains("less than 95 %"), "{error}");
    }

    #[test]
    fn a_slice_knows_nothing_of_the_others() {
        let slice = Some("3/20".parse().unwrap());
        let in_slice = |verdict: Verdict| Verdict { slice, ..verdict };
        assert!(in_slice(verdict(1, &["x: a"], &["x: a", "x: b"])).judge().is_ok());
        assert!(in_slice(verdict(1, &["x: c"], &["x: a"])).judge().is_err());
        for wrong in ["3", "20/20", "a/2", "1/2/3", ""] {
            assert!(wrong.parse::<Slice>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_simulator_kills_what_the_quick_tests_let_live() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let mut verdict = Verdict::default();
        let noticed = names(&["x:1:1: a", "x:2:1: b"]);
        verdict.first(Tried { noticed, missed: names(&["x:3:1: c", "x:4:1: d"]) });
        assert_eq!((verdict.killed, verdict.viable()), (2, 4));
        let noticed = names(&["x:3:1: c", "x:9:1: nobody asked"]);
        verdict.second(&Tried { noticed, missed: names(&["x:4:1: d"]) });
        assert_eq!((verdict.killed, verdict.viable()), (3, 4));
        assert_eq!(verdict.missed.into_iter().collect::<Vec<_>>(), ["x:4:1: d"]);
    }

    #[test]
    fn a_mutant_is_selected_by_all_of_its_name() {
        let name = "a.rs:1:2: replace + with * in A<T>::b -> Option<u8>";
        let pattern = r"--re=^a\.rs:1:2: replace \+ with \* in A<T>::b -> Option<u8>$";
        assert_eq!(only(name), pattern);
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
