//! `cargo xtask`: the one entrance for people and for CI.
//!
//! This file only reads the command line; each task is a module of the library beside it. The rule: a task needs nothing
//! but cargo and this repository, names what it does while it does it, and exits non-zero where it failed.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use xtask::engine_tests::{LOOM, SABOTAGE};
use xtask::layout::Layout;
use xtask::tsan;
use xtask::{
    bench, build, check_sys, console, demo, engine_tests, fuzz, instructions, lint, mutants,
    selftest, setup, sim, test,
};

/// Builds and tests Snapless on Linux.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install and make what building and testing need; quick where it is there already
    Setup,
    /// Build the driver, the rig, the Windows programs and the server
    Build {
        /// What to build
        #[arg(value_enum, default_value = "all")]
        part: build::Part,
    },
    /// Set everything up, then protect a live volume from end to end and check every byte
    Demo(demo::Options),
    /// Set everything up, then run every test; ends with `N passed, N failed`
    Test(test::Options),
    /// Show that the rig's KMDF notices a driver that breaks a rule: one misuse after the other
    Selftest,
    /// Check that snapless.sys is a file that Windows Server 2019 and later will load
    CheckSys {
        /// A driver file instead of the one that this repository builds
        file: Option<PathBuf>,
    },
    /// Check formatting and run clippy, for Linux and for Windows; a warning is an error
    Lint {
        /// What to lint
        #[arg(value_enum, default_value = "all")]
        part: lint::Part,
    },
    /// Run the engine's loom models: small cases in every interleaving
    Loom(engine_tests::Options),
    /// Break the engine's rules on purpose: the simulator has to find each breach
    Sabotage(engine_tests::Options),
    /// Change the engine in a thousand small ways: its tests have to notice
    Mutants(mutants::Options),
    /// Run the engine's stress test under `ThreadSanitizer`
    Tsan(tsan::Options),
    /// Feed every parser of bytes from outside with broken input, ten million times
    #[command(disable_help_flag = true)]
    Fuzz(fuzz::Options),
    /// Compare the bench host with QEMU's backup job on this machine, and write docs/benchmarks.md
    Bench(bench::Options),
    /// Count the engine's instructions, and compare them with the table
    Instructions(instructions::Options),
    /// Play the simulator: the engine under a seeded scheduler, checked against a model
    #[command(disable_help_flag = true)]
    Sim(sim::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let layout = Layout::of_this_repository();
    let result = match arguments.task {
        Task::Setup => setup::run(&layout),
        Task::Build { part } => build::run(&layout, part),
        Task::CheckSys { file } => check_sys::run(&layout, file.as_deref()),
        Task::Selftest => selftest::run(&layout),
        Task::Lint { part } => lint::run(&layout, part),
        Task::Demo(options) => demo::run(&layout, &options),
        Task::Bench(options) => bench::run(&layout, &options),
        Task::Instructions(options) => instructions::run(&layout, options),
        Task::Loom(options) => LOOM.run(&layout, &options),
        Task::Sabotage(options) => SABOTAGE.run(&layout, &options),
        Task::Mutants(options) => mutants::run(&layout, &options),
        Task::Tsan(options) => tsan::run(&layout, &options),
        Task::Fuzz(options) => match fuzz::run(&layout, &options) {
            Ok(status) => return status,
            Err(error) => Err(error),
        },
        Task::Sim(options) => match sim::run(&layout, &options) {
            Ok(status) => return status,
            Err(error) => Err(error),
        },
        Task::Test(options) => test::run(&layout, &options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}
