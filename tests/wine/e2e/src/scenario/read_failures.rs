//! The main job on a disk whose reads fail. Failures that pass, in the first seconds, cost time and
//! nothing else. Sectors that the medium lost become holes of exactly those sectors, in the t0
//! image and, until they are written, in the latest one; both name them.
//!
//! With odd seeds the disk gives up on a lost sector at once. With even seeds it tries for so long
//! that a write over the block would wait longer than `hold_limit`: the write goes, and t0 is
//! lost, not wrong.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use protocol::ioctl::{self, FailedReads, LostSectors};
use snapless_writer::extent::{Extent, SECTOR};
use snapless_writer::log::Logged;

use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::image::Image;
use crate::process::pause;
use crate::run_folder::{RunFolder, read_if_there};
use crate::scenario::run::{Run, in_first_sync};
use crate::scenario::{Setting, gap, protect};
use crate::service::ServiceSettings;
use crate::summary::Summary;
use crate::traces::gap_reason;
use crate::writes::Matched;

const HOLD_LIMIT_MS: u32 = 1000;
/// How much longer than `hold_limit` a write over a lost sector may take, on a machine under load.
const SLACK_MS: u32 = 2000;
/// Slow enough that the first sync outlasts the failures that pass.
const VOLUME_JITTER_US: u32 = 10_000;
/// How many reads fail, and for how long.
const PASSING_PERCENT: u32 = 30;
const PASSING_TIME: Duration = Duration::from_secs(2);

/// The lost sectors: how many places, sectors in each, how long the disk tries to read one.
struct Medium {
    places: u64,
    sectors: u64,
    delay_ms: u32,
}

const GIVES_UP: Medium = Medium { places: 12, sectors: 2, delay_ms: 0 };
/// All sectors of a place take four times what a write may wait.
const TRIES: Medium = Medium { places: 3, sectors: 16, delay_ms: 250 };

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let tries_long = setting.seed.is_multiple_of(2);
    // A write that waits for no lost sector may wait for failures that pass.
    let hold_limit_ms = if tries_long { HOLD_LIMIT_MS } else { 10 * HOLD_LIMIT_MS };
    let service = ServiceSettings { hold_limit_ms, ..ServiceSettings::holding(128) };
    let mut run = Run::prepare(setting, &service, VOLUME_JITTER_US, console)?;
    let lost = lose_sectors(&mut run, if tries_long { &TRIES } else { &GIVES_UP })?;
    run.rig.agent().command(ioctl::FAIL_READS, &PASSING_PERCENT)?;
    run.load()?;
    let begun = run.begin(true)?;
    // Of these, only a lost sector that takes long may make a gap.
    run.disturbed = tries_long;
    let session = endure(&mut run)?;
    if tries_long {
        wait_for_gap(&mut run)?;
        let reasons = &[gap_reason::READ_FAILED];
        gap::conclude(run, &begun, &session, reasons, |folder, matched, prefix| {
            looks_right(&lost, hold_limit_ms, folder, matched, prefix)
        })
    } else {
        let summary = protect::conclude_with(run, &begun, |folder, matched, prefix| {
            looks_right(&lost, hold_limit_ms, folder, matched, prefix)
        })?;
        let counted = summary.last.blocks_unreadable > 0;
        ensure!(counted, Rule, "the status counts no block that was read with a hole");
        Ok(summary)
    }
}

/// Lets the medium lose sectors with content; the image that is compared has zeros there.
fn lose_sectors(run: &mut Run<'_>, medium: &Medium) -> Result<Vec<Extent>, E2eError> {
    let Run { rig, image, console, .. } = run;
    step(*console, "let the medium lose sectors", |_| {
        let lost = choose(image, medium)?;
        let pristine = std::fs::File::options().write(true).open(&image.pristine);
        let pristine = pristine.map_err(E2eError::file("open", &image.pristine))?;
        for extent in &lost {
            let length = u32::try_from(extent.len()).expect("a few sectors");
            let sectors =
                LostSectors { offset: extent.offset(), length, delay_ms: medium.delay_ms };
            rig.agent().command(ioctl::LOSE_SECTORS, &sectors)?;
            let cleared = pristine.write_all_at(&vec![0; extent.size()], extent.offset());
            cleared.map_err(E2eError::file("write", &image.pristine))?;
        }
        Ok(lost)
    })
}

