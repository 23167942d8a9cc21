//! The main job: a first sync under load, then live replication, then both images and a mounted
//! instant between them against the truth.

use std::time::{Duration, Instant};

use snapless_writer::log::Instant100;

use crate::console::Console;
use crate::error::{E2eError, ensure};
use crate::run_folder::RunFolder;
use crate::scenario::Setting;
use crate::scenario::run::{Begun, Run};
use crate::service::ServiceSettings;
use crate::status::Status;
use crate::summary::Summary;
use crate::verdict::Evidence;
use crate::writes::Matched;

/// A slow machine must not cause a gap here.
const SERVICE: ServiceSettings = ServiceSettings::holding(128);
/// A fast volume.
const VOLUME_JITTER_US: u32 = 3000;
/// Overlapping writes under way together that a run must have had.
const OVERLAPS_MIN: usize = 20;

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let mut run = prepare(setting, console)?;
    run.load()?;
    let begun = run.begin(true)?;
    conclude(run, &begun)
}

/// Prepares a run, up to the load.
pub(super) fn prepare<'a>(
    setting: &'a Setting,
    console: &'a mut dyn Console,
) -> Result<Run<'a>, E2eError> {
    Run::prepare(setting, &SERVICE, VOLUME_JITTER_US, console)
}

/// Goes on from the session's begin to the verdict.
pub(super) fn conclude(run: Run<'_>, begun: &Begun) -> Result<Summary, E2eError> {
    conclude_with(run, begun, |_, _, _| Ok(()))
}

/// The same; `look` checks the run's logs, its writes, and how many of them the t0 image has.
pub(super) fn conclude_with(
    mut run: Run<'_>,
    begun: &Begun,
    look: impl FnOnce(&RunFolder, &Matched, Option<usize>) -> Result<(), E2eError>,
) -> Result<Summary, E2eError> {
    run.watch("first sync", |status| status.phase == "live")?;
    let first_sync = since(begun.beginning.t0, begun.seen);
    let moment = run.live_on()?;
    let last = run.come_to_rest()?;
    run.shut_down()?;
    let told = run.traces(&last.session, &["BaseComplete"])?;
    let has_gap = told.iter().any(|trace| trace.name.starts_with("Gap"));
    ensure!(!has_gap, Rule, "trace: an unexpected gap: {told:?}");
    ensure!(last.gaps == 0, Rule, "LOSS: {} gaps while the service ran", last.gaps);
    run.folder.discard_machine()?;

    run.restore_both()?;
    let evidence = run.evidence()?;
    let prefix = run.compare_loaded(begun, &evidence, true)?.unwrap_or_default();
    run.check_ntfs("t0")?;
    let files = run.check_ntfs("latest")?;
    run.mount(&moment, &evidence)?;
    exercised(begun, &evidence, prefix, &last)?;
    look(&run.folder, evidence.matched(), Some(prefix))?;
    run.folder.discard_images_unless(run.setting.repository_stays)?;

    let summary = run.summary(first_sync, last);
    Ok(Summary { prefix: Some(prefix), files, ..evidence.add_to(summary, &begun.beginning) })
}

/// The situations without which the run proves nothing.
fn exercised(
    begun: &Begun,
    evidence: &Evidence,
    prefix: usize,
    last: &Status,
) -> Result<(), E2eError> {
    let matched = evidence.matched();
    let drained = begun.in_flight > 0 && matched.under_way_at(begun.beginning.t0) > 0;
    ensure!(drained, NotExercised, "the drain: no write was under way at t0");
    let held = last.writes_held > 0 && last.blocks_by_hold > 0;
    ensure!(held, NotExercised, "the hold: no write met an unsynced block");
    let both = last.blocks_by_sweep > 0 && last.writes_captured_inline > 0;
    ensure!(both, NotExercised, "the sweep or the direct path");
    let overlap = matched.overlaps_under_way() >= OVERLAPS_MIN;
    ensure!(
        overlap,
        NotExercised,
        "the order of overlapping writes: too few were under way together"
    );
    let split = (1..matched.writes().len()).contains(&prefix);
    ensure!(split, NotExercised, "the t0 image: no write lies on one side of it");
    Ok(())
}

/// Time from t0 until the first sync was seen to have ended, just now.
fn since(t0: Instant100, seen: Instant) -> Duration {
    let ticks = Instant100::now().0.checked_sub(t0.0);
    let ticks = ticks.and_then(|ticks| ticks.checked_mul(100));
    ticks.map_or_else(|| seen.elapsed(), Duration::from_nanos)
}
