//! The machine restarts: by a power cut with records that no server has, once while it sleeps, in
//! order, and each of them with another system that changes the volume while the machine is off.
//! The session goes on, behind what the server has. If nothing changed the volume meanwhile, only
//! what the server may lack is read, after a power cut what the write-intent log has, and the
//! driver does so before any service is there: every instant from then on is a point. Else every
//! block is read. What differs is sent. t0, points before each restart, one of a time without a
//! service, and the latest image must be right. How much is sent depends on the load, as the
//! service does not wait long for the server's comparison:
//! `server/program/tests/integration/restarts.rs` counts it.
//!
//! The truth of each time between two restarts is its own: the image as the machine found it, and
//! the journal since.

use std::fs::{self, File};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use snapless_driver_client::state_place::StatePlace;
use snapless_writer::payload::{Payload, WriteId};

use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::process::Signal;
use crate::scenario::run::Run;
use crate::scenario::{Setting, gap};
use crate::service::ServiceSettings;
use crate::summary::Summary;
use crate::verdict::{Evidence, Moment, as_len};

/// The queue has room for what is captured while no server is there.
const SERVICE: ServiceSettings = ServiceSettings::holding(256);
/// The longest delay of each request.
const VOLUME_JITTER_US: u32 = 30_000;
/// How often the machine restarts: in each way once.
const REBOOTS: usize = End::ALL.len();
/// For longer runs: how often the machine restarts.
const REBOOTS_VARIABLE: &str = "SNAPLESS_REBOOTS";
/// Records that the server lacks at least when the machine goes down.
const LOST_MIN: u64 = 100;
/// Writes that come after the service has ended, or before it is there.
const OUTSIDE_MIN: u64 = 20;
/// Places that change while the machine is off, and bytes of each: parts of blocks.
const CHANGES: u64 = 24;
const CHANGE_LEN: u64 = 4096;
/// Bytes per second of the load after a restart: most blocks are not written to meanwhile.
const RATE: u64 = 1 << 20;
/// The thread of writes that no writer makes, in their content.
const OTHER_SYSTEM: u16 = u16::MAX;

/// Events of the service (`docs/events.md`).
const SESSION_VERIFIED: u16 = 205;
const SESSION_CAUGHT_UP: u16 = 206;
const SESSION_CAUGHT_UP_AFTER_CRASH: u16 = 207;
const GAP_ENDED: u16 = 221;

/// How the machine goes down, and what happens while it is off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The power is cut while the machine sleeps, and nothing happens.
    PowerCut,
    /// The power is cut, and another system changes the volume.
    PowerCutAndChanged,
    /// In order, and nothing happens.
    InOrder,
    /// In order, and another system changes the volume.
    InOrderAndChanged,
}

impl End {
    const ALL: [Self; 4] =
        [Self::PowerCutAndChanged, Self::InOrder, Self::InOrderAndChanged, Self::PowerCut];

    /// Of a restart, of which the first has number 1.
    fn of(reboot: usize) -> Self {
        Self::ALL[(reboot - 1) % Self::ALL.len()]
    }
}

/// What is known of all restarts so far.
#[derive(Default)]
struct Restarts {
    verified: usize,
    caught_up: usize,
    after_crash: usize,
}

/// The time from one start of the machine to its end: what is needed to know each of its instants.
struct Uptime {
    /// The image as the machine found it.
    found: PathBuf,
    journal: PathBuf,
    writes: PathBuf,
    /// Points under load.
    moments: Vec<Moment>,
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
    let (mut first, mut restarts, mut moments) = (None, Restarts::default(), Vec::new());
    let mut writes = 0;
    for reboot in 1..=reboots {
        moments.push(run.live_on()?);
        let end = End::of(reboot);
        match end {
            End::PowerCut => {
                run.watch("write the log", |status| status.log == "live")?;
                cut_the_power(&mut run, true)?;
            }
            End::PowerCutAndChanged => cut_the_power(&mut run, false)?,
            End::InOrder | End::InOrderAndChanged => shut_down(&mut run)?,
        }
        let ended = set_aside(&run, reboot - 1, std::mem::take(&mut moments))?;
        match end {
            End::InOrder => restarts.caught_up += 1,
            End::PowerCut => restarts.after_crash += 1,
            End::InOrderAndChanged | End::PowerCutAndChanged => {
                change(&run, reboot)?;
                restarts.verified += 1;
            }
        }
        run.image.pristine = found(&run, reboot)?;
        moments.extend(come_back(&mut run, &restarts, end, &synced.session)?);
        ended.check(&mut run)?;
        if first.is_none() {
            first = Some(ended);
        } else {
            writes += ended.discard(&mut run)?;
        }
    }
    moments.push(run.live_on()?);
    let last = run.come_to_rest()?;
    run.shut_down()?;
    let ended = set_aside(&run, reboots, moments)?;

