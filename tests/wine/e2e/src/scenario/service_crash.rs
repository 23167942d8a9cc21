//! The service is killed again and again, at random moments of the first sync and of live
//! replication, and started again. The driver keeps what the server lacks and the next service
//! drains it again: there is no gap, the session goes on, and both images must be right.

use std::time::Duration;

use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::process::pause;
use crate::scenario::run::Run;
use crate::scenario::{Setting, gap, protect};
use crate::service::ServiceSettings;
use crate::status::Status;
use crate::summary::Summary;

/// The queue has room for what is captured while no service is there, also on a machine on which
/// services start slowly. The sweep is slow: kills come during it, and what it reads is kept until
/// it is acknowledged.
const SERVICE: ServiceSettings =
    ServiceSettings { sweep_mib: Some(2), ..ServiceSettings::holding(512) };
/// The longest delay of each request: the server follows what is written, so that the queue holds.
const VOLUME_JITTER_US: u32 = 120_000;
/// How often the service is killed, and how often of these during the first sync at least.
const KILLS: u64 = 8;
const EARLY_KILLS_MIN: u64 = 2;
/// For longer runs: how often the service is killed.
const KILLS_VARIABLE: &str = "SNAPLESS_KILLS";
/// Milliseconds before a kill and after it, at most.
const BEFORE_MS: u64 = 1500;
const AWAY_MS: u64 = 1000;
/// An event of the service (`docs/events.md`).
const SESSION_RESUMED: u16 = 201;

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let kills = std::env::var(KILLS_VARIABLE).ok().and_then(|text| text.parse().ok());
    let kills = kills.unwrap_or(KILLS).max(KILLS);
    let mut run = Run::prepare(setting, &SERVICE, VOLUME_JITTER_US, console)?;
    run.load()?;
    let begun = run.begin(true)?;
    let session = gap::half_way(&mut run)?;
    run.disturbed = true;
    let mut rng = fastrand::Rng::with_seed(setting.seed);
    let mut early = 0;
    while early < kills / 2 && kill_service(&mut run, &mut rng, &session)?.phase == "first_sync" {
        early += 1;
    }
    ensure!(early >= EARLY_KILLS_MIN, NotExercised, "{early} kills came during the first sync");
    run.watch("first sync", |status| status.phase == "live")?;
    for _ in early..kills {
        kill_service(&mut run, &mut rng, &session)?;
    }
    run.rig.service_logged(&[SESSION_RESUMED])?;
    protect::conclude(run, &begun)
}

/// Kills the service, starts it again, and waits until its server acknowledges; returns the status
/// then.
fn kill_service(
    run: &mut Run<'_>,
    rng: &mut fastrand::Rng,
    session: &str,
) -> Result<Status, E2eError> {
    let (before, away) = (rng.u64(..BEFORE_MS), rng.u64(..AWAY_MS));
    let (rig, console) = (&mut run.rig, &mut *run.console);
    step(console, "kill the service, start it again", |_| {
        pause(Duration::from_millis(before))?;
        rig.kill_service()?;
        pause(Duration::from_millis(away))?;
        rig.start_service()
    })?;
    let before = run.rig.status()?.map_or(0, |status| status.acknowledged_seq);
    let status = run.watch("acknowledgements", |status| status.acknowledged_seq > before)?;
    ensure!(status.session == session, Rule, "RESUME: a new session: {}", status.session);
    let held = status.records_given_up == 0;
    ensure!(status.gaps == 0 || !held, Rule, "RESUME: the end of the service has made a gap");
    ensure!(status.gaps == 0, NotExercised, "the queue did not hold: {status:?}");
    Ok(status)
}
