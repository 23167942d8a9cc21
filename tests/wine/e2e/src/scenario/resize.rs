//! A volume shrinks and grows: its session goes on with each length, the points from before keep
//! theirs, and the images are what the volume was.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::ioctl::{self, AllocationFailure};
use snapless_writer::log::Instant100;

use crate::agent::Outcome;
use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::process::wait_until;
use crate::rig::Rig;
use crate::scenario::Setting;
use crate::scenario::run::Run;
use crate::server;
use crate::service::ServiceSettings;
use crate::status::Status;
use crate::summary::Summary;
use crate::truth::Truth;
use crate::{journal::Journal, verdict};

const SERVICE: ServiceSettings = ServiceSettings::holding(64);
const VOLUME_JITTER_US: u32 = 1000;
const NOTICE_LIMIT: Duration = Duration::from_secs(30);
/// How long the new length may take to be followed.
const FOLLOW_LIMIT: Duration = Duration::from_mins(2);
/// How long a query for the length may take on a volume that answers.
const QUERY_TIME: Duration = Duration::from_secs(1);
/// How long nothing is written about an instant that is restored: the server is told once a second
/// that nothing newer was captured.
const QUIET: Duration = Duration::from_secs(3);
/// The test volume's lengths are whole pages.
const PAGE: u64 = 4096;

/// Events of the service (`docs/events.md`).
const SESSION_STARTED: u16 = 200;
const SESSION_VERIFIED: u16 = 205;
const OUTGROWN: u16 = 240;
const SHRUNK: u16 = 241;

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let mut run = Run::prepare(setting, &SERVICE, VOLUME_JITTER_US, console)?;
    let begun = run.begin(false)?;
    run.watch("first sync", |status| status.phase == "live")?;
    let first_sync = begun.seen.elapsed();
    let session = run.settle()?.session;
    // Each change of the length is a gap.
    run.disturbed = true;

    let len = run.image.len;
    let shorter = (len - (1 << 20)) / PAGE * PAGE - 5 * PAGE;
    shrink(&mut run, shorter)?;
    let (at, shrunk) = follow(&mut run, shorter, "volume-shrunk.img")?;
    // The volume is a few sectors longer than whole pages.
    let longer = (len + (1 << 20)) / PAGE * PAGE + 3 * PAGE;
    grow(&mut run, longer)?;
    let (_, grown) = follow(&mut run, longer, "volume-grown.img")?;
    let last = run.settle()?;
    ensure!(last.session == session, Rule, "RESUME: another session: {}", last.session);
    run.shut_down()?;
    run.rig.service_logged(&[SESSION_STARTED, SESSION_VERIFIED, OUTGROWN, SHRUNK])?;
    let begun_anew = run.rig.times_logged(SESSION_STARTED)?;
    ensure!(begun_anew == 1, Rule, "RESUME: {begun_anew} sessions have begun");

    run.verify_repository()?;
    run.restore("t0")?;
    t0_is_exact(&mut run, begun.beginning.entries_before)?;
    run.restore("latest")?;
    let (programs, folder) = (&setting.programs, &run.folder);
    step(run.console, "mount the volume as it was while it was shorter", |_| {
        server::copy_mounted(&programs.server, folder, at)
    })?;
    let area = run.image.state_area.clone();
    for (image, truth, length) in [("mounted", shrunk, shorter), ("latest", grown, longer)] {
        let restored = run.folder.restored(image);
        step(run.console, &format!("compare the {image} image with the volume"), |_| {
            is_same(&restored, &truth, length, &area)
        })?;
    }
    let files = run.check_ntfs("t0")?;
    run.folder.discard_images()?;
    let prefix = Some(verdict::as_len(begun.beginning.entries_before));
    Ok(Summary { prefix, files, ..run.summary(first_sync, last) })
}

/// The volume becomes shorter, and a program asks for its length, as file systems do.
fn shrink(run: &mut Run<'_>, length: u64) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    step(run.console, "shrink the volume", |_| {
        rig.agent().command(ioctl::RESIZE, &length)?;
        let told = rig.agent().request("length")?;
        ensure!(told == Outcome::Length(length), Rule, "CLEAR: the volume's length is {told:?}");
        Ok(())
    })
}

