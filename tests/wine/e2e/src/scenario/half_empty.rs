//! What no file of an NTFS volume has is neither read nor sent, rule T0 (rules.md#t0): of a volume
//! that is half empty, the first sync reads half. All that files have is in the replica as it is on
//! the volume; in free space, which has the content of deleted files, there are zeros.
//!
//! While the service waits for the volume's flush, after it has asked which clusters are free and
//! before it starts the session, a free cluster gets content: its block counts as used. Another one
//! gets content after t0: that is replicated without the rest of its block.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use protocol::ioctl::{self, ClusterMap};
use snapless_writer::extent::Extent;

use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::image::Image;
use crate::ntfs;
use crate::process::wait_until;
use crate::rig::Rig;
use crate::scenario::Setting;
use crate::scenario::run::{Run, wait_for_in_flight};
use crate::service::ServiceSettings;
use crate::status::Status;
use crate::summary::Summary;
use crate::verdict::as_len;

const SERVICE: ServiceSettings = ServiceSettings::holding(64);
const VOLUME_JITTER_US: u32 = 1_000;
const ASK_LIMIT: Duration = Duration::from_mins(1);
/// Bytes of a block.
const BLOCK: u64 = 64 << 10;
/// Bytes of a write: a part of a block.
const LEN: u64 = 8192;
/// What is written after t0.
const LATE: u8 = 0x5a;
/// In hundredths of the volume: what the first sync reads at most.
const READ_MOST: u64 = 55;

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let jitter = VOLUME_JITTER_US;
    let mut run = Run::prepare_on(setting, &SERVICE, jitter, Image::make_half_empty, console)?;
    let unused = unused_blocks(&run.image)?;
    let [noted, late] = written(&unused)?;
    let mut rest = unused.clone();
    let (late, noted) = (unused[late].clone(), rest.remove(noted));
    let map = cluster_map(&run.image)?;
    step(run.console, "have the volume say which clusters are free", |_| {
        run.rig.agent().command(ioctl::SET_CLUSTER_MAP, &map)
    })?;
    let begun = run.begin_by(false, |rig| protect(rig, noted.start + LEN))?;
    let at_t0 = begun.beginning.entries_before + 1;
    run.watch("first sync", |status| status.phase == "live")?;
    let first_sync = begun.seen.elapsed();
    step(run.console, "write to free space", |_| {
        let write = format!("write {} {LEN} {LATE}", late.start + LEN);
        run.rig.agent().request(&write)?.must_be_done("the write")
    })?;
    let last = run.settle()?;
    run.shut_down()?;
    run.restore_both()?;
    run.dont_care = rest;
    let (writes, bytes_written) = run.compare_unloaded(Some(at_t0..=at_t0), None)?;
    look_at_the_replica(&run, &unused, &noted, &late)?;
    let files = run.check_ntfs("t0")?;
    run.check_ntfs("latest")?;
    check_counts(&last, unused.len() as u64 - 1)?;
    run.folder.discard_images()?;
    let summary = run.summary(first_sync, last);
    Ok(Summary { writes, bytes_written, files, prefix: Some(as_len(at_t0)), ..summary })
}

/// The blocks that no file has.
fn unused_blocks(image: &Image) -> Result<Vec<Range<u64>>, E2eError> {
    let free = ntfs::free_extents(&image.pristine, BLOCK)?;
    let blocks = |extent: &Extent| {
        let first = extent.offset().div_ceil(BLOCK);
        first..extent.end() / BLOCK
    };
    let bytes = |block| block * BLOCK..(block + 1) * BLOCK;
    Ok(free.iter().flat_map(blocks).map(bytes).collect())
}

/// The places of two of them that are written to.
fn written(unused: &[Range<u64>]) -> Result<[usize; 2], E2eError> {
    let third = unused.len() / 3;
    ensure!(third > 0, NotExercised, "{} blocks are unused", unused.len());
    Ok([third, 2 * third])
}

fn cluster_map(image: &Image) -> Result<ClusterMap, E2eError> {
    let (extents, clusters) = ntfs::cluster_map(&image.pristine)?;
    ensure!(extents.len() == 1, NotExercised, "$Bitmap is in {} pieces", extents.len());
    Ok(ClusterMap { offset: extents[0].offset(), clusters })
}

/// Starts the service, and writes to free space once it has asked for it: until the volume has
/// flushed, no session begins.
fn protect(rig: &mut Rig, place: u64) -> Result<(), E2eError> {
    rig.agent().pause()?;
    rig.start_service()?;
    wait_until("the service to ask which clusters are free", ASK_LIMIT, || {
        let told: u64 = rig.agent().query(ioctl::CLUSTERS_TOLD, &())?;
        Ok((told > 0).then_some(()))
    })?;
    rig.agent().ask(&format!("begin-write {place} {LEN} 119"))?;
    wait_for_in_flight(rig, 1)?;
    let status = rig.status()?;
    rig.agent().resume()?;
    let ended = rig.agent().request("end-write")?;
    ensure!(status.is_none(), NotExercised, "a session before the flush: {status:?}");
    ended.must_be_done("the write")
}

/// In unused blocks the replica has zeros, but for what was written later; the block that was
/// written to before t0 is there as a whole.
fn look_at_the_replica(
    run: &Run<'_>,
    unused: &[Range<u64>],
    noted: &Range<u64>,
    late: &Range<u64>,
) -> Result<(), E2eError> {
    for at in ["t0", "latest"] {
        let path = run.folder.restored(at);
        let image = File::open(&path).map_err(E2eError::file("open", &path))?;
        let mut bytes = vec![0; as_len(BLOCK)];
        for block in unused {
            image.read_exact_at(&mut bytes, block.start).map_err(E2eError::file("read", &path))?;
            let written = as_len(LEN)..as_len(2 * LEN);
            let is_late = at == "latest" && block == late;
            if is_late {
                let is_there = bytes[written.clone()].iter().all(|byte| *byte == LATE);
                ensure!(is_there, Rule, "LOSS: a write to free space is not in the replica");
                bytes[written].fill(0);
            }
            let is_zero = bytes.iter().all(|byte| *byte == 0);
            ensure!(
                is_zero != (block == noted),
                Rule,
                "T0: of the unused blocks, {block:?} of the {at} image is zeros: {is_zero}"
            );
        }
    }
    Ok(())
}

fn check_counts(last: &Status, unused: u64) -> Result<(), E2eError> {
    let read = last.blocks_by_sweep + last.blocks_by_hold;
    ensure!(
        last.blocks_unallocated == unused && last.gaps == 0,
        Rule,
        "T0: {} blocks are unused, and not {unused}; {} gaps",
        last.blocks_unallocated,
        last.gaps
    );
    ensure!(
        read + unused == last.blocks_total && 100 * read <= READ_MOST * last.blocks_total,
        Rule,
        "T0: of {} blocks {read} were read, and {unused} are unused",
        last.blocks_total
    );
    Ok(())
}
