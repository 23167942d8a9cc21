//! Allocation failures: every allocation of the driver fails, for seconds, while the first sync
//! runs under load.
//!
//! Writes go on, each of them succeeds and is captured, and none waits for memory: what is written
//! goes into memory that the session has had since its start, by addresses that it has had as long.
//! A session or a device whose start fails leaves nothing allocated, whichever allocation fails.

use std::time::Duration;

use protocol::ioctl::AllocationFailure;
use snapless_writer::log::Instant100;

use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::process::pause;
use crate::scenario::Setting;
use crate::scenario::run::{Run, in_first_sync};
use crate::service::ServiceSettings;
use crate::summary::Summary;
use crate::writes::Matched;

/// The queue must not overflow for another reason.
const SERVICE: ServiceSettings = ServiceSettings::holding(128);
/// Slow enough, on a larger volume, that the first sync outlasts the failures.
const VOLUME_JITTER_US: u32 = 60_000;
const SIZE_FACTOR: u64 = 4;
/// How long each kind of allocations fails.
const FAILURE_TIME: Duration = Duration::from_millis(1500);
/// Writes that go through meanwhile, at least.
const WRITES_MIN: u64 = 50;
/// The longest that a write may take meanwhile, in units of 100 ns: 5 s. The volume itself is slow.
const WRITE_LIMIT: u64 = 50_000_000;

/// All kinds of allocations.
const EVERYTHING: u32 =
    AllocationFailure::KERNEL | AllocationFailure::MAPPINGS | AllocationFailure::FRAMEWORK;

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let setting = Setting { size_mib: setting.size_mib * SIZE_FACTOR, ..setting.clone() };
    let mut run = Run::prepare(&setting, &SERVICE, VOLUME_JITTER_US, console)?;
    attach(&mut run)?;
    start(&mut run)?;
    run.load()?;
    let begun = run.begin(false)?;
    let pool =
        endure(&mut run, "no pool, no packets, no lists of memory", AllocationFailure::KERNEL)?;
    goes_on(&mut run)?;
    let all = endure(&mut run, "no memory, not even to map what is written", EVERYTHING)?;
    let session = goes_on(&mut run)?;
    run.watch("first sync", |status| status.phase == "live")?;
    let first_sync = begun.seen.elapsed();
    run.live_on()?;
    let last = run.come_to_rest()?;
    run.shut_down()?;
    run.restore_both()?;
    let evidence = run.evidence()?;
    let prefix = run.compare_loaded(&begun, &evidence, true)?;
    let files = run.check_ntfs("latest")?;
    for time in [pool, all] {
        prompt(evidence.matched(), time)?;
    }
    let same = last.session == session && last.writes_payload_unavailable == 0;
    ensure!(same, Rule, "BOUND: the session needs memory: {last:?}");
    let connections = last.service.as_ref().map(|service| service.connections);
    ensure!(
        connections == Some(1),
        Rule,
        "the service reconnected because of the driver's allocation failures: {connections:?} times"
    );
    run.folder.discard_images()?;
    let summary = run.summary(first_sync, last);
    Ok(Summary { prefix, files, ..evidence.add_to(summary, &begun.beginning) })
}

/// The session goes on as if nothing had happened; returns its identity.
fn goes_on(run: &mut Run<'_>) -> Result<String, E2eError> {
    let after = in_first_sync(&mut run.rig)?;
    match after.interruption() {
        Some(why) => Err(E2eError::Rule(format!("BOUND: the session needs memory: {why}"))),
        None => Ok(after.session),
    }
}

/// Attaches to the volume while one allocation after the other fails.
fn attach(run: &mut Run<'_>) -> Result<(), E2eError> {
    run.step_and_say("attach to the volume without each allocation", |rig| {
        rig.stop_driver()?;
        rig.start_driver_with(|rig| rig.agent().ask("refused attach"))
    })
}

/// Starts a session while one allocation after the other fails, then sends requests while all fail.
fn start(run: &mut Run<'_>) -> Result<(), E2eError> {
    run.step_and_say("start a session without each allocation", |rig| {
        rig.unwatched(|rig| {
            let said = rig.agent().ask("refused each-allocation")?;
            rig.agent().ask("refused no-memory")?;
            Ok(said)
        })
    })
}

/// Makes the driver's allocations of these kinds fail for a while; returns when.
fn endure(run: &mut Run<'_>, name: &str, kinds: u32) -> Result<(Instant100, Instant100), E2eError> {
    in_first_sync(&mut run.rig)?;
    let rig = &mut run.rig;
    step(run.console, name, |_| {
        rig.unwatched(|rig| {
            let before = rig.agent().counters()?.applied;
            let from = Instant100::now();
            rig.agent().fail_allocations(kinds)?;
            pause(FAILURE_TIME)?;
            // At least one allocation fails.
            let listed = rig.volumes();
            let applied = rig.agent().counters()?.applied - before;
            let failed = rig.agent().memory()?.failed;
            rig.agent().fail_allocations(0)?;
            let to = Instant100::now();
            rig.must_run()?;
            let refused = failed > 0 && listed.is_err();
            ensure!(refused, NotExercised, "{failed} allocations failed");
            let enough = applied >= WRITES_MIN;
            ensure!(enough, Rule, "HANG: {applied} writes went through while there was no memory");
            Ok((from, to))
        })
    })
}

/// No write that was under way in this time took long.
fn prompt(matched: &Matched, (from, to): (Instant100, Instant100)) -> Result<(), E2eError> {
    let then =
        matched.writes().iter().filter(|write| write.submitted < to && write.completed > from);
    let longest = then.map(|write| write.completed.0.saturating_sub(write.submitted.0)).max();
    ensure!(longest.is_some(), NotExercised, "writes while there is no memory");
    let longest = longest.unwrap_or_default();
    let ms = longest / 10_000;
    ensure!(longest <= WRITE_LIMIT, Rule, "HANG: without memory a write took {ms} ms");
    Ok(())
}
