//! The main job beside a volume whose disk hangs: it keeps the reads of a session, and every query,
//! cancelled or not. The list of volumes, a stop and a start are answered within their limits, and
//! the other volume's protection goes on meanwhile as if nothing were.

use protocol::ioctl;

use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::process::wait_until;
use crate::rig::Rig;
use crate::scenario::run::in_first_sync;
use crate::scenario::{Setting, protect};
use crate::summary::Summary;

/// The volume is that many times larger than elsewhere, so that the first sync outlasts all of
/// this.
const SIZE_FACTOR: u64 = 4;
const PROGRESS_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let setting = Setting { size_mib: setting.size_mib * SIZE_FACTOR, ..setting.clone() };
    let mut run = protect::prepare(&setting, console)?;
    let rig = &mut run.rig;
    step(run.console, "hang the disk of a second volume with a session on it", |_| {
        rig.agent().command(ioctl::ATTACH_SECOND, &())?;
        // The session's reads hang from the first one on.
        rig.agent().command(ioctl::HANG, &ioctl::HANG_READS)?;
        rig.agent().ask("hung begin")?;
        rig.agent().command(ioctl::HANG, &ioctl::HANG_ALL)
    })?;
    run.load()?;
    let begun = run.begin(true)?;
    let rig = &mut run.rig;
    step(run.console, "list, stop and start beside the disk that hangs", |_| {
        let before = in_first_sync(rig)?.acknowledged_seq;
        rig.agent().ask("hung ask")?;
        goes_on_from(rig, before)?;
        rig.must_run()
    })?;
    step(run.console, "let the disk answer again", |_| {
        rig.agent().command(ioctl::HANG, &0_u32)?;
        rig.agent().ask("hung end")?;
        rig.agent().command(ioctl::REMOVE_SECOND, &())
    })?;
    protect::conclude(run, &begun)
}

/// Records are drained and acknowledged while the disk hangs.
fn goes_on_from(rig: &mut Rig, before: u64) -> Result<(), E2eError> {
    wait_until("the other volume's protection to go on", PROGRESS_LIMIT, || {
        let status = rig.status()?;
        ensure!(status.is_some(), Rule, "RESUME: the other volume's session is gone");
        Ok(status.filter(|status| status.acknowledged_seq > before).map(|_| ()))
    })
}