/// Places all over the writer's regions whose every sector has content.
fn choose(image: &Image, medium: &Medium) -> Result<Vec<Extent>, E2eError> {
    const STEP: u64 = 64 << 10;
    let pristine = std::fs::File::open(&image.pristine);
    let pristine = pristine.map_err(E2eError::file("open", &image.pristine))?;
    let (total, length) = (image.regions.total(), medium.sectors * SECTOR);
    let mut lost: Vec<Extent> = Vec::new();
    for place in 0..medium.places {
        let mut position = total * (2 * place + 1) / (2 * medium.places);
        let end = total * (2 * place + 2) / (2 * medium.places);
        while position < end {
            let extent = image.regions.at(position, length);
            let mut bytes = vec![0; extent.size()];
            let read = pristine.read_exact_at(&mut bytes, extent.offset());
            read.map_err(E2eError::file("read", &image.pristine))?;
            let full = bytes.chunks(512).all(|sector| sector.iter().any(|&byte| byte != 0));
            if full && extent.len() == length {
                lost.push(extent);
                break;
            }
            position += STEP;
        }
    }
    ensure!(!lost.is_empty(), NotExercised, "lost sectors: the image has no content for them");
    Ok(lost)
}

/// Reads fail for reasons that pass, for a while; returns the session.
fn endure(run: &mut Run<'_>) -> Result<String, E2eError> {
    let rig = &mut run.rig;
    step(run.console, "let reads fail for reasons that pass", |_| {
        pause(PASSING_TIME)?;
        rig.must_run()?;
        let during = in_first_sync(rig)?;
        rig.agent().command(ioctl::FAIL_READS, &0_u32)?;
        let failed: FailedReads = rig.agent().query(ioctl::FAILED_READS, &())?;
        let met = failed.passing > 0;
        ensure!(met, NotExercised, "reads that fail for a reason that passes: {failed:?}");
        Ok(during.session)
    })
}

/// The images name the sectors that were lost and not written up to their point, and no others; no
/// write over one waited for it.
fn looks_right(
    lost: &[Extent],
    hold_limit_ms: u32,
    folder: &RunFolder,
    matched: &Matched,
    prefix: Option<usize>,
) -> Result<(), E2eError> {
    let writes = matched.writes();
    let mut kept = Vec::new();
    for (at, count) in [("t0", prefix), ("latest", Some(writes.len()))] {
        let Some(count) = count else { continue };
        let is_mended = |&sector: &u64| {
            writes[..count].iter().any(|write| write.extent.sectors().contains(&sector))
        };
        let want: Vec<u64> =
            lost.iter().flat_map(|extent| extent.sectors()).filter(|s| !is_mended(s)).collect();
        let named = named(folder, at)?;
        ensure!(named == want, Rule, "the {at} image names as unreadable {named:?}, not {want:?}");
        kept.push(want.len());
    }
    let all: u64 = lost.iter().map(|extent| extent.len() / SECTOR).sum();
    let mended = kept.last().is_some_and(|&kept| (kept as u64) < all);
    ensure!(mended, NotExercised, "a write over a lost sector");
    // Of a few places, later writes may have mended all.
    ensure!(prefix.is_none() || kept[0] > 0, NotExercised, "a hole in the t0 image");
    let is_near = |write: &Logged| lost.iter().any(|lost| lost.overlaps(write.extent));
    for write in writes.iter().filter(|write| is_near(write)) {
        let took_ms = write.completed.0.saturating_sub(write.submitted.0) / 10_000;
        let in_time = took_ms < u64::from(hold_limit_ms + SLACK_MS);
        ensure!(in_time, Rule, "HANG: write {} over a lost sector took {took_ms} ms", write.id);
    }
    Ok(())
}

/// A write waits for a lost sector until it may not any more.
fn wait_for_gap(run: &mut Run<'_>) -> Result<(), E2eError> {
    let status = run.watch("wait for a write over a lost sector to go", |status| {
        status.gaps > 0 || status.phase == "live"
    })?;
    ensure!(status.gaps > 0, NotExercised, "a write that waits for a lost sector: none did");
    Ok(())
}

/// The sectors that a restore reports as unreadable.
fn named(folder: &RunFolder, at: &str) -> Result<Vec<u64>, E2eError> {
    let log = read_if_there(&folder.logs.join(format!("restore-{at}.log")))?;
    let mut sectors = Vec::new();
    for line in log.lines().filter_map(|line| line.trim().strip_prefix("unreadable: ")) {
        let words: Vec<&str> = line.split([' ', ':']).collect();
        let extent = match words.as_slice() {
            [len, "bytes", "at", offset, ..] => len.parse().ok().zip(offset.parse().ok()),
            _ => None,
        };
        let extent = extent.and_then(|(len, offset)| Extent::new(offset, len));
        let extent = extent.ok_or_else(|| E2eError::said("snapless-server restore", line, ""))?;
        sectors.extend(extent.sectors());
    }
    Ok(sectors)
}
