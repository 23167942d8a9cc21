//! A write to a paging file is never held, rule HANG (rules.md#hang): the memory manager could wait
//! for it without end. What the file has where it is at t0 is a don't-care: such a write goes past
//! the session, costs neither t0 nor a gap, and the replica has zeros there. With every other pair
//! of seeds another one goes to where the file was not at t0: that costs t0, and its blocks are
//! read again.
//!
//! A write to a mapped file, which is paging I/O too, is held like any other, and a file that gets
//! the paging file's clusters later is replicated like any other.
//!
//! The writes come as a file system sends them: below it they have no file object.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use protocol::ioctl::{self, PagingFile, TopWrite};

use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::process::wait_until;
use crate::rig::Rig;
use crate::scenario::Setting;
use crate::scenario::gap::{recovered, restore_or_refuse_t0};
use crate::scenario::run::{Run, in_first_sync, wait_for_in_flight};
use crate::service::ServiceSettings;
use crate::summary::Summary;
use crate::verdict::as_len;

/// A volume with a paging file may not wait without end.
const SERVICE: ServiceSettings =
    ServiceSettings { hold_limit_ms: 50_000, hold_forever: false, ..ServiceSettings::holding(64) };
/// Slow enough that the first sync is under way when the volume pauses.
const VOLUME_JITTER_US: u32 = 30_000;
/// `DeviceUsageTypePaging`
const PAGING: u32 = 1;
/// A status is not older than this.
const HOLD_LIMIT: Duration = Duration::from_secs(30);
/// MiB before the volume's end where the writes go, which the sweep reads last; each goes to
/// another MiB.
const FROM_END_MIB: u64 = 8;
/// Bytes of each.
const LEN: u64 = 8192;
/// Where the paging file is, in MiB from there, and how many whole ones it has; a part of a block
/// follows.
const FILE_AT: u64 = 1;
const FILE_MIB: u64 = 4;
/// Where a write goes to that is behind it.
const BEHIND: u64 = 7;
/// What a file that gets the paging file's clusters later has there.
const REUSED: u8 = 0x5a;

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let mut run = Run::prepare(setting, &SERVICE, VOLUME_JITTER_US, console)?;
    let mib = |number: u64| (setting.size_mib - FROM_END_MIB + number) << 20;
    let file = PagingFile { offset: mib(FILE_AT), len: (FILE_MIB << 20) + LEN };
    let is_outgrown = setting.seed % 4 >= 2;
    step(run.console, "begin to page to the volume", |_| {
        run.rig.agent().command(ioctl::SET_PAGING_FILE, &file)?;
        run.rig.agent().usage(PAGING, true)
    })?;
    let begun = run.begin(false)?;
    hold_a_mapped_files_write(&mut run, mib(0) + 4096)?;
    let whole = ("the paging file", mib(1) + 4096, TopWrite::PAGING_FILE);
    let piece = ("a piece of the paging file", mib(2) + 4096, TopWrite::PAGING_FILE_PIECE);
    let last = ("the paging file's last block", mib(FILE_AT + FILE_MIB), TopWrite::PAGING_FILE);
    for (what, place, sender) in [whole, piece, last] {
        write_past_a_stuck_volume(&mut run, what, place, sender)?;
    }
    if is_outgrown {
        run.disturbed = true;
        let (what, sender) = ("what the paging file did not have at t0", TopWrite::PAGING_FILE);
        write_past_a_stuck_volume(&mut run, what, mib(BEHIND), sender)?;
        run.watch("recover", recovered)?;
    } else {
        run.watch("first sync", |status| status.phase == "live")?;
    }
    let first_sync = begun.seen.elapsed();
    reuse(&mut run, mib(3))?;
    let last = run.settle()?;
    run.shut_down()?;
    let told =
        run.traces(&last.session, if is_outgrown { &["GapBegan", "GapEnded"] } else { &[] })?;
    let urgent: Vec<_> = told.iter().filter(|trace| trace.name == "WriteUrgent").collect();
    let wanted = u64::from(is_outgrown);
    let right = told.is_empty() || urgent.len() as u64 == wanted;
    ensure!(right, Rule, "trace: {wanted} urgent writes, reported as {urgent:?}");

    run.verify_repository()?;
    run.restore("latest")?;
    let t0_restored = restore_or_refuse_t0(&mut run)?;
    ensure!(
        t0_restored != is_outgrown,
        Rule,
        "T0: a page-out beyond the file's place at t0: {is_outgrown}; t0 is offered: {t0_restored}"
    );
    run.dont_care.push(file.offset..file.offset + file.len);
    let at_t0 = begun.beginning.entries_before;
    let (writes, bytes_written) =
        run.compare_unloaded(t0_restored.then_some(at_t0..=at_t0), None)?;
    look_at_the_replica(&run, &file, mib(3), t0_restored)?;
    let blocks = (FILE_MIB << 20) / last.block_size;
    let counted = (last.writes_excluded, last.writes_urgent, last.writes_held);
    ensure!(
        counted == (3, wanted, 1) && last.gaps == wanted && last.blocks_excluded == blocks,
        Rule,
        "HANG: excluded, urgent and held writes: {counted:?}, not {:?}; {} gaps, {} of {blocks} \
         blocks excluded",
        (3, wanted, 1),
        last.gaps,
        last.blocks_excluded
    );
    run.folder.discard_images()?;
    let prefix = t0_restored.then_some(as_len(at_t0));
    Ok(Summary { writes, bytes_written, prefix, ..run.summary(first_sync, last) })
}

