//! The main job while threads of the driver lose the processor at the worst instants: after they
//! have released a lock, signalled an event, or given a request away. Before it, short sessions end
//! under load.
//!
//! What ends with a session is freed by then if only the thread that was kept had a use for it; the
//! rig's pool notices when it is written to (`tests/wine/kernel/kmdf/src/gaps/pool.rs`).

use protocol::names::framework;

use crate::console::{Console, step};
use crate::error::E2eError;
use crate::scenario::{Setting, protect};
use crate::summary::Summary;

const PREEMPT_PERCENT: u32 = 5;

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let mut run = protect::prepare(setting, console)?;
    step(run.console, "start the driver on a machine that preempts it", |_| {
        run.rig.stop_driver()?;
        let percent = PREEMPT_PERCENT.to_string();
        run.rig.set_driver_value(framework::PREEMPT_PERCENT, "REG_DWORD", &percent)?;
        run.rig.start_driver()
    })?;
    run.load()?;
    run.step_and_say("begin and end sessions under load", |rig| {
        rig.unwatched(|rig| rig.agent().ask("short-sessions"))
    })?;
    let begun = run.begin(true)?;
    protect::conclude(run, &begun)
}
