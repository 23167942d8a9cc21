//! Malformed requests: programs that may open the control device send what the driver must refuse,
//! before a session and while one runs. Each enumerated one has to end with its own status, and
//! protection has to be as if nothing had happened: the same verdict as of the main job, and
//! nothing left behind at unload.

use crate::console::Console;
use crate::error::E2eError;
use crate::scenario::{Setting, protect};
use crate::summary::Summary;

/// Random requests beside the session.
const RANDOM: u64 = 4_000;

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let mut run = protect::prepare(setting, console)?;
    run.load()?;
    run.step_and_say("malformed requests, before there is a session", |rig| {
        rig.agent().ask("malformed alone")
    })?;
    let begun = run.begin(true)?;
    run.step_and_say("malformed requests during the first sync", |rig| {
        rig.agent().ask(&format!("malformed beside {} {RANDOM}", setting.seed))
    })?;
    protect::conclude(run, &begun)
}
