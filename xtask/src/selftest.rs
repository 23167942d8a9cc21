//! `cargo xtask selftest`: runs the rig's self-test, which shows that its KMDF notices a driver
//! that breaks a rule.
//!
//! The rule: each misuse is one test. It passes if the rig ended the driver with a report of the
//! rule that it breaks and of no other; the control, which breaks none, if it was let through.

use snapless_e2e::process;
use snapless_e2e::selftest::{self, Setting};

use crate::build::{self, ForWindows};
use crate::console::{Outcome, Progress, Steps, say};
use crate::demo::{failed, run_folder};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::setup;

/// What to call it.
pub const NAME: &str = "self-test of the Wine rig's KMDF";

/// How many cases ended in what way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// As they must.
    pub passed: usize,
    /// Otherwise.
    pub failed: usize,
}

/// Runs the task: sets everything up, and runs every case.
pub fn run(layout: &Layout) -> Result<()> {
    process::catch_interrupts()?;
    let steps = Steps::new(setup::STEPS + build::STEPS + 1);
    setup::add_to(&steps, layout)?;
    let artifacts = build::all(&steps, layout)?;
    let (count, ran) = add_to(&steps, layout, &artifacts.windows, say);
    ran?;
    println!("{} passed, {} failed", count.passed, count.failed);
    Ok(())
}

/// Runs every case as one step of a longer task; `told` gets a line for each.
pub fn add_to(
    steps: &Steps,
    layout: &Layout,
    built: &ForWindows,
    told: impl Fn(&str),
) -> (Count, Result<()>) {
    let mut count = Count::default();
    let ran = steps.run(NAME, |progress| {
        count = cases(layout, built, progress, &told)?;
        if count.failed > 0 {
            return Err(Error::Tests { failed: count.failed });
        }
        progress.note(&format!(
            "  each of {} misuses was caught, and the control let through",
            count.passed - 1
        ));
        Ok(Outcome::Done)
    });
    (count, ran)
}

fn cases(
    layout: &Layout,
    built: &ForWindows,
    progress: &Progress,
    told: &impl Fn(&str),
) -> Result<Count> {
    let setting = Setting {
        template: layout.wine_prefix(),
        folder: run_folder(layout, "selftest"),
        framework: built.rig.framework.clone(),
        driver: built.rig.selftest.clone(),
        agent: built.programs.agent.clone(),
    };
    let mut count = Count::default();
    let ran = selftest::run(&setting, |verdict| {
        let name = verdict.case.name;
        progress.detail(name);
        match &verdict.outcome {
            Ok(said) => {
                count.passed += 1;
                progress.suspended(|| told(&format!("  ok   {name}: {said}")));
            }
            Err(why) => {
                count.failed += 1;
                progress.note(&format!("  FAIL {name}: {why}"));
            }
        }
    });
    ran.map_err(|source| failed(&setting.folder, source))?;
    Ok(count)
}