/// The volume grows while no service runs, and a write behind its old end is the first that the
/// driver sees of it. It notices even without memory: the query for the length takes none.
fn grow(run: &mut Run<'_>, length: u64) -> Result<(), E2eError> {
    let (rig, old_end) = (&mut run.rig, run.image.len / PAGE * PAGE);
    step(run.console, "grow the volume", |_| {
        rig.stop_service()?;
        rig.agent().command(ioctl::RESIZE, &length)?;
        rig.unwatched(|rig| {
            rig.agent().fail_allocations(AllocationFailure::KERNEL)?;
            let ended = rig.agent().request(&format!("write {old_end} 4096 17"))?;
            std::thread::sleep(QUERY_TIME);
            let failed = rig.agent().memory()?.failed;
            rig.agent().fail_allocations(0)?;
            ensure!(failed == 0, Rule, "BOUND: {failed} allocations for the volume's length");
            ended.must_be_done("the write")
        })?;
        wait_until("the session to notice that its volume has grown", NOTICE_LIMIT, || {
            Ok(rig.status()?.filter(|status| status.outgrown).map(|_| ()))
        })?;
        rig.start_service()
    })
}

/// Waits until the session goes on with a length, and writes near the volume's end. Returns an
/// instant behind that, and a copy of the volume as it is then.
fn follow(run: &mut Run<'_>, length: u64, name: &str) -> Result<(Instant100, PathBuf), E2eError> {
    let is_followed = |status: &Status| {
        let blocks = length.div_ceil(status.block_size.max(1));
        status.phase == "live" && status.blocks_total == blocks && !status.outgrown
    };
    let rig = &mut run.rig;
    step(run.console, "wait for the session to go on with the new length", |_| {
        wait_until("the new length to be followed", FOLLOW_LIMIT, || {
            rig.must_run()?;
            Ok(rig.status()?.filter(is_followed).map(|_| ()))
        })?;
        for (offset, fill) in [(length - 512, 51), (length - 9 * PAGE, 52), (2 << 20, 53)] {
            write(rig, offset, fill)?;
        }
        Ok(())
    })?;
    run.settle()?;
    std::thread::sleep(QUIET);
    let at = Instant100::now();
    std::thread::sleep(QUIET);
    let (volume, copy) = (&run.folder.volume, run.folder.root.join(name));
    fs::copy(volume, &copy).map_err(E2eError::file("copy", volume))?;
    Ok((at, copy))
}

fn write(rig: &mut Rig, offset: u64, fill: u8) -> Result<(), E2eError> {
    rig.agent().request(&format!("write {offset} 512 {fill}"))?.must_be_done("a write")
}

/// The t0 image is the volume before the first write that came after it.
fn t0_is_exact(run: &mut Run<'_>, entries: u64) -> Result<(), E2eError> {
    let (folder, image) = (&run.folder, &run.image);
    step(run.console, "compare the t0 image with the truth", |_| {
        let journal = Journal::open(&folder.journal)?;
        let truth = Truth::new(&journal, &image.pristine, &folder.model)?;
        let mut truth = truth.without(image.state_area.clone());
        let entries = verdict::as_len(entries);
        let found = truth.matching_prefixes(&folder.restored("t0"), entries..=entries)?;
        found.map(|_| ()).map_err(|difference| E2eError::Different("t0", difference))
    })
}

/// Checks that an image has this length, and the volume's bytes but for the driver's own.
fn is_same(
    image: &Path,
    volume: &Path,
    length: u64,
    without: &std::ops::Range<u64>,
) -> Result<(), E2eError> {
    let read = |path: &Path| fs::read(path).map_err(E2eError::file("read", path));
    let (found, volume) = (read(image)?, read(volume)?);
    let is_long = found.len() as u64;
    ensure!(is_long == length, Rule, "RESUME: the image has {is_long} bytes, not {length}");
    let differs = found
        .chunks(512)
        .zip(volume.chunks(512))
        .zip(0_u64..)
        .find(|((a, b), sector)| a != b && !without.contains(&(sector * 512)));
    let differs = differs.map(|(_, sector)| sector);
    ensure!(differs.is_none(), Rule, "LOSS: sector {differs:?} of the image differs");
    fs::remove_file(image).map_err(E2eError::file("remove", image))
}
