//! No memory: whatever the driver asks the kernel for is refused, for seconds, while the first sync runs under load.
//!
//! Writes go on, each of them succeeds, and none waits for memory: those whose data can be reached are captured out of
//! what the session has had since its start; those whose data cannot even be mapped leave their blocks dirty, and these
//! are read again when there is memory. A session that cannot be started, or a device that cannot be made, leaves
//! nothing behind, whichever of its allocations fails.

use std::time::Duration;

use snapless_writer::log::Instant100;

use crate::console::{Console, step};
use crate::error::E2eError;
use crate::process::pause;
use crate::scenario::Setting;
use crate::scenario::gap::conclude;
use crate::scenario::run::Run;
use crate::service::ServiceSettings;
use crate::status::Status;
use crate::summary::Summary;
use crate::traces::gap_reason;
use crate::writes::Matched;

/// The queue overflows for no other reason.
const SERVICE: ServiceSettings =
    ServiceSettings { queue_mib: 128, hold_limit_ms: 10_000, hold_forever: true, sweep_mib: None };
/// Slow enough, on a volume so many times longer than elsewhere, that the first sync outlasts the scarcity.
const VOLUME_JITTER_US: u32 = 60_000;
const SIZE_FACTOR: u64 = 4;
/// How long each kind of scarcity lasts.
const SCARCITY: Duration = Duration::from_millis(1500);
/// Writes that go through meanwhile, at least.
const WRITES_MIN: u64 = 50;
/// The longest that a write may take meanwhile, in units of 100 ns: 5 s. The volume itself is slow.
const WRITE_LIMIT: u64 = 50_000_000;

/// Kinds of `protocol::memory::Scarcity`: what the kernel gives.
const KERNEL: u32 = 1;
/// That, mappings of applications' buffers, and the framework's objects.
const EVERYTHING: u32 = 7;

/// What the driver may say of the gap: a payload that could not be mapped, or a read that could not be made in time.
const REASONS: [&str; 2] = [gap_reason::PAYLOAD_UNAVAILABLE, gap_reason::QUEUE_FULL];

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let setting = Setting { size_mib: setting.size_mib * SIZE_FACTOR, ..setting.clone() };
    let mut run = Run::prepare(&setting, &SERVICE, VOLUME_JITTER_US, console)?;
    attach(&mut run)?;
    start(&mut run)?;
    run.load()?;
    let begun = run.begin(false)?;
    let pool = endure(&mut run, "no pool, no packets, no lists of memory", KERNEL)?;
    let after = first_sync(&mut run)?;
    if let Some(why) = after.interruption() {
        return Err(E2eError::Rule(format!("BOUND: the session needs memory: {why}")));
    }
    run.disturbed = true;
    let all = endure(&mut run, "no memory, not even to map what is written", EVERYTHING)?;
    let after = first_sync(&mut run)?;
    if after.writes_unreachable == 0 {
        return Err(E2eError::NotExercised("data that cannot be mapped: all were".into()));
    }
    let session = after.session;
    let summary = conclude(run, &begun, &session, &REASONS, |matched| {
        prompt(matched, pool)?;
        prompt(matched, all)
    })?;
    match summary.last.service.as_ref().map(|service| service.connections) {
        Some(1) => Ok(summary),
        other => Err(E2eError::Rule(format!(
            "the service did not bear the driver's lack of memory: its connections are {other:?}"
        ))),
    }
}

/// Attaches to the volume while one allocation after the other fails.
fn attach(run: &mut Run<'_>) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    let said = step(run.console, "attach to the volume without each allocation", |_| {
        rig.stop_driver()?;
        let mut said = String::new();
        rig.start_driver_with(|rig| {
            said = rig.agent().told("refused attach")?;
            Ok(())
        })?;
        Ok(said)
    })?;
    run.console.line(&format!("    {said}"));
    Ok(())
}

/// Starts a session while one allocation after the other fails, then asks for things while all of them do.
fn start(run: &mut Run<'_>) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    let said = step(run.console, "start a session without each allocation", |_| {
        rig.unwatched(|rig| {
            let said = rig.agent().told("refused each-allocation")?;
            rig.agent().tell("refused no-memory")?;
            Ok(said)
        })
    })?;
    run.console.line(&format!("    {said}"));
    Ok(())
}

/// Refuses the driver memory of these kinds for a while; says when.
fn endure(run: &mut Run<'_>, name: &str, kinds: u32) -> Result<(Instant100, Instant100), E2eError> {
    first_sync(run)?;
    let rig = &mut run.rig;
    step(run.console, name, |_| {
        rig.unwatched(|rig| {
            let before = rig.agent().counters()?.applied;
            let from = Instant100::now();
            rig.agent().tell(&format!("scarce {kinds} 0"))?;
            pause(SCARCITY)?;
            // Something is refused at least.
            let listed = rig.volumes();
            let applied = rig.agent().counters()?.applied - before;
            let refused = rig.agent().memory()?.refused;
            rig.agent().tell("scarce 0 0")?;
            let to = Instant100::now();
            rig.must_run()?;
            if refused == 0 || listed.is_ok() {
                return Err(E2eError::NotExercised(format!("{refused} allocations were refused")));
            }
            if applied < WRITES_MIN {
                return Err(E2eError::Rule(format!(
                    "HANG: {applied} writes went through while there was no memory"
                )));
            }
            Ok((from, to))
        })
    })
}

/// The session, which has to be in its first sync.
fn first_sync(run: &mut Run<'_>) -> Result<Status, E2eError> {
    let unfinished = |status: &Status| status.blocks_synced < status.blocks_total;
    match run.rig.status()? {
        Some(status) if unfinished(&status) => Ok(status),
        other => Err(E2eError::NotExercised(format!("the first sync is over: {other:?}"))),
    }
}

/// No write that was under way in this time took long.
fn prompt(matched: &Matched, (from, to): (Instant100, Instant100)) -> Result<(), E2eError> {
    let then =
        matched.writes().iter().filter(|write| write.submitted < to && write.completed > from);
    let longest = then.map(|write| write.completed.0.saturating_sub(write.submitted.0)).max();
    match longest {
        None => Err(E2eError::NotExercised("writes while there is no memory".into())),
        Some(longest) if longest > WRITE_LIMIT => Err(E2eError::Rule(format!(
            "HANG: without memory a write took {} ms",
            longest / 10_000
        ))),
        Some(_) => Ok(()),
    }
}