    run.restore_both()?;
    ended.check(&mut run)?;
    let all = ended.of(&mut run, |run, evidence| {
        let all = evidence.matched().writes().len();
        compare(run, evidence, "latest", all..=all).map(|_| all)
    })?;
    let summary = run.summary(first_sync, last);
    let first = first.ok_or_else(|| E2eError::Rule("RESUME: no restart".to_owned()))?;
    let summary = first.of(&mut run, |run, evidence| {
        let window = evidence.t0_window(&begun.beginning)?;
        let prefix = Some(compare(run, evidence, "t0", window)?);
        Ok(Summary { prefix, ..evidence.add_to(summary, &begun.beginning) })
    })?;
    let files = run.check_ntfs("latest")?;
    run.folder.discard_images()?;
    Ok(Summary { writes: summary.writes + writes + all, files, ..summary })
}

impl Uptime {
    /// Calls `act` with the evidence of this time.
    fn of<'a, R>(
        &self,
        run: &mut Run<'a>,
        act: impl FnOnce(&mut Run<'a>, &Evidence) -> Result<R, E2eError>,
    ) -> Result<R, E2eError> {
        let mut places = (self.found.clone(), self.journal.clone(), self.writes.clone());
        swap(run, &mut places);
        let result = run.evidence().and_then(|evidence| act(run, &evidence));
        swap(run, &mut places);
        result
    }

    /// Compares the volume at its points, mounted, with the truth.
    fn check(&self, run: &mut Run<'_>) -> Result<(), E2eError> {
        self.of(run, |run, evidence| {
            self.moments.iter().try_for_each(|moment| run.mount(moment, evidence))
        })
    }

    /// Removes its evidence; returns how many writes it had.
    fn discard(self, run: &mut Run<'_>) -> Result<usize, E2eError> {
        let writes = self.of(run, |_, evidence| Ok(evidence.matched().writes().len()))?;
        for file in [&self.found, &self.journal, &self.writes] {
            fs::remove_file(file).map_err(E2eError::file("remove", file))?;
        }
        Ok(writes)
    }
}

/// Exchanges the places of a run's evidence.
fn swap(run: &mut Run<'_>, (found, journal, writes): &mut (PathBuf, PathBuf, PathBuf)) {
    std::mem::swap(&mut run.image.pristine, found);
    std::mem::swap(&mut run.folder.journal, journal);
    std::mem::swap(&mut run.folder.writes, writes);
}

/// Waits until the server has all of the time so far, and then, as it does not answer any more,
/// lacks records.
fn lack_records(run: &mut Run<'_>) -> Result<(), E2eError> {
    let last = run.watch("look at the last record", |_| true)?.last_seq;
    run.watch("be acknowledged", |status| status.acknowledged_seq >= last)?;
    run.rig.server().program.signal(Signal::STOP)?;
    run.watch("capture what no server has", |status| {
        status.last_seq >= status.acknowledged_seq + LOST_MIN
    })?;
    Ok(())
}

/// The power is cut, maybe while the machine sleeps or hibernates: what the server lacks is lost.
fn cut_the_power(run: &mut Run<'_>, asleep: bool) -> Result<(), E2eError> {
    lack_records(run)?;
    let rig = &mut run.rig;
    step(run.console, "cut the machine's power", |_| {
        if asleep {
            rig.agent().fall_asleep()?;
            rig.written_to(OUTSIDE_MIN)?;
        }
        rig.stop_writer()?;
        let address = rig.server().address().to_owned();
        rig.server().program.kill();
        rig.power_off(false)?;
        rig.start_server(Some(&address)).map(|_| ())
    })
}

/// The machine shuts down: the service sends what was captured before it ends, the volume is
/// written to until the very end.
fn shut_down(run: &mut Run<'_>) -> Result<(), E2eError> {
    lack_records(run)?;
    let rig = &mut run.rig;
    step(run.console, "shut the machine down", |_| {
        rig.server().program.signal(Signal::CONT)?;
        rig.stop_service()?;
        rig.written_to(OUTSIDE_MIN)?;
        rig.stop_writer()?;
        rig.power_off(true)
    })
}

