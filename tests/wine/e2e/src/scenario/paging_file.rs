//! A write to a paging file is never held (rule HANG): the memory manager could wait for it for ever. It goes through
//! while the blocks that it touches cannot even be read, leaves them dirty, and they are read again.

use std::time::Duration;

use crate::agent::Outcome;
use crate::console::{Console, step};
use crate::error::E2eError;
use crate::journal::Journal;
use crate::process::wait_until;
use crate::scenario::Setting;
use crate::scenario::gap::{recovered, restore_or_refuse_t0};
use crate::scenario::run::Run;
use crate::service::ServiceSettings;
use crate::summary::Summary;
use crate::truth::Truth;

const SERVICE: ServiceSettings =
    ServiceSettings { queue_mib: 64, hold_limit_ms: 10_000, hold_forever: true, sweep_mib: None };
/// Slow enough that the first sync is under way when the volume is told to pause.
const VOLUME_JITTER_US: u32 = 30_000;
/// How long a write may take to reach the volume.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(10);
/// `DeviceUsageTypePaging`
const PAGING: u32 = 1;
/// Bytes at the volume's end that stand for a paging file.
const FILE_MIB: u64 = 8;

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let mut run = Run::prepare(setting, &SERVICE, VOLUME_JITTER_US, console)?;
    let file_from = setting.size_mib - FILE_MIB;
    step(run.console, "start the driver on a volume with a paging file", |_| {
        run.rig.stop_driver()?;
        run.rig.set_driver_value("RigPagingFileFromMiB", "REG_DWORD", &file_from.to_string())?;
        run.rig.start_driver()?;
        // As Windows does when it begins to page to a volume.
        run.rig.agent().tell(&format!("usage {PAGING} on"))
    })?;
    let begun = run.begin(false)?;
    run.disturbed = true;
    let place = (file_from << 20) + 4096;
    write_past_a_stuck_volume(&mut run, place)?;
    let synced = run.watch("recover", begun.seen, recovered)?;
    let first_sync = begun.seen.elapsed();
    let last = run.settle()?;
    run.shut_down()?;
    let told = run.traces(&last.session, &["GapBegan", "GapEnded"])?;
    let urgent: Vec<_> = told.iter().filter(|trace| trace.name == "WriteUrgent").collect();
    let right = |trace: &&crate::traces::Trace| {
        (trace.field("offset"), trace.field("bytes")) == (place.to_string().as_str(), "8192")
    };
    if !told.is_empty() && (urgent.len() != 1 || !urgent.iter().all(right)) {
        return Err(E2eError::Rule(format!("trace: one urgent write, told of as {urgent:?}")));
    }

    run.verify_repository()?;
    run.restore("latest")?;
    let t0_restored = restore_or_refuse_t0(&mut run)?;
    let journal = Journal::open(&run.folder.journal())?;
    let mut truth = Truth::new(&journal, &run.image.pristine, &run.folder.model())?;
    let folder = &run.folder;
    if t0_restored {
        return Err(E2eError::Rule(
            "T0: a block was overwritten before it was captured, and the t0 image is offered"
                .into(),
        ));
    }
    step(run.console, "compare the latest image with the truth", |_| {
        let matches = truth.matches_whole(&folder.restored("latest"))?;
        matches.map_err(|difference| E2eError::Different { image: "latest", difference })
    })?;
    if last.writes_urgent != 1 || last.writes_held != 0 {
        return Err(E2eError::Rule(format!(
            "HANG: {} urgent and {} held writes were counted, not 1 and 0",
            last.writes_urgent, last.writes_held
        )));
    }
    run.folder.discard_images()?;
    Ok(Summary {
        writes: journal.entries().len(),
        bytes_written: 8192,
        ..run.summary(first_sync, synced, last)
    })
}

/// While the volume answers nothing, a held write could not go: this one has to reach the volume.
fn write_past_a_stuck_volume(run: &mut Run<'_>, place: u64) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    step(run.console, "write to the paging file of a volume that does not read", |_| {
        rig.agent().pause()?;
        let status = rig.status()?;
        if status.is_none_or(|status| status.phase != "first_sync") {
            return Err(E2eError::NotExercised("the first sync: it is over".into()));
        }
        rig.agent().tell(&format!("begin-write {place} 8192 119"))?;
        let arrived =
            wait_until("the write to reach the volume (rule HANG)", ARRIVAL_LIMIT, || {
                Ok((rig.agent().counters()?.in_flight == 1).then_some(()))
            });
        rig.agent().resume()?;
        let ended = rig.agent().request("end-write")?;
        arrived?;
        match ended {
            Outcome::Done => Ok(()),
            other => Err(E2eError::Rule(format!("CLEAR: the write ended as {other:?}"))),
        }
    })
}
