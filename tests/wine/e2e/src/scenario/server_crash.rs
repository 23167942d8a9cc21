//! The server is killed again and again, during the first sync and in live replication, and started
//! again. The service sends again what was not durable: there is no gap, the session goes on, and
//! both images must be right.

use std::time::Duration;

use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::process::pause;
use crate::scenario::run::Run;
use crate::scenario::{Setting, gap, protect};
use crate::service::ServiceSettings;
use crate::status::Status;
use crate::summary::Summary;

/// A gap would be the driver's answer to a queue that stays full: queue and window have room for
/// what is captured while the server is away. The sweep is slow, so that kills come during it.
const SERVICE: ServiceSettings =
    ServiceSettings { resend_mib: 256, sweep_mib: Some(4), ..ServiceSettings::holding(128) };
/// The longest delay of each request.
const VOLUME_JITTER_US: u32 = 30_000;
/// How often the server is killed during the first sync, at most and at least, and after it.
const EARLY_KILLS: [u64; 2] = [6, 2];
const LATE_KILLS: u64 = 4;
/// Milliseconds that the server stays away, from kill to kill in another order for each seed.
const AWAY_MS: [u64; 7] = [20, 300, 150, 1000, 50, 600, 100];
/// An event of the service (`docs/events.md`).
const LINK_FAILED: u16 = 310;

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let mut run = Run::prepare(setting, &SERVICE, VOLUME_JITTER_US, console)?;
    run.load()?;
    let begun = run.begin(true)?;
    let session = gap::half_way(&mut run)?;
    run.disturbed = true;
    let [most, least] = EARLY_KILLS;
    let mut early = 0;
    while early < most && kill_server(&mut run, early, &session)?.phase == "first_sync" {
        early += 1;
    }
    ensure!(early >= least, NotExercised, "{early} kills came during the first sync");
    run.watch("first sync", |status| status.phase == "live")?;
    for kill in 0..LATE_KILLS {
        kill_server(&mut run, most + kill, &session)?;
    }
    run.rig.service_logged(&[LINK_FAILED])?;
    protect::conclude(run, &begun)
}

/// Kills the server, starts it again, and waits until it acknowledges; returns the status then.
fn kill_server(run: &mut Run<'_>, kill: u64, session: &str) -> Result<Status, E2eError> {
    let away = AWAY_MS[usize::try_from((run.setting.seed + kill) % 7).unwrap_or(0)];
    let (rig, console) = (&mut run.rig, &mut *run.console);
    step(console, "kill the server, start it again", |_| {
        let address = rig.server().address().to_owned();
        rig.server().program.kill();
        pause(Duration::from_millis(away))?;
        rig.start_server(Some(&address)).map(|_| ())
    })?;
    let before = run.rig.status()?.map_or(0, |status| status.acknowledged_seq);
    let status = run.watch("acknowledgements", |status| status.acknowledged_seq > before)?;
    ensure!(status.session == session, Rule, "RESUME: a new session: {}", status.session);
    ensure!(status.gaps == 0, Rule, "LOSS: kill {kill} of the server has made a gap");
    Ok(status)
}
