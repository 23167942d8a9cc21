//! More writes at once than a session has slots: none makes a gap, those that wait are chained and
//! can be cancelled, and all the others reach disk and server in order.
//!
//! The writes wait for the first sync, while the volume is paused. A third of them finds no slot;
//! these overlap others that have one.

use std::time::Duration;

use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::process::wait_until;
use crate::rig::Rig;
use crate::scenario::Setting;
use crate::scenario::run::{Run, in_first_sync};
use crate::service::ServiceSettings;
use crate::status::Status;
use crate::summary::Summary;

/// The smallest queue: [`SLOTS`].
const SERVICE: ServiceSettings = ServiceSettings::holding(64);
/// A fast volume: it is to take all the writes within a minute.
const VOLUME_JITTER_US: u32 = 1000;
/// Writes that a session with that queue has slots for: also the number of places.
const SLOTS: u64 = 8192;
/// All writes.
const WRITES: u64 = SLOTS + SLOTS / 2;
/// MiB before the volume's end where the writes go.
const FROM_END_MIB: u64 = 16;
/// Of so many writes, one is cancelled while all are held, and another while they go.
const CANCELLED_ONE_IN: u64 = 8;
const LIMIT: Duration = Duration::from_mins(3);

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let mut run = Run::prepare(setting, &SERVICE, VOLUME_JITTER_US, console)?;
    step(run.console, "pause the volume", |_| run.rig.agent().pause())?;
    let begun = run.begin(false)?;
    let place = (setting.size_mib - FROM_END_MIB) << 20;
    let name = format!("hold {WRITES} writes, of which {SLOTS} have a slot");
    step(run.console, &name, |_| hold(&mut run.rig, place))?;
    step(run.console, "cancel some of them", |_| cancel_held(&mut run.rig))?;
    run.step_and_say("let them go, and cancel others meanwhile", let_go)?;
    run.watch("first sync", |status| status.phase == "live")?;
    let first_sync = begun.seen.elapsed();
    let last = run.settle()?;
    run.shut_down()?;
    run.traces(&last.session, &["BaseComplete"])?;

    run.restore_both()?;
    let (writes, bytes_written) = run.compare_unloaded(Some(0..=0), None)?;
    run.check_ntfs("t0")?;
    let counted = (last.gaps, last.writes_uncaptured);
    ensure!(counted == (0, 0), Rule, "LOSS: gaps and uncaptured writes: {counted:?}");
    run.folder.discard_images()?;
    Ok(Summary { writes, bytes_written, prefix: Some(0), ..run.summary(first_sync, last) })
}

fn hold(rig: &mut Rig, place: u64) -> Result<(), E2eError> {
    in_first_sync(rig)?;
    rig.agent().ask(&format!("many begin {place} {WRITES} {SLOTS}"))?;
    let status = holding(rig, WRITES)?;
    let applied = rig.agent().counters()?;
    let none = (applied.applied, applied.in_flight) == (0, 0);
    ensure!(none, Rule, "T0: held writes are with the volume: {applied:?}");
    ensure!(status.gaps == 0, Rule, "LOSS: so many writes make a gap");
    Ok(())
}

fn cancel_held(rig: &mut Rig) -> Result<(), E2eError> {
    let cancelled = WRITES / CANCELLED_ONE_IN;
    rig.agent().ask(&format!("many cancel 0 {CANCELLED_ONE_IN}"))?;
    ended(rig, cancelled)?;
    let status = holding(rig, WRITES - cancelled)?;
    let counted = status.writes_cancelled;
    ensure!(counted == cancelled, Rule, "{counted} writes count as cancelled, not {cancelled}");
    Ok(())
}

fn let_go(rig: &mut Rig) -> Result<String, E2eError> {
    rig.agent().resume()?;
    rig.agent().ask(&format!("many cancel {} {CANCELLED_ONE_IN}", CANCELLED_ONE_IN / 2))?;
    ended(rig, WRITES)?;
    let said = rig.agent().ask("many end")?;
    let counts: Vec<u64> = said.split(' ').filter_map(|word| word.parse().ok()).collect();
    let applied = rig.agent().counters()?.applied;
    let right = matches!(counts[..], [done, cancelled]
        if done == applied && done + cancelled == WRITES && cancelled >= WRITES / CANCELLED_ONE_IN);
    ensure!(right, Rule, "CLEAR: done and cancelled: {said}; the volume applied {applied}");
    Ok(format!("done and cancelled: {said}"))
}

/// Waits until so many writes have come back.
fn ended(rig: &mut Rig, count: u64) -> Result<(), E2eError> {
    wait_until("writes to come back", LIMIT, || {
        let ended = rig.agent().ask("many ended")?;
        Ok((ended == count.to_string()).then_some(()))
    })
}

/// Waits until so many writes are held.
fn holding(rig: &mut Rig, count: u64) -> Result<Status, E2eError> {
    wait_until("the writes to be held", LIMIT, || {
        Ok(rig.status()?.filter(|status| status.writes_holding == count))
    })
}
