//! The machine restarts, in order or by a power cut with records that no server has, and another
//! system changes blocks of the volume while it is off. The session goes on, behind what the server
//! has: every block is read, and what differs is sent. t0, a point before each restart and the
//! latest image must be right. How much is sent depends on the load, as the service does not wait
//! long for the server's comparison: `server/tests/integration/restarts.rs` counts it.
//!
//! The truth of each time between two restarts is its own: the image as the machine found it, and
//! the journal since.

use std::fs::{self, File};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use snapless_writer::payload::{Payload, WriteId};

use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::process::{Signal, wait_until};
use crate::scenario::run::Run;
use crate::scenario::{Setting, gap};
use crate::service::ServiceSettings;
use crate::status::Status;
use crate::summary::Summary;
use crate::verdict::{Evidence, Moment, as_len};

/// The queue has room for what is captured while no server is there.
const SERVICE: ServiceSettings = ServiceSettings::holding(256);
/// The longest delay of each request.
const VOLUME_JITTER_US: u32 = 30_000;
/// How often the machine restarts.
const REBOOTS: usize = 2;
/// For longer runs: how often the machine restarts.
const REBOOTS_VARIABLE: &str = "SNAPLESS_REBOOTS";
/// Records that the server lacks at least when the machine goes down.
const LOST_MIN: u64 = 100;
/// Places that change while the machine is off, and bytes of each: parts of blocks.
const CHANGES: u64 = 24;
const CHANGE_LEN: u64 = 4096;
/// Bytes per second of the load after a restart: most blocks are not written to meanwhile.
const RATE: u64 = 1 << 20;
/// The thread of writes that no writer makes, in their content.
const OTHER_SYSTEM: u16 = u16::MAX;

/// How long the service may take to log an event.
const EVENT_LIMIT: Duration = Duration::from_secs(20);
/// Events of the service (`docs/events.md`).
const SESSION_VERIFIED: u16 = 205;
const GAP_ENDED: u16 = 221;

/// The time from one start of the machine to its end: what is needed to know each of its instants.
struct Uptime {
    /// The image as the machine found it.
    found: PathBuf,
    journal: PathBuf,
    writes: PathBuf,
    /// A point under load.
    moment: Moment,
}

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let reboots = std::env::var(REBOOTS_VARIABLE).ok().and_then(|text| text.parse().ok());
    let reboots = reboots.unwrap_or(REBOOTS).max(REBOOTS);
    let mut run = Run::prepare(setting, &SERVICE, VOLUME_JITTER_US, console)?;
    run.load()?;
    let begun = run.begin(true)?;
    let synced = run.watch("first sync", |status| status.phase == "live")?;
    let first_sync = begun.seen.elapsed();
    run.disturbed = true;
    let mut uptimes = Vec::new();
    for reboot in 1..=reboots {
        let moment = run.live_on()?;
        go_down(&mut run, (setting.seed + reboot as u64).is_multiple_of(2))?;
        uptimes.push(set_aside(&run, reboot - 1, moment)?);
        run.image.pristine = change(&run, reboot)?;
        come_back(&mut run, reboot, &synced.session)?;
    }
    let moment = run.live_on()?;
    let last = run.come_to_rest()?;
    run.shut_down()?;
    uptimes.push(set_aside(&run, reboots, moment)?);

    run.verify_repository()?;
    run.restore("t0")?;
    run.restore("latest")?;
    let mut summary = run.summary(first_sync, last);
    for (number, uptime) in uptimes.into_iter().enumerate() {
        run.image.pristine = uptime.found;
        (run.folder.journal, run.folder.writes) = (uptime.journal, uptime.writes);
        let evidence = run.evidence()?;
        let all = evidence.matched().writes().len();
        if number == 0 {
            let window = evidence.t0_window(&begun.beginning)?;
            let prefix = Some(compare(&mut run, &evidence, "t0", window)?);
            summary = Summary { prefix, ..evidence.add_to(summary, &begun.beginning) };
        } else {
            summary.writes += all;
        }
        run.mount(&uptime.moment, &evidence)?;
        if number == reboots {
            compare(&mut run, &evidence, "latest", all..=all)?;
        }
    }
    summary.files = run.check_ntfs("latest")?;
    run.folder.discard_images()?;
    Ok(summary)
}

