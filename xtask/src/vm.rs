//! Virtual machines (`tests/vm`): the harness's own tests with a Linux guest.

use std::fs;

use crate::build::programs;
use crate::command::Tool;
use crate::console::{Outcome, Steps};
use crate::error::{IoContext, Result};
use crate::layout::Layout;
use crate::setup::{tools, vm_parts};

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
