//! A write to a paging file is never held, rule HANG (rules.md#hang): the memory manager could wait
//! for it without end. It is issued while its blocks cannot be read, leaves them dirty, and they
//! are read again.

use protocol::names::framework;

use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::scenario::Setting;
use crate::scenario::gap::{recovered, restore_or_refuse_t0};
use crate::scenario::run::{Run, in_first_sync, wait_for_in_flight};
use crate::service::ServiceSettings;
use crate::summary::Summary;

const SERVICE: ServiceSettings = ServiceSettings::holding(64);
/// Slow enough that the first sync is under way when the volume pauses.
const VOLUME_JITTER_US: u32 = 30_000;
/// `DeviceUsageTypePaging`
const PAGING: u32 = 1;
/// Bytes at the volume's end that stand for a paging file.
const FILE_MIB: u64 = 8;

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let mut run = Run::prepare(setting, &SERVICE, VOLUME_JITTER_US, console)?;
    let file_from = setting.size_mib - FILE_MIB;
    step(run.console, "start the driver on a volume with a paging file", |_| {
        run.rig.stop_driver()?;
        let from = file_from.to_string();
        run.rig.set_driver_value(framework::PAGING_FILE_FROM_MIB, "REG_DWORD", &from)?;
        run.rig.start_driver()?;
        // As Windows does when it begins to page to a volume.
        run.rig.agent().usage(PAGING, true)
    })?;
    let begun = run.begin(false)?;
    run.disturbed = true;
    let place = (file_from << 20) + 4096;
    write_past_a_stuck_volume(&mut run, place)?;
    run.watch("recover", recovered)?;
    let first_sync = begun.seen.elapsed();
    let last = run.settle()?;
    run.shut_down()?;
    let told = run.traces(&last.session, &["GapBegan", "GapEnded"])?;
    let urgent: Vec<_> = told.iter().filter(|trace| trace.name == "WriteUrgent").collect();
    let right = |trace: &&crate::traces::Trace| {
        (trace.field("offset"), trace.field("bytes")) == (place.to_string().as_str(), "8192")
    };
    let one = told.is_empty() || (urgent.len() == 1 && urgent.iter().all(right));
    ensure!(one, Rule, "trace: one urgent write, reported as {urgent:?}");

    run.verify_repository()?;
    run.restore("latest")?;
    ensure!(
        !restore_or_refuse_t0(&mut run)?,
        Rule,
        "T0: a block was overwritten before it was captured, and the t0 image is offered"
    );
    let (writes, bytes_written) = run.compare_unloaded(None, None)?;
    let counted = (last.writes_urgent, last.writes_held);
    ensure!(counted == (1, 0), Rule, "HANG: urgent and held writes: {counted:?}, not 1 and 0");
    run.folder.discard_images()?;
    Ok(Summary { writes, bytes_written, ..run.summary(first_sync, last) })
}

/// While the volume answers nothing, a held write could not be issued: this one has to arrive.
fn write_past_a_stuck_volume(run: &mut Run<'_>, place: u64) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    step(run.console, "write to the paging file of a volume that does not read", |_| {
        rig.agent().pause()?;
        in_first_sync(rig)?;
        rig.agent().ask(&format!("begin-write {place} 8192 119"))?;
        // Rule HANG (rules.md#hang).
        let arrived = wait_for_in_flight(rig, 1);
        rig.agent().resume()?;
        let ended = rig.agent().request("end-write")?;
        arrived?;
        ended.must_be_done("the write")
    })
}
