//! The machine sleeps under load: its driver goes on with all that it has, and its disk is as it
//! was: no gap. Then it sleeps again, and another system mounts the volume: the session goes on
//! with a verification. t0, a point before the sleep and the latest image must be right.
//!
//! Between the notices of sleep the rig's machine runs on, as a real one does shortly before it
//! stops and shortly after it goes on: writes come, and no record may leave.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use snapless_driver_client::state_place::StatePlace;

use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::rig::Rig;
use crate::scenario::run::Run;
use crate::scenario::{Setting, gap};
use crate::service::ServiceSettings;
use crate::summary::Summary;

/// The queue has room for what is captured while the machine falls asleep.
const SERVICE: ServiceSettings = ServiceSettings::holding(256);
/// A fast volume.
const VOLUME_JITTER_US: u32 = 3000;
/// Writes between the notices, at least.
const WRITES_MIN: u64 = 50;
/// How often the machine sleeps without a change.
const SLEEPS: usize = 3;
/// Bytes that another system changes.
const CHANGE_LEN: u64 = 512;
/// Events of the service (`docs/events.md`).
const SESSION_VERIFIED: u16 = 205;
const GAP_BEGAN: u16 = 220;
const GAP_ENDED: u16 = 221;

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let mut run = Run::prepare(setting, &SERVICE, VOLUME_JITTER_US, console)?;
    run.load()?;
    let begun = run.begin(true)?;
    run.watch("first sync", |status| status.phase == "live")?;
    let first_sync = begun.seen.elapsed();
    run.watch("write the log", |status| status.log == "live")?;
    let moment = run.live_on()?;
    for _ in 0..SLEEPS {
        sleep(&mut run, |_| Ok(()))?;
        let last = run.watch("look at the last record", |_| true)?.last_seq;
        let status = run.watch("go on", |status| status.acknowledged_seq >= last)?;
        ensure!(status.gaps == 0, Rule, "RESUME: a sleep made {} gaps", status.gaps);
        ensure!(status.log == "live", Rule, "RESUME: the log is {} after a sleep", status.log);
    }

    run.disturbed = true;
    let before = run.watch("look at the session", |_| true)?;
    let volume = run.folder.volume.clone();
    let mut changed = 0..0;
    sleep(&mut run, |_| {
        changed = change(&volume)?;
        Ok(())
    })?;
    run.dont_care.push(changed.clone());
    let status = run.watch("verify", gap::recovered)?;
    ensure!(status.session == before.session, Rule, "RESUME: a new session: {}", status.session);
    for event in [SESSION_VERIFIED, GAP_BEGAN, GAP_ENDED] {
        run.rig.must_have_logged(event, 1)?;
    }
    run.watch("write the log again", |status| status.log == "live")?;

    let last = run.come_to_rest()?;
    run.shut_down()?;
    run.restore_both()?;
    let evidence = run.evidence()?;
    let prefix = run.compare_loaded(&begun, &evidence, true)?;
    let now = bytes(&volume, &changed)?;
    ensure!(
        bytes(&run.folder.restored("latest"), &changed)? == now,
        Rule,
        "RESUME: what was written while the machine slept is not in the latest image"
    );
    ensure!(
        bytes(&run.folder.restored("t0"), &changed)? == bytes(&run.image.pristine, &changed)?,
        Rule,
        "T0: what was written while the machine slept is in the image at t0"
    );
    let files = run.check_ntfs("t0")?;
    run.mount(&moment, &evidence)?;
    run.folder.discard_images()?;
    let summary = run.summary(first_sync, last);
    Ok(Summary { prefix, files, ..evidence.add_to(summary, &begun.beginning) })
}

/// The machine falls asleep and wakes up, under load.
fn sleep(
    run: &mut Run<'_>,
    meanwhile: impl FnOnce(&mut Rig) -> Result<(), E2eError>,
) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    step(run.console, "put the machine to sleep, and wake it", |_| {
        rig.agent().fall_asleep()?;
        rig.written_to(WRITES_MIN)?;
        let asleep = rig.status()?.map(|status| (status.last_seq, status.acknowledged_seq));
        meanwhile(rig)?;
        rig.written_to(WRITES_MIN)?;
        let later = rig.status()?.map(|status| (status.last_seq, status.acknowledged_seq));
        let (Some((from, _)), Some((to, acknowledged))) = (asleep, later) else {
            return Err(E2eError::NotExercised("a session while the machine sleeps".into()));
        };
        ensure!(to > from, NotExercised, "captured writes while the machine sleeps");
        ensure!(acknowledged < to, Rule, "RESUME: record {acknowledged} has left meanwhile");
        rig.agent().wake_up()
    })
}

/// Changes the volume behind the driver's back, as a system does that mounts it: a part of
/// `$LogFile`, which nothing reads here.
fn change(volume: &Path) -> Result<Range<u64>, E2eError> {
    let file = File::options().read(true).write(true).open(volume);
    let mut file = file.map_err(E2eError::file("open", volume))?;
    let place = StatePlace::find(&mut file);
    let place = place.map_err(|error| E2eError::Damaged(volume.into(), error.to_string()))?;
    let at = place.stamp[1].offset();
    let changed = vec![0x5a; usize::try_from(CHANGE_LEN).unwrap_or_default()];
    file.write_all_at(&changed, at).map_err(E2eError::file("write", volume))?;
    Ok(at..at + CHANGE_LEN)
}

fn bytes(image: &Path, range: &Range<u64>) -> Result<Vec<u8>, E2eError> {
    let file = File::open(image).map_err(E2eError::file("open", image))?;
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or_default()];
    file.read_exact_at(&mut bytes, range.start).map_err(E2eError::file("read", image))?;
    Ok(bytes)
}
