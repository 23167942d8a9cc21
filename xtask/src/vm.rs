//! `cargo xtask vm`: tests on real Windows in virtual machines (`tests/vm`); and the harness's own
//! tests with a Linux guest.

use std::fs;
use std::path::PathBuf;

use crate::build::{self, programs};
use crate::command::Tool;
use crate::console::{Outcome, Steps};
use crate::error::{IoContext, Result};
use crate::forward;
use crate::layout::Layout;
use crate::package;
use crate::setup::{tools, vm_parts};

/// What the task lets the user choose.
#[derive(Debug, Clone, clap::Args)]
#[command(disable_help_flag = true)]
#[group(skip)]
pub struct Options {
    /// Take the driver from this folder, with its catalog, as `cargo xtask package --driver` does;
    /// comes before the harness's options
    #[arg(long, value_name = "FOLDER")]
    driver: Option<PathBuf>,
    /// Only the harness's own tests, with a Linux guest under emulation
    #[arg(long)]
    rehearse: bool,
    /// What the harness is told; `--help` lists it
    #[command(flatten)]
    further: forward::Options,
}

/// Runs the task: makes the package and the programs, and has the harness do the rest.
pub fn run(layout: &Layout, options: &Options) -> Result<()> {
    if options.rehearse {
        let steps = Steps::new(STEPS);
        prepare(&steps, layout)?;
        return steps.run(NAME, |progress| {
            rehearsal(layout).run_with_progress(progress)?;
            Ok(Outcome::Done)
        });
    }
    let harness = programs::host_cargo("the harness of the virtual machines");
    let harness = harness.current_dir(layout.root());
    let harness = harness.args(["run", "--quiet", "--package", "snapless-vm", "--"]);
    let further = &options.further;
    if ["--list", "--help", "-h", "--version"].into_iter().any(|option| further.has(option)) {
        return forward::run_through(harness, further);
    }
    let programs = package::for_machines(layout, options.driver.clone())?;
    let server = build::server(&Steps::new(1), layout)?;
    let harness = harness.arg("--server").arg(server).arg("--package").arg(layout.package());
    let harness = harness.arg("--program").arg(&programs.guest);
    forward::run_through(harness.arg("--program").arg(&programs.writer), further)
}

/// What the tests of the harness are called.
pub const NAME: &str = "virtual machines: every verdict, with a Linux guest";
/// How many steps [`prepare`] and [`rehearsal`] take.
pub const STEPS: usize = 3;
/// Guests that run side by side: most of them wait.
const AT_A_TIME: &str = "3";

/// Makes what the tests of the harness need.
pub fn prepare(steps: &Steps, layout: &Layout) -> Result<()> {
    steps.run("QEMU and a Linux guest", |progress| vm_parts::make(layout, progress))?;
    steps.run("program in the guest, for Linux", |progress| {
        let built = programs::guest_for_linux(layout, progress)?;
        let copy = layout.vm().join("snapless-e2e");
        fs::copy(&built, &copy).on("copy", &built)?;
        Ok(Outcome::Done)
    })
}

/// The tests of the harness, which QEMU's emulation makes slow.
pub fn rehearsal(layout: &Layout) -> Tool {
    tools::NEXTEST
        .tool(layout, "cargo nextest")
        .args(["nextest", "run", "--package", "snapless-vm", "--features", "rehearsal"])
        .args(["--test", "rehearsal", "--test-threads", AT_A_TIME, "--no-fail-fast"])
        .args(["--status-level", "fail", "--color", "never"])
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use crate::arguments::Arguments;

    #[test]
    fn options_of_the_harness_come_behind_those_of_the_task() {
        Arguments::command().debug_assert();
        for arguments in ["--driver d --iso x --only ntfs", "--iso x", "--list", "--rehearse"] {
            let all = ["xtask", "vm"].into_iter().chain(arguments.split(' '));
            assert!(Arguments::try_parse_from(all).is_ok(), "{arguments}");
        }
    }
}
