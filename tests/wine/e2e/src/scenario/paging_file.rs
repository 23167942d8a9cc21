//! A write to a paging file is never held, rule HANG (rules.md#hang): the memory manager could wait
//! for it without end. It is issued while its blocks cannot be read, leaves them dirty, and they
//! are read again. A write to a mapped file, which is paging I/O too, is held like any other.
//!
//! The writes come as a file system sends them: below it they have no file object.

use std::time::Duration;

use protocol::ioctl::TopWrite;

use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::process::wait_until;
use crate::rig::Rig;
use crate::scenario::Setting;
use crate::scenario::gap::{recovered, restore_or_refuse_t0};
use crate::scenario::run::{Run, in_first_sync, wait_for_in_flight};
use crate::service::ServiceSettings;
use crate::summary::Summary;

/// A volume with a paging file may not wait without end.
const SERVICE: ServiceSettings =
    ServiceSettings { hold_limit_ms: 50_000, hold_forever: false, ..ServiceSettings::holding(64) };
/// Slow enough that the first sync is under way when the volume pauses.
const VOLUME_JITTER_US: u32 = 30_000;
/// `DeviceUsageTypePaging`
const PAGING: u32 = 1;
/// A status is not older than this.
const HOLD_LIMIT: Duration = Duration::from_secs(30);
/// MiB before the volume's end where the writes go, which the sweep reads last; each goes to
/// another MiB.
const FROM_END_MIB: u64 = 8;
/// Bytes of each.
const LEN: u64 = 8192;

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let mut run = Run::prepare(setting, &SERVICE, VOLUME_JITTER_US, console)?;
    let place = |number: u64| ((setting.size_mib - FROM_END_MIB + number) << 20) + 4096;
    step(run.console, "begin to page to the volume", |_| run.rig.agent().usage(PAGING, true))?;
    let begun = run.begin(false)?;
    hold_a_mapped_files_write(&mut run, place(0))?;
    run.disturbed = true;
    let whole = ("the paging file", place(1), TopWrite::PAGING_FILE);
    let piece = ("a piece of the paging file", place(2), TopWrite::PAGING_FILE_PIECE);
    for (what, place, sender) in [whole, piece] {
        write_past_a_stuck_volume(&mut run, what, place, sender)?;
    }
    run.watch("recover", recovered)?;
    let first_sync = begun.seen.elapsed();
    let last = run.settle()?;
    run.shut_down()?;
    let told = run.traces(&last.session, &["GapBegan", "GapEnded"])?;
    let urgent: Vec<_> = told.iter().filter(|trace| trace.name == "WriteUrgent").collect();
    let right = |(number, trace): (u64, &&crate::traces::Trace)| {
        let want = (place(number).to_string(), LEN.to_string());
        (trace.field("offset"), trace.field("bytes")) == (want.0.as_str(), want.1.as_str())
    };
    let both = told.is_empty() || (urgent.len() == 2 && (1..).zip(&urgent).all(right));
    ensure!(both, Rule, "trace: two urgent writes, reported as {urgent:?}");

    run.verify_repository()?;
    run.restore("latest")?;
    ensure!(
        !restore_or_refuse_t0(&mut run)?,
        Rule,
        "T0: a block was overwritten before it was captured, and the t0 image is offered"
    );
    let (writes, bytes_written) = run.compare_unloaded(None, None)?;
    let counted = (last.writes_urgent, last.writes_held);
    ensure!(counted == (2, 1), Rule, "HANG: urgent and held writes: {counted:?}, not 2 and 1");
    run.folder.discard_images()?;
    Ok(Summary { writes, bytes_written, ..run.summary(first_sync, last) })
}

/// A mapped file's write waits like any other: it loses nothing.
fn hold_a_mapped_files_write(run: &mut Run<'_>, place: u64) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    step(run.console, "hold a write to a mapped file", |_| {
        rig.agent().pause()?;
        in_first_sync(rig)?;
        begin_write(rig, place, TopWrite::MAPPED_FILE)?;
        let held = wait_until("the write to be held", HOLD_LIMIT, || {
            Ok(rig.status()?.filter(|status| status.writes_holding == 1))
        });
        let arrived = rig.agent().counters()?.in_flight;
        rig.agent().resume()?;
        let ended = rig.agent().request("end-write")?;
        held?;
        ensure!(arrived == 0, Rule, "T0: a held write is with the volume");
        ended.must_be_done("the write")
    })
}

fn begin_write(rig: &mut Rig, place: u64, sender: u32) -> Result<(), E2eError> {
    rig.agent().ask(&format!("begin-top-write {place} {LEN} 119 {sender}")).map(|_| ())
}

/// While the volume answers nothing, a held write could not be issued: this one has to arrive.
fn write_past_a_stuck_volume(
    run: &mut Run<'_>,
    what: &str,
    place: u64,
    sender: u32,
) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    step(run.console, &format!("write to {what} of a volume that does not read"), |_| {
        rig.agent().pause()?;
        in_first_sync(rig)?;
        begin_write(rig, place, sender)?;
        // Rule HANG (rules.md#hang).
        let arrived = wait_for_in_flight(rig, 1);
        rig.agent().resume()?;
        let ended = rig.agent().request("end-write")?;
        arrived?;
        ended.must_be_done("the write")
    })
}
