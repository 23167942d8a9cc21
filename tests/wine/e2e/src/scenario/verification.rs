//! A volume in use is verified: under load, no block of the copy differs. Then a block of the disk
//! changes behind the driver's back: the next verification names that block and no other, the
//! service reports it, and the server's list shows it. The copy is repaired under load, and
//! verified once more.
//!
//! The block that changes is one that the writer leaves alone: whatever differs otherwise is an
//! error of a read under writes, or of the comparison.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::image::Image;
use crate::process::wait_until;
use crate::scenario::run::Run;
use crate::scenario::{Setting, gap};
use crate::server;
use crate::service::ServiceSettings;
use crate::summary::Summary;

/// A slow machine must not cause a gap here.
const SERVICE: ServiceSettings = ServiceSettings::holding(128);
/// A fast volume.
const VOLUME_JITTER_US: u32 = 3000;
/// Bytes that are compared by one hash.
const TILE: u64 = 64 << 10;
/// Bytes that change behind the driver's back.
const CHANGE_LEN: u64 = 512;
/// How long the service may take to log an event.
const EVENT_LIMIT: Duration = Duration::from_secs(20);
/// Event of the service (`docs/events.md`).
const COPY_DIFFERS: u16 = 222;
/// What the command line's exit code says of a copy that differs.
const DIFFERS: &str = "exit status: 6";

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let mut run = Run::prepare(setting, &SERVICE, VOLUME_JITTER_US, console)?;
    run.load()?;
    let begun = run.begin(true)?;
    run.watch("first sync", |status| status.phase == "live")?;
    let first_sync = begun.seen.elapsed();
    let moment = run.live_on()?;

    let before = run.rig.agent().counters()?.applied;
    run.step_and_say("verify the copy under load", |rig| rig.verify_copy())?;
    let written = run.rig.agent().counters()?.applied - before;
    ensure!(written > 0, NotExercised, "writes while the copy is verified");
    let status = run.watch("the driver's count of it", |status| status.verify_passes == 1)?;
    let passed = status.verify_read + status.verify_passed_over + status.verify_excluded;
    ensure!(passed == run.image.len, Rule, "{passed} of {} bytes were passed", run.image.len);
    ensure!(status.verify_read > passed / 2, NotExercised, "{} bytes read", status.verify_read);
    ensure!(status.gaps == 0, Rule, "LOSS: a verification made a gap");

    let tile = quiet_tile(&run.image)?;
    change(&run, tile.start)?;
    find(&mut run, &tile)?;
    run.disturbed = true;
    run.dont_care.push(tile.start..tile.start + CHANGE_LEN);
    repair(&mut run)?;
    run.step_and_say("verify the copy once more", |rig| rig.verify_copy())?;

    let last = run.come_to_rest()?;
    run.shut_down()?;
    run.restore_both()?;
    let evidence = run.evidence()?;
    let prefix = run.compare_loaded(&begun, &evidence, true)?;
    let files = run.check_ntfs("t0")?;
    run.mount(&moment, &evidence)?;
    run.folder.discard_images()?;
    let summary = run.summary(first_sync, last);
    Ok(Summary { prefix, files, ..evidence.add_to(summary, &begun.beginning) })
}

/// A tile with content that the writer leaves alone.
fn quiet_tile(image: &Image) -> Result<Range<u64>, E2eError> {
    let path = &image.pristine;
    let file = File::open(path).map_err(E2eError::file("open", path))?;
    let is_quiet = |tile: &Range<u64>| {
        let regions = image.regions.extents();
        regions.iter().all(|it| it.offset() + it.len() <= tile.start || it.offset() >= tile.end)
    };
    // The boot sector is in the first one.
    let tiles = (1..image.len / TILE).map(|number| number * TILE..(number + 1) * TILE);
    for tile in tiles.filter(is_quiet) {
        let mut content = vec![0; usize::try_from(TILE).unwrap_or_default()];
        file.read_exact_at(&mut content, tile.start).map_err(E2eError::file("read", path))?;
        if content.chunks(512).all(|sector| sector.iter().any(|&byte| byte != 0)) {
            return Ok(tile);
        }
    }
    Err(E2eError::NotExercised("a block with content that is never written to".into()))
}

/// Changes a sector of the disk behind the driver's back.
fn change(run: &Run<'_>, offset: u64) -> Result<(), E2eError> {
    let volume = &run.folder.volume;
    let file = File::options().read(true).write(true).open(volume);
    let file = file.map_err(E2eError::file("open", volume))?;
    let mut sector = vec![0; usize::try_from(CHANGE_LEN).unwrap_or_default()];
    file.read_exact_at(&mut sector, offset).map_err(E2eError::file("read", volume))?;
    for byte in &mut sector {
        *byte = !*byte;
    }
    file.write_all_at(&sector, offset).map_err(E2eError::file("write", volume))
}

/// Verifies a copy that differs in this tile.
fn find(run: &mut Run<'_>, tile: &Range<u64>) -> Result<(), E2eError> {
    let (rig, console) = (&mut run.rig, &mut *run.console);
    step(console, "find a block that changed behind the driver", |_| {
        let said = match rig.verify_copy() {
            Err(E2eError::Exit { status, tail, .. }) if status.contains(DIFFERS) => tail,
            Err(other) => return Err(other),
            Ok(said) => return Err(E2eError::Rule(format!("nothing differs: {said}"))),
        };
        let want = format!("{TILE} bytes at {} differ", tile.start);
        let lines: Vec<_> = said.lines().filter(|line| line.contains("bytes at")).collect();
        let is_named = lines.len() == 1 && lines[0].contains(&want);
        ensure!(is_named, Rule, "want {want:?}, found {said:?}");
        wait_until("the service to say so", EVENT_LIMIT, || {
            Ok((rig.times_logged(COPY_DIFFERS)? == 1).then_some(()))
        })
    })?;
    let (server, folder) = (&run.setting.programs.server, &run.folder);
    let listed = server::list(server, folder)?;
    ensure!(listed.contains("1 block(s) differ"), Rule, "the list: {listed}");
    Ok(())
}

/// Has what differs read again and sent: nothing else is.
fn repair(run: &mut Run<'_>) -> Result<(), E2eError> {
    let (rig, console) = (&mut run.rig, &mut *run.console);
    step(console, "repair the copy", |_| {
        let said = rig.repair_copy()?;
        let want = format!("{}.0 KiB were read again", TILE >> 10);
        ensure!(said.contains(&want), Rule, "want {want:?}, found {said:?}");
        Ok(())
    })?;
    run.watch("the end of the repair", gap::recovered).map(|_| ())
}