/// The machine goes down with records that the server, which stopped answering, does not have. Only
/// after a power cut they are lost.
fn go_down(run: &mut Run<'_>, in_order: bool) -> Result<(), E2eError> {
    run.rig.server().program.signal(Signal::STOP)?;
    run.watch("capture what no server has", |status| {
        status.last_seq >= status.acknowledged_seq + LOST_MIN
    })?;
    let name = if in_order { "shut the machine down" } else { "cut the machine's power" };
    let (rig, console) = (&mut run.rig, &mut *run.console);
    step(console, name, |_| {
        rig.stop_writer()?;
        if in_order {
            // The service sends what was captured before it ends.
            rig.server().program.signal(Signal::CONT)?;
            return rig.power_off(true);
        }
        let address = rig.server().address().to_owned();
        rig.server().program.kill();
        rig.power_off(false)?;
        rig.start_server(Some(&address)).map(|_| ())
    })
}

/// Keeps the evidence of the time that ended: the next one makes its own.
fn set_aside(run: &Run<'_>, number: usize, moment: Moment) -> Result<Uptime, E2eError> {
    let aside = |file: &Path| {
        let kept = file.with_extension(number.to_string());
        fs::rename(file, &kept).map_err(E2eError::file("rename", file)).map(|()| kept)
    };
    let (journal, writes) = (aside(&run.folder.journal)?, aside(&run.folder.writes)?);
    Ok(Uptime { found: run.image.pristine.clone(), journal, writes, moment })
}

/// Changes the volume behind the driver's back; returns a copy of what the machine will find.
fn change(run: &Run<'_>, reboot: usize) -> Result<PathBuf, E2eError> {
    let (volume, payload) = (&run.folder.volume, Payload::new(run.setting.seed));
    let file = File::options().write(true).open(volume).map_err(E2eError::file("open", volume))?;
    let mut rng = fastrand::Rng::with_seed(run.setting.seed + reboot as u64);
    for number in 1..=CHANGES {
        let regions = run.image.regions.extents();
        let extent = regions[rng.usize(..regions.len())];
        let pages = extent.len() / CHANGE_LEN;
        let offset = extent.offset() + rng.u64(..pages.max(1)) * CHANGE_LEN;
        let mut bytes = vec![0; as_len(extent.len().min(CHANGE_LEN))];
        let id = WriteId::new(OTHER_SYSTEM, reboot as u64 * CHANGES + number);
        payload.fill(id, offset, &mut bytes);
        file.write_all_at(&bytes, offset).map_err(E2eError::file("write", volume))?;
    }
    let found = run.folder.root.join(format!("found-{reboot}.img"));
    fs::copy(volume, &found).map_err(E2eError::file("copy to", &found))?;
    Ok(found)
}

/// The session goes on, verified under load, and what the server has is left out.
fn come_back(run: &mut Run<'_>, reboot: usize, session: &str) -> Result<Status, E2eError> {
    let (rig, image, console) = (&mut run.rig, &run.image, &mut *run.console);
    step(console, "start the machine again", |_| {
        rig.power_on()?;
        rig.start_service()?;
        rig.start_writer(image, RATE)
    })?;
    let status = run.watch("verify", gap::recovered)?;
    ensure!(status.session == session, Rule, "RESUME: a new session: {}", status.session);
    for event in [SESSION_VERIFIED, GAP_ENDED] {
        // The driver knows of the end of the gap before the service does.
        let logged = wait_until("the service to say so", EVENT_LIMIT, || {
            Ok(Some(run.rig.times_logged(event)?).filter(|&logged| logged >= reboot))
        })?;
        ensure!(logged == reboot, Rule, "RESUME: event {event} {logged} times in {reboot} reboots");
    }
    // The service reports once a second.
    run.watch("the service's report of unchanged blocks", |status| {
        status.service.as_ref().is_some_and(|service| service.bytes_unchanged > 0)
    })
}

fn compare(
    run: &mut Run<'_>,
    evidence: &Evidence,
    at: &'static str,
    window: RangeInclusive<usize>,
) -> Result<usize, E2eError> {
    let (restored, mut truth) = (run.folder.restored(at), evidence.truth(&run.image, &run.folder)?);
    step(run.console, &format!("compare the {at} image with the truth"), |_| {
        let found = truth.matching_prefixes(&restored, window)?;
        found.map(|prefixes| prefixes[0]).map_err(|difference| E2eError::Different(at, difference))
    })
}