/// Keeps the evidence of the time that ended: the next one makes its own.
fn set_aside(run: &Run<'_>, number: usize, moments: Vec<Moment>) -> Result<Uptime, E2eError> {
    let aside = |file: &Path| {
        let kept = file.with_extension(number.to_string());
        fs::rename(file, &kept).map_err(E2eError::file("rename", file)).map(|()| kept)
    };
    let (journal, writes) = (aside(&run.folder.journal)?, aside(&run.folder.writes)?);
    Ok(Uptime { found: run.image.pristine.clone(), journal, writes, moments })
}

/// Changes the volume behind the driver's back, as a system does that mounts it.
fn change(run: &Run<'_>, reboot: usize) -> Result<(), E2eError> {
    let (volume, payload) = (&run.folder.volume, Payload::new(run.setting.seed));
    let file = File::options().read(true).write(true).open(volume);
    let mut file = file.map_err(E2eError::file("open", volume))?;
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
    let place = StatePlace::find(&mut file);
    let place = place.map_err(|error| E2eError::Damaged(volume.clone(), error.to_string()))?;
    // `$LogFile`, which nothing reads here.
    let log = place.stamp[1].offset();
    file.write_all_at(&reboot.to_le_bytes(), log).map_err(E2eError::file("write", volume))
}

/// A copy of what the machine will find.
fn found(run: &Run<'_>, reboot: usize) -> Result<PathBuf, E2eError> {
    let found = run.folder.root.join(format!("found-{reboot}.img"));
    fs::copy(&run.folder.volume, &found).map_err(E2eError::file("copy to", &found))?;
    Ok(found)
}

/// The session goes on under load, verified as far as it must be, and what the server has is left
/// out. Returns a point of the time without a service, if the driver began the session by itself.
fn come_back(
    run: &mut Run<'_>,
    restarts: &Restarts,
    end: End,
    session: &str,
) -> Result<Option<Moment>, E2eError> {
    let (rig, image, console) = (&mut run.rig, &run.image, &mut *run.console);
    step(console, "start the machine again", |_| {
        rig.power_on()?;
        rig.start_writer(image, RATE)?;
        rig.written_to(OUTSIDE_MIN)
    })?;
    let is_known = matches!(end, End::InOrder | End::PowerCut);
    let moment = if is_known { Some(without_service(run, session)?) } else { None };
    let rig = &mut run.rig;
    ensure!(is_known || rig.status()?.is_none(), Rule, "RESUME: a session of a changed volume");
    step(run.console, "start the service", |_| rig.start_service())?;
    let status = run.watch("verify", gap::recovered)?;
    ensure!(status.session == session, Rule, "RESUME: a new session: {}", status.session);
    for (event, count) in [
        (SESSION_VERIFIED, restarts.verified),
        (SESSION_CAUGHT_UP, restarts.caught_up),
        (SESSION_CAUGHT_UP_AFTER_CRASH, restarts.after_crash),
        (GAP_ENDED, restarts.verified + restarts.caught_up + restarts.after_crash),
    ] {
        run.rig.must_have_logged(event, count)?;
    }
    if is_known {
        let saved = status.saved.map_or(u64::MAX, |saved| saved.bytes);
        // The log has what was written in the last minute or two as well.
        let most = if end == End::InOrder { run.image.len / 2 } else { run.image.len - 1 };
        ensure!((1..=most).contains(&saved), Rule, "RESUME: {saved} bytes were read, not {most}");
        let after_crash = status.saved.is_some_and(|saved| saved.after_crash);
        ensure!(after_crash == (end == End::PowerCut), Rule, "RESUME: {:?}", status.saved);
        step(run.console, &format!("{saved} of {} bytes were read", run.image.len), |_| Ok(()))?;
        return Ok(moment);
    }
    // The service reports once a second.
    run.watch("the service's report of unchanged blocks", |status| {
        status.service.as_ref().is_some_and(|service| service.bytes_unchanged > 0)
    })?;
    Ok(None)
}

/// The driver has begun the session by itself, and reads what the server may lack; returns an
/// instant after that.
fn without_service(run: &mut Run<'_>, session: &str) -> Result<Moment, E2eError> {
    let status = run.watch("read before any service is there", |status| {
        status.phase == "detached"
            && status.blocks_synced == status.blocks_total
            && status.blocks_dirty == 0
    })?;
    ensure!(status.session == session, Rule, "RESUME: a new session: {}", status.session);
    ensure!(status.t0_filetime.is_some(), Rule, "RESUME: it has not begun");
    run.live_on()
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
