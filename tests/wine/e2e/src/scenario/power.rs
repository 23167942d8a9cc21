//! Power and special files: while the first sync runs and writes are held and in flight, the
//! volume's stack gets the packets of plug and play for a volume that stays: special files come and
//! go, power goes down and up, the system announces a shutdown. No packet may wait behind a write,
//! and protection goes on undisturbed.

use std::time::{Duration, Instant};

use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::rig::Rig;
use crate::scenario::run::in_first_sync;
use crate::scenario::{Setting, protect};
use crate::summary::Summary;

/// `DEVICE_POWER_STATE`
pub(super) const WORKING: u32 = 1;
/// The same.
pub(super) const OFF: u32 = 4;
/// `DEVICE_USAGE_NOTIFICATION_TYPE`: paging, hibernation, dump.
const SPECIAL_FILES: [u32; 3] = [1, 2, 3];
/// A packet that takes longer waits behind data.
const PACKET_LIMIT: Duration = Duration::from_secs(10);
const ROUNDS: usize = 5;

/// The volume is that many times larger than elsewhere, so that the first sync outlasts all of
/// this.
const SIZE_FACTOR: u64 = 4;

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let setting = Setting { size_mib: setting.size_mib * SIZE_FACTOR, ..setting.clone() };
    let mut run = protect::prepare(&setting, console)?;
    run.load()?;
    let begun = run.begin(true)?;
    let rig = &mut run.rig;
    step(run.console, "special files come and go, power goes down and up", |_| {
        in_first_sync(rig)?;
        for _ in 0..ROUNDS {
            round(rig)?;
        }
        rig.must_run()
    })?;
    let rig = &mut run.rig;
    step(run.console, "the system is about to shut down", |_| {
        promptly("a shutdown notice", || rig.agent().shutdown())?;
        rig.must_run()
    })?;
    protect::conclude(run, &begun)
}

fn round(rig: &mut Rig) -> Result<(), E2eError> {
    let agent = rig.agent();
    for kind in SPECIAL_FILES {
        promptly("a usage notification", || agent.usage(kind, true))?;
    }
    promptly("the way to power off", || agent.power(OFF))?;
    promptly("the way back to power", || agent.power(WORKING))?;
    for kind in SPECIAL_FILES {
        promptly("a usage notification", || agent.usage(kind, false))?;
    }
    Ok(())
}

pub(super) fn promptly(
    what: &str,
    act: impl FnOnce() -> Result<(), E2eError>,
) -> Result<(), E2eError> {
    let begun = Instant::now();
    act()?;
    let took = begun.elapsed();
    ensure!(took <= PACKET_LIMIT, Rule, "HANG: {what} took {:.0} s", took.as_secs_f64());
    Ok(())
}
