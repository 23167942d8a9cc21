//! The command line of `cargo xtask`, and the task that each command runs.
//!
//! A task needs nothing but cargo and this repository, names what it does while it does it, and
//! exits non-zero if it failed.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::console::say;
use crate::engine_tests::{LOOM, SABOTAGE};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::{
    build, check_sys, check_tree, demo, engine_tests, forward, fuzz, instructions, lint, mutants,
    package, page, selftest, setup, test, tsan, vm,
};

/// Builds and tests Snapless on Linux.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", version, arg_required_else_help = true)]
pub struct Arguments {
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
    /// Make what administrators install: MSI, winget and Chocolatey manifests, all signed for tests
    Package(package::Options),
    /// Set everything up, then protect a live volume from end to end and check every byte
    Demo(demo::Options),
    /// Set everything up, then run every test; ends with `N passed, N failed`
    Test(test::Options),
    /// Show that the rig's KMDF notices a driver that breaks a rule: one misuse after the other
    Selftest,
    /// Check what no compiler checks: imports, unsafe code, rules, pages, spelling, licences
    Check {
        /// Only the checks that need no program of crates.io: without spelling and licences
        #[arg(long)]
        quick: bool,
    },
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
    /// Check the console's page: its types, its form, and what it does in Chromium
    Page,
    /// Run the engine's loom models: small cases in every interleaving
    Loom(engine_tests::Options),
    /// Break the engine's rules on purpose: the simulator has to find each breach
    Sabotage(engine_tests::Options),
    /// Change the engine in a thousand small ways: its tests have to notice
    Mutants(mutants::Options),
    /// Run the engine's stress test under `ThreadSanitizer`
    Tsan(tsan::Options),
    /// Feed every parser of bytes from outside with input that coverage guides; keep what is new
    Fuzz(fuzz::Options),
    /// Compare the bench host with QEMU's backup job on this machine, and write docs/benchmarks.md
    #[command(disable_help_flag = true)]
    Bench(forward::Options),
    /// Count the engine's instructions, and compare them with the table
    Instructions(instructions::Options),
    /// Test on real Windows in virtual machines, of which its ISO is given
    Vm(vm::Options),
    /// Play the simulator: the engine under a seeded scheduler, checked against a model
    #[command(disable_help_flag = true)]
    Sim(forward::Options),
}

/// Runs the task of this program's command line.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.task.run(&Layout::of_this_repository()) {
        Ok(()) => ExitCode::SUCCESS,
        // The program itself has said what is wrong.
        Err(Error::Exit { code }) => ExitCode::from(code),
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

impl Task {
    fn run(self, layout: &Layout) -> Result<()> {
        match self {
            Self::Setup => setup::run(layout),
            Self::Build { part } => build::run(layout, part),
            Self::Check { quick } => check_tree::run(layout, quick),
            Self::CheckSys { file } => check_sys::run(layout, file.as_deref()),
            Self::Selftest => selftest::run(layout),
            Self::Lint { part } => lint::run(layout, part),
            Self::Package(options) => package::run(layout, &options),
            Self::Page => page::run(layout),
            Self::Demo(options) => demo::run(layout, &options),
            Self::Bench(options) => forward::bench(layout, &options),
            Self::Instructions(options) => instructions::run(layout, options),
            Self::Loom(options) => LOOM.run(layout, &options),
            Self::Sabotage(options) => SABOTAGE.run(layout, &options),
            Self::Mutants(options) => mutants::run(layout, &options),
            Self::Tsan(options) => tsan::run(layout, &options),
            Self::Fuzz(options) => fuzz::run(layout, &options),
            Self::Vm(options) => vm::run(layout, &options),
            Self::Sim(options) => forward::sim(layout, &options),
            Self::Test(options) => test::run(layout, &options),
        }
    }
}
