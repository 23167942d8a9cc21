//! `cargo xtask tsan`: runs the engine's stress test (`engine/tests/stress/`) under
//! `ThreadSanitizer`.
//!
//! The rule: everything in the program is instrumented, the standard library too, so that a report
//! is a race and not a lock that the sanitizer could not see. That takes the one toolchain here
//! whose sources match its compiler; it comes without the sanitizer's runtime, which every
//! toolchain of rustup has and which does not depend on the compiler.

use std::path::PathBuf;

use crate::build::pe;
use crate::command::Tool;
use crate::console::{Outcome, Steps, say};
use crate::error::{Error, IoContext, Result};
use crate::layout::Layout;

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// How the runtime's file name begins and ends; between them is the channel's name.
const RUNTIME: (&str, &str) = ("librustc-", "_rt.tsan.a");

/// A test with a race in it, and what the sanitizer says of one.
const CONTROL: &str = "a_race_on_purpose";
const REPORT: &str = "ThreadSanitizer: data race";

/// How many steps [`add_to`] takes.
pub const STEPS: usize = 3;

/// What the task lets the user choose.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// How long the test runs
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
}

/// Runs the task.
pub fn run(layout: &Layout, options: &Options) -> Result<()> {
    let printed = add_to(&Steps::new(STEPS), layout, options)?;
    say(printed.trim());
    Ok(())
}

/// Builds and runs it as steps of a longer task; returns what it printed.
pub fn add_to(steps: &Steps, layout: &Layout, options: &Options) -> Result<String> {
    let mut runtime = String::new();
    steps.run("stress test with ThreadSanitizer, build", |progress| {
        runtime = self::runtime()?;
        tool(layout, &runtime, "building the stress test")
            .arg("--no-run")
            .run_with_progress(progress)?;
        Ok(Outcome::Done)
    })?;
    steps.run("ThreadSanitizer finds a race on purpose", |_| control(layout, &runtime))?;
    let mut printed = String::new();
    steps.run("stress test with ThreadSanitizer", |_| {
        printed = tool(layout, &runtime, "the stress test under ThreadSanitizer")
            .env("SNAPLESS_STRESS_SECONDS", options.seconds.to_string())
            .args(["--", "--nocapture"])
            .output()?;
        Ok(Outcome::Done)
    })?;
    Ok(printed)
}

/// If the control is not reported, that nothing else is means nothing.
fn control(layout: &Layout, runtime: &str) -> Result<Outcome> {
    let ran = tool(layout, runtime, "the control of ThreadSanitizer")
        .args(["--", "--ignored", "--nocapture", CONTROL])
        .output();
    match ran {
        Err(Error::Command { output, .. }) if output.contains(REPORT) => Ok(Outcome::Done),
        Err(error) => Err(error),
        Ok(_) => Err(Error::Malformed {
            file: layout.tsan(),
            problem: format!(
                "ThreadSanitizer does not report {CONTROL}, and so would report nothing"
            ),
        }),
    }
}

fn tool(layout: &Layout, runtime: &str, what: &str) -> Tool {
    // All of the runtime, because what the compiler calls is not all that has to be there, then
    // what it needs.
    let link = ["-Wl,--whole-archive", runtime, "-Wl,--no-whole-archive"];
    let needs = ["-lstdc++", "-lm", "-lpthread", "-lc"];
    // GNU ld does not resolve the runtime's references to versioned functions of the C library.
    let linker = ["-B/usr/lib/llvm-19/bin", "-fuse-ld=lld"];
    let mut flags = vec!["-Zsanitizer=thread".to_owned(), "-Zexternal-clangrt".to_owned()];
    flags.extend(
        linker.iter().chain(&link).chain(&needs).map(|argument| format!("-Clink-arg={argument}")),
    );
    pe::cargo(what)
        .current_dir(layout.root())
        // Separated by a character that no path has.
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
        .env("TSAN_OPTIONS", "halt_on_error=1")
        .args(["test", "--release", "--target", TARGET, "-Zbuild-std", "--target-dir"])
        .arg(layout.tsan())
        .args(["--package", "snapless-engine", "--test", "stress"])
}

/// The sanitizer's runtime of the toolchain that runs this program.
fn runtime() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = Tool::new("asking for the toolchain's folder", rustc)
        .args(["--print", "sysroot"])
        .output()?;
    let folder = PathBuf::from(sysroot.trim()).join("lib/rustlib").join(TARGET).join("lib");
    for entry in folder.read_dir().on("read", &folder)? {
        let entry = entry.on("read", &folder)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(RUNTIME.0) && name.ends_with(RUNTIME.1) {
            return Ok(entry.path().display().to_string());
        }
    }
    Err(Error::MissingArtifact {
        path: folder.join("librustc-stable_rt.tsan.a"),
        advice: "run this task with a toolchain of rustup, which has ThreadSanitizer's runtime",
    })
}