/// A mapped file's write waits like any other: it loses nothing.
fn hold_a_mapped_files_write(run: &mut Run<'_>, place: u64) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    step(run.console, "hold a write to a mapped file", |_| {
        rig.agent().pause()?;
        in_first_sync(rig)?;
        begin_write(rig, place, TopWrite::MAPPED_FILE)?;
        let held = wait_until("the write to be held", HOLD_LIMIT, || {
            Ok(rig.status()?.filter(|status| status.writes_holding == 1))
        });
        let arrived = rig.agent().counters()?.in_flight;
        rig.agent().resume()?;
        let ended = rig.agent().request("end-write")?;
        held?;
        ensure!(arrived == 0, Rule, "T0: a held write is with the volume");
        ended.must_be_done("the write")
    })
}

fn begin_write(rig: &mut Rig, place: u64, sender: u32) -> Result<(), E2eError> {
    rig.agent().ask(&format!("begin-top-write {place} {LEN} 119 {sender}")).map(|_| ())
}

/// While the volume answers nothing, a held write could not be issued: this one has to arrive.
fn write_past_a_stuck_volume(
    run: &mut Run<'_>,
    what: &str,
    place: u64,
    sender: u32,
) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    step(run.console, &format!("write to {what} of a volume that does not read"), |_| {
        rig.agent().pause()?;
        in_first_sync(rig)?;
        begin_write(rig, place, sender)?;
        // Rule HANG (rules.md#hang).
        let arrived = wait_for_in_flight(rig, 1);
        rig.agent().resume()?;
        let ended = rig.agent().request("end-write")?;
        arrived?;
        ended.must_be_done("the write")
    })
}

/// Another file gets some of the paging file's clusters.
fn reuse(run: &mut Run<'_>, place: u64) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    step(run.console, "write to a file that has the paging file's clusters now", |_| {
        let ended = rig.agent().request(&format!("write {place} {LEN} {REUSED}"))?;
        ended.must_be_done("the write")
    })
}

/// The replica has zeros where blocks are excluded as a whole, but for what was written later.
fn look_at_the_replica(
    run: &Run<'_>,
    file: &PagingFile,
    reused: u64,
    t0_restored: bool,
) -> Result<(), E2eError> {
    let mut bytes = vec![0; usize::try_from(FILE_MIB << 20).unwrap_or(0)];
    let zeros = bytes.clone();
    let mut read = |at: &str| {
        let path = run.folder.restored(at);
        let image = File::open(&path).map_err(E2eError::file("open", &path))?;
        image.read_exact_at(&mut bytes, file.offset).map_err(E2eError::file("read", &path))?;
        Ok::<_, E2eError>(bytes.clone())
    };
    if t0_restored {
        ensure!(read("t0")? == zeros, Rule, "T0: the paging file is in the t0 image");
    }
    let latest = read("latest")?;
    let start = usize::try_from(reused - file.offset).unwrap_or(0);
    let (before, rest) = latest.split_at(start);
    let (written, behind) = rest.split_at(usize::try_from(LEN).unwrap_or(0));
    let is_there = written.iter().all(|byte| *byte == REUSED);
    ensure!(is_there, Rule, "LOSS: a write to an excluded block is not in the latest image");
    let rest_is_zero = [before, behind].iter().all(|part| part.iter().all(|byte| *byte == 0));
    ensure!(rest_is_zero, Rule, "T0: the paging file is in the latest image");
    Ok(())
}
