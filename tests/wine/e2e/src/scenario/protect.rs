//! The main job: a first sync under load, then live replication, then both images against the truth.

use std::time::{Duration, Instant};

use snapless_writer::log::Instant100;

use crate::console::{Console, step};
use crate::error::E2eError;
use crate::judge::{Evidence, judge_latest, judge_t0};
use crate::scenario::Setting;
use crate::scenario::run::{Begun, Run};
use crate::service::ServiceSettings;
use crate::status::Status;
use crate::summary::Summary;

/// A slow machine must not turn into a gap here: writes wait for the queue as long as it takes.
const SERVICE: ServiceSettings =
    ServiceSettings { queue_mib: 128, hold_limit_ms: 10_000, hold_forever: true, sweep_mib: None };
/// A brisk volume.
const VOLUME_JITTER_US: u32 = 3000;
/// Overlapping writes under way together that a run must have had.
const OVERLAPS_MIN: usize = 20;

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let mut run = prepare(setting, console)?;
    run.load()?;
    let begun = run.begin(true)?;
    conclude(run, &begun)
}

/// Everything up to the load.
pub(super) fn prepare<'a>(
    setting: &'a Setting,
    console: &'a mut dyn Console,
) -> Result<Run<'a>, E2eError> {
    Run::prepare(setting, &SERVICE, VOLUME_JITTER_US, console)
}

/// Everything after the session's begin, up to the verdict.
pub(super) fn conclude(mut run: Run<'_>, begun: &Begun) -> Result<Summary, E2eError> {
    let synced = run.watch("first sync", begun.seen, |status| status.phase == "live")?;
    let first_sync = since(begun.beginning.t0, begun.seen);
    run.live_on()?;
    let last = run.come_to_rest()?;
    run.shut_down()?;
    let told = run.traces(&last.session, &["BaseComplete"])?;
    // The service's end is one: what it did not acknowledge is lost.
    let mut gaps = told.iter().filter(|trace| trace.name.starts_with("Gap"));
    if gaps.any(|trace| trace.field("reason") != "detached") {
        return Err(E2eError::Rule(format!("trace: a gap that nobody saw: {told:?}")));
    }

    run.verify_repository()?;
    run.restore("t0")?;
    run.restore("latest")?;
    let evidence = run.evidence()?;
    let prefix = compare(&mut run, begun, &evidence)?;
    run.check_ntfs("t0")?;
    let files = run.check_ntfs("latest")?;
    exercised(begun, &evidence, prefix, &last)?;
    run.folder.discard_images()?;

    let matched = evidence.matched();
    Ok(Summary {
        writes: matched.writes().len(),
        bytes_written: evidence.bytes(),
        overlaps: matched.overlaps_under_way(),
        under_way_at_t0: matched.under_way_at(begun.beginning.t0),
        prefix: Some(prefix),
        files,
        ..run.summary(first_sync, synced, last)
    })
}

fn compare(run: &mut Run<'_>, begun: &Begun, evidence: &Evidence) -> Result<usize, E2eError> {
    let (folder, image) = (&run.folder, &run.image);
    let mut truth = evidence.truth(image, folder)?;
    let prefix = step(run.console, "compare the t0 image with the truth", |_| {
        judge_t0(&mut truth, folder, evidence.t0_window(&begun.beginning)?)
    })?;
    step(run.console, "compare the latest image with the truth", |_| {
        judge_latest(&mut truth, folder)
    })?;
    Ok(prefix)
}

/// The situations that make the run worth something.
fn exercised(
    begun: &Begun,
    evidence: &Evidence,
    prefix: usize,
    last: &Status,
) -> Result<(), E2eError> {
    let matched = evidence.matched();
    let missing = |what: &str| Err(E2eError::NotExercised(what.into()));
    if begun.in_flight == 0 || matched.under_way_at(begun.beginning.t0) == 0 {
        return missing("the drain: no write was under way at t0");
    }
    if last.writes_held == 0 || last.blocks_by_hold == 0 {
        return missing("the hold: no write met an unsynced block");
    }
    if last.blocks_by_sweep == 0 || last.writes_passed == 0 {
        return missing("the sweep or the direct path");
    }
    if matched.overlaps_under_way() < OVERLAPS_MIN {
        return missing("the order of overlapping writes: too few were under way together");
    }
    if prefix == 0 || prefix == matched.writes().len() {
        return missing("the t0 image: no write lies on one side of it");
    }
    Ok(())
}

/// Time from t0 until the first sync was seen to have ended, just now.
fn since(t0: Instant100, seen: Instant) -> Duration {
    let ticks = Instant100::now().0.checked_sub(t0.0);
    let ticks = ticks.and_then(|ticks| ticks.checked_mul(100));
    ticks.map_or_else(|| seen.elapsed(), Duration::from_nanos)
}
