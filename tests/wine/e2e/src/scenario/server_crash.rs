//! The server is killed during the first sync and started again. The service sends again what was
//! not durable: there is no gap, the session goes on, and both images must be right.

use std::time::Duration;

use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::process::pause;
use crate::scenario::run::Run;
use crate::scenario::{Setting, gap, protect};
use crate::service::ServiceSettings;
use crate::summary::Summary;

/// A gap would be the driver's answer to a queue that stays full. Queue and window have room for
/// what is captured while the server is away.
const SERVICE: ServiceSettings =
    ServiceSettings { resend_mib: 256, ..ServiceSettings::holding(128) };
/// The longest delay of each request: the crash has to come during the first sync.
const VOLUME_JITTER_US: u32 = 30_000;
/// How long the server stays away.
const AWAY: Duration = Duration::from_secs(2);
/// An event of the service (`docs/events.md`).
const LINK_FAILED: u16 = 310;

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let mut run = Run::prepare(setting, &SERVICE, VOLUME_JITTER_US, console)?;
    run.load()?;
    let begun = run.begin(true)?;
    let session = gap::half_way(&mut run)?;
    run.disturbed = true;
    let (rig, console) = (&mut run.rig, &mut *run.console);
    step(console, "kill the server, start it again", |_| {
        let address = rig.server().address().to_owned();
        rig.server().program.kill();
        pause(AWAY)?;
        rig.start_server(Some(&address)).map(|_| ())
    })?;
    let before = run.rig.status()?.map_or(0, |status| status.acknowledged_seq);
    let after = run.watch("acknowledgements", |status| status.acknowledged_seq > before)?;
    ensure!(after.session == session, Rule, "RESUME: a new session has begun: {}", after.session);
    run.rig.service_logged(&[LINK_FAILED])?;
    protect::conclude(run, &begun)
}
