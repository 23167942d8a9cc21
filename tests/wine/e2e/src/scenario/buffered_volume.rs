//! The main job on a volume whose driver takes data by system buffers, not by memory descriptor
//! lists: the driver reads blocks and captures writes in that way.

use crate::console::{Console, step};
use crate::error::E2eError;
use crate::scenario::{Setting, protect};
use crate::summary::Summary;

/// `protocol::names::parameters::IO_MODEL`
const BUFFERED: u32 = 1;

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let mut run = protect::prepare(setting, console)?;
    step(run.console, "make the volume one of buffered I/O", |_| {
        run.rig.stop_driver()?;
        run.rig.restart_volume(&run.image, BUFFERED)?;
        run.rig.start_driver()
    })?;
    run.load()?;
    let begun = run.begin(true)?;
    protect::conclude(run, &begun)
}
