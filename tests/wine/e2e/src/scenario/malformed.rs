//! Malformed requests: programs that may open the control device send what the driver must refuse,
//! before a session and while one runs. Each enumerated one has to end with its own status, and
//! protection has to be as if nothing had happened: the same verdict as of the main job, and
//! nothing left behind at unload.

use crate::console::{Console, step};
use crate::error::E2eError;
use crate::scenario::{Setting, protect};
use crate::summary::Summary;

/// Random requests beside the session.
const RANDOM: u64 = 4_000;

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let mut run = protect::prepare(setting, console)?;
    run.load()?;
    let rig = &mut run.rig;
    let said = step(run.console, "malformed requests, before there is a session", |_| {
        rig.agent().malformed_alone()
    })?;
    run.console.line(&format!("    {said}"));
    let begun = run.begin(true)?;
    let rig = &mut run.rig;
    let said = step(run.console, "malformed requests during the first sync", |_| {
        rig.agent().malformed_beside(setting.seed, RANDOM)
    })?;
    run.console.line(&format!("    {said}"));
    protect::conclude(run, &begun)
}
