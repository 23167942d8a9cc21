//! Gaps: protection is interrupted during the first sync and resumes by itself. The latest image
//! must be right afterwards; the t0 image must be right or be refused with a reason, never be
//! wrong.

use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::process::Signal;
use crate::run_folder::RunFolder;
use crate::scenario::Setting;
use crate::scenario::run::{Begun, Run};
use crate::server;
use crate::service::ServiceSettings;
use crate::status::Status;
use crate::summary::Summary;
use crate::traces::gap_reason::{QUEUE_FULL, SERVICE_LOST};
use crate::writes::Matched;

/// A small queue and a short hold limit: the gap comes soon.
const SERVICE: ServiceSettings =
    ServiceSettings { hold_limit_ms: 50, hold_forever: false, ..ServiceSettings::holding(64) };
/// Events of the service (`docs/events.md`).
const SESSION_STARTED: u16 = 200;
const GAP_BEGAN: u16 = 220;
const GAP_ENDED: u16 = 221;
/// Words that a refusal of the t0 image must contain.
const REASONS: [&str; 2] = ["gap", "base"];

/// The cause of the interruption.
pub(super) struct Cause {
    service: ServiceSettings,
    /// The longest delay of each request. The service has to end during the first sync.
    volume_jitter_us: u32,
    /// Possible reasons of the first gap.
    reasons: &'static [&'static str],
    /// Interrupts protection; returns the session.
    interrupt: fn(&mut Run<'_>) -> Result<String, E2eError>,
}

pub(super) const SLOW_SERVER: Cause = Cause {
    service: SERVICE,
    volume_jitter_us: 3000,
    reasons: &[QUEUE_FULL],
    interrupt: slow_server,
};
pub(super) const SERVICE_AWAY: Cause = Cause {
    // The service has to end before any gap; without one no write waits, whatever is chosen.
    service: ServiceSettings::holding(64),
    volume_jitter_us: 30_000,
    reasons: &[SERVICE_LOST],
    interrupt: service_away,
};

pub(super) fn run(
    cause: &Cause,
    setting: &Setting,
    console: &mut dyn Console,
) -> Result<Summary, E2eError> {
    let mut run = Run::prepare(setting, &cause.service, cause.volume_jitter_us, console)?;
    run.load()?;
    let begun = run.begin(false)?;
    run.disturbed = true;
    let session = (cause.interrupt)(&mut run)?;
    conclude(run, &begun, &session, cause.reasons, |_, _, _| Ok(()))
}

/// Goes on from the interruption to the verdict. The driver has to give one of `reasons` for the
/// gap; `look` checks the run's logs, its writes, and how many of them the t0 image has.
pub(super) fn conclude(
    mut run: Run<'_>,
    begun: &Begun,
    session: &str,
    reasons: &[&str],
    look: impl FnOnce(&RunFolder, &Matched, Option<usize>) -> Result<(), E2eError>,
) -> Result<Summary, E2eError> {
    run.watch("recover", recovered)?;
    let first_sync = begun.seen.elapsed();
    run.live_on()?;
    let last = run.come_to_rest()?;
    run.shut_down()?;
    run.rig.service_logged(&[SESSION_STARTED, GAP_BEGAN, GAP_ENDED])?;
    let told = run.traces(&last.session, &["GapBegan", "GapEnded"])?;
    let reason = told.iter().find(|trace| trace.name == "GapBegan");
    let expected = reason.is_none_or(|trace| reasons.contains(&trace.field("number")));
    ensure!(expected, Rule, "trace: not the reason of the gap: {reason:?}");
    run.folder.discard_machine()?;

    run.verify_repository()?;
    run.restore("latest")?;
    let t0_restored = restore_or_refuse_t0(&mut run)?;
    let evidence = run.evidence()?;
    let prefix = run.compare_loaded(begun, &evidence, t0_restored)?;
    let files = run.check_ntfs("latest")?;
    ensure!(
        last.session == session,
        Rule,
        "RESUME: session {session} was replaced by {}, though the server had a part of it",
        last.session
    );
    let gap = last.gaps > 0 && last.writes_uncaptured > 0;
    ensure!(gap, NotExercised, "a gap: no write went through uncaptured");
    look(&run.folder, evidence.matched(), prefix)?;
    run.folder.discard_images()?;
    let summary = run.summary(first_sync, last);
    Ok(Summary { prefix, files, ..evidence.add_to(summary, &begun.beginning) })
}

pub(super) fn recovered(status: &Status) -> bool {
    status.phase == "live" && status.gaps > 0 && status.blocks_dirty == 0
}

/// Freezes the server until the queue overflows.
fn slow_server(run: &mut Run<'_>) -> Result<String, E2eError> {
    run.rig.server().program.signal(Signal::STOP)?;
    let gap = run.watch("wait for a gap behind a frozen server", |status| {
        status.gaps > 0 && status.writes_uncaptured > 0
    });
    run.rig.server().program.signal(Signal::CONT)?;
    gap.map(|status| status.session)
}

/// Kills the service until the queue overflows.
fn service_away(run: &mut Run<'_>) -> Result<String, E2eError> {
    half_way(run)?;
    let rig = &mut run.rig;
    step(run.console, "kill the service", |_| rig.kill_service())?;
    let status = run.watch("wait for a gap without a service", |status| {
        status.gaps > 0 && status.writes_uncaptured > 0
    })?;
    let rig = &mut run.rig;
    step(run.console, "start the service again", |_| rig.start_service())?;
    Ok(status.session)
}

/// Waits until the server has acknowledged a part of the base image; returns the session.
pub(super) fn half_way(run: &mut Run<'_>) -> Result<String, E2eError> {
    let status = run.watch("first sync, up to the crash", |status| {
        status.acknowledged_seq > 0 || status.phase != "first_sync"
    })?;
    ensure!(
        status.phase == "first_sync",
        NotExercised,
        "a crash during the first sync: it was over before the server had acknowledged any of it"
    );
    Ok(status.session)
}

/// Whether there is a t0 image; false if it was refused with one of the reasons.
pub(super) fn restore_or_refuse_t0(run: &mut Run<'_>) -> Result<bool, E2eError> {
    let (server, folder) = (&run.setting.programs.server, &run.folder);
    step(run.console, "restore the volume at t0, unless it is refused", |_| {
        match server::restore(server, folder, "t0") {
            Ok(()) => Ok(true),
            Err(E2eError::Exit { tail, .. })
                if REASONS.iter().any(|reason| tail.contains(reason))
                    && !folder.restored("t0").exists() =>
            {
                Ok(false)
            }
            Err(other) => Err(other),
        }
    })
}
