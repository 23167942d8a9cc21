//! `cargo xtask fuzz`: runs the fuzz targets (`tests/fuzz`) under libFuzzer, guided by coverage.
//!
//! The kept corpus is `tests/fuzz/corpus/TARGET`. A run begins with it and writes what is new to
//! `target/fuzz/corpus`; `--keep` replaces the kept corpus by the smallest set of inputs with the
//! same coverage. `--coverage` says which lines the kept corpus runs. Overflow checks and
//! assertions are on. A finding is a file, and libFuzzer prints its name: the task replays it with
//! `--input`.

use std::fs::{self, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::build::programs;
use crate::command::Tool;
use crate::console::{Outcome, Progress, Steps, say, side_by_side};
use crate::error::{IoContext, Result};
use crate::files::remove_folder;
use crate::layout::Layout;

mod coverage;

/// What to call it where other tests run as well.
pub const NAME: &str = "fuzz targets, guided from their corpus";
/// What to call the build of them there.
pub const BUILD: &str = "build of the fuzz targets";
const PROGRAM: &str = "snapless-fuzz";
/// Inputs of each target in a test run.
const TEST_INPUTS: &str = "-runs=30000";
/// Longest input, in bytes.
const LEN_MAX: &str = "-max_len=4096";
/// How the names of build scripts begin, and the crate of this workspace that they use.
const OF_BUILD_SCRIPTS: [&str; 2] = ["build_script_", "snapless_version_info"];
/// Coverage for libFuzzer, of which the compiler has all parts without a sanitizer.
const FLAGS: [&str; 7] = [
    "-Ccodegen-units=1",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

/// What the task lets the user choose.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Only this target [default: all, one after the other]
    target: Option<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Write what covers something new to tests/fuzz/corpus, without what the rest covers
    #[arg(long)]
    keep: bool,
    /// Run this file only: a finding
    #[arg(long, requires = "target")]
    input: Option<PathBuf>,
    /// Fuzz nothing: print how many lines of each format's code the kept corpus runs
    #[arg(long, conflicts_with_all = ["target", "keep"])]
    coverage: bool,
}

/// Runs the task.
pub fn run(layout: &Layout, options: &Options) -> Result<()> {
    if options.coverage {
        return coverage::run(layout);
    }
    let names = match &options.target {
        Some(name) => vec![name.clone()],
        None => targets(layout)?,
    };
    let steps = Steps::new(1 + names.len());
    steps.run("fuzz targets", |progress| build(layout, progress))?;
    for name in &names {
        steps.run(name, |_| {
            if let Some(input) = &options.input {
                say(fuzzer(layout, name)?.arg(input).output()?.trim());
                return Ok(Outcome::Done);
            }
            let found = layout.fuzz().join("corpus").join(name);
            fs::create_dir_all(&found).on("create", &found)?;
            let kept = kept(layout, name);
            let seconds = format!("-max_total_time={}", options.seconds);
            fuzzer(layout, name)?
                .args(["-print_final_stats=1", &seconds])
                .arg(&found)
                .arg(&kept)
                .run()?;
            if options.keep {
                keep(layout, name, &[&found, &kept])?;
            }
            Ok(Outcome::Done)
        })?;
    }
    Ok(())
}

/// Runs the corpus of every target, then a bounded number of inputs that begin with it; two
/// targets at a time. They have been built.
pub fn check(layout: &Layout, progress: &Progress) -> Result<Outcome> {
    let waiting = Mutex::new(targets(layout)?.into_iter());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let side = || {
        while let Some(target) = next() {
            progress.detail(&target);
            check_target(layout, &target)?;
        }
        Ok(())
    };
    side_by_side(side, side)?;
    Ok(Outcome::Done)
}

fn check_target(layout: &Layout, target: &str) -> Result<()> {
    // Nothing new is kept: a test run is the same each time.
    let scratch = layout.fuzz().join("scratch").join(target);
    remove_folder(&scratch)?;
    fs::create_dir_all(&scratch).on("create", &scratch)?;
    let tool = fuzzer(layout, target)?.args([TEST_INPUTS, "-seed=1", "-max_total_time=20"]);
    tool.arg(&scratch).arg(kept(layout, target)).run()
}

/// The targets: each has a corpus, as a test of `tests/fuzz` demands.
fn targets(layout: &Layout) -> Result<Vec<String>> {
    let folder = layout.root().join("tests/fuzz/corpus");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).on("list", &folder)? {
        names.push(entry.on("list", &folder)?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// Builds the targets.
pub fn build(layout: &Layout, progress: &Progress) -> Result<Outcome> {
    programs::host_cargo("building the fuzz targets")
        .current_dir(layout.root())
        .env("RUSTC_WORKSPACE_WRAPPER", compiler(layout, &FLAGS)?)
        .args(["build", "--workspace", "--bin", PROGRAM, "--features", "snapless-fuzz/libfuzzer"])
        .arg("--target-dir")
        .arg(layout.target())
        .run_with_progress(progress)?;
    // A build of the tests has a program of this name as well.
    let built = layout.target().join("debug").join(PROGRAM);
    let program = program(layout);
    fs::copy(&built, &program).on("write", &program)?;
    Ok(Outcome::Done)
}

/// Makes a compiler with these flags for the crates of this workspace: all others are those of the
/// tests' build.
fn compiler(layout: &Layout, flags: &[&str]) -> Result<PathBuf> {
    let script = format!(
        "#!/bin/sh\n# Generated by `cargo xtask`. Build scripts have no fuzzer to link with.\n\
         case \"$*\" in *' --crate-name {}'*|*' --crate-name {} '*) exec \"$@\";; esac\n\
         exec \"$@\" {}\n",
        OF_BUILD_SCRIPTS[0],
        OF_BUILD_SCRIPTS[1],
        flags.join(" ")
    );
    // Cargo builds anew what another compiler has built, which it knows by its name.
    let mut hasher = DefaultHasher::new();
    script.hash(&mut hasher);
    let path = layout.fuzz().join(format!("rustc-{:016x}", hasher.finish()));
    if !path.is_file() {
        fs::create_dir_all(layout.fuzz()).on("create", &layout.fuzz())?;
        let new = path.with_extension("new");
        fs::write(&new, script).on("write", &new)?;
        fs::set_permissions(&new, Permissions::from_mode(0o755)).on("change", &new)?;
        fs::rename(&new, &path).on("name", &path)?;
    }
    Ok(path)
}

fn program(layout: &Layout) -> PathBuf {
    layout.fuzz().join(PROGRAM)
}

/// The program, which takes libFuzzer's arguments.
fn fuzzer(layout: &Layout, target: &str) -> Result<Tool> {
    let findings = layout.fuzz().join("findings");
    fs::create_dir_all(&findings).on("create", &findings)?;
    Ok(Tool::new(format!("fuzz target {target}"), program(layout))
        .env("SNAPLESS_FUZZ_TARGET", target)
        .arg(format!("-artifact_prefix={}/{target}-", findings.display()))
        .arg(LEN_MAX))
}

fn kept(layout: &Layout, target: &str) -> PathBuf {
    layout.root().join("tests/fuzz/corpus").join(target)
}

/// Replaces the kept corpus by the smallest set of inputs that covers what these folders cover.
fn keep(layout: &Layout, target: &str, folders: &[&Path]) -> Result<()> {
    let merged = layout.fuzz().join("merged");
    remove_folder(&merged)?;
    fs::create_dir_all(&merged).on("create", &merged)?;
    // Covered edges count, not how often each one ran: a small set.
    let tool = fuzzer(layout, target)?.args(["-set_cover_merge=1", "-use_counters=0"]);
    tool.arg(&merged).args(folders).run()?;
    let kept = kept(layout, target);
    remove_folder(&kept)?;
    fs::rename(&merged, &kept).on("write", &kept)
}
