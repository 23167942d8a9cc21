//! The driver's settings and its report of a volume: obstacles, failed starts, special files,
//! limits, among them those of the sweep, which change while a session runs. Before them, a write
//! that arrives in a cut.

use std::time::Duration;

use protocol::ioctl::{self, DeviceFlags};
use serde::Deserialize;

use crate::agent::Outcome;
use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::process::wait_until;
use crate::rig::{Rig, VOLUME_GUID};
use crate::scenario::Setting;
use crate::scenario::run::Run;
use crate::service::{self, ServiceSettings};
use crate::status::Status;
use crate::summary::Summary;

/// A larger queue than the driver's settings allow, and a slow first sync.
const SERVICE: ServiceSettings =
    ServiceSettings { sweep_mib: Some(FIRST_MIB), ..ServiceSettings::holding(128) };
/// MiB that the sweep may read in a second when the session begins: the first sync would take a
/// minute and more.
const FIRST_MIB: u64 = 1;
/// MiB that it may read in a second later: a small part of the volume's rate.
const SWEEP_MIB: u64 = 16;
/// How much longer the sync may have lasted than it was observed.
const UNSEEN: Duration = Duration::from_secs(2);
const VOLUME_JITTER_US: u32 = 3000;
/// `protocol::names::parameters::IO_MODEL`
const DIRECT: u32 = 0;
const NEITHER: u32 = 2;
/// `ERROR_NOT_SUPPORTED`
const NOT_SUPPORTED: Outcome = Outcome::Failed(50);
/// The limit in the driver's settings.
const QUEUE_LIMIT_MIB: u64 = 64;
const NOTICE_LIMIT: Duration = Duration::from_secs(30);

/// Events of the service (`docs/events.md`).
const SESSION_STARTED: u16 = 200;
const BASE_COMPLETE: u16 = 210;
const STARTS_FAILED: u16 = 305;

/// Starts in a row that no program reached, until the driver protects nothing.
const STARTS_MAX: usize = 2;

/// `DEVICE_USAGE_NOTIFICATION_TYPE`
const PAGING: u32 = 1;
const DUMP: u32 = 3;

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let mut run = Run::prepare(setting, &SERVICE, VOLUME_JITTER_US, console)?;
    run.step_and_say("write in a cut", |rig| rig.agent().ask("cut"))?;
    special_files(&mut run)?;
    kinds(&mut run)?;
    obstacles(&mut run)?;
    failed_starts(&mut run)?;
    let begun = run.begin(false)?;
    let session = raise_limit(&mut run)?;
    let synced = run.watch("first sync", |status| status.phase == "live")?;
    let first_sync = begun.seen.elapsed();
    ensure!(synced.session == session, Rule, "another limit has ended the session");
    is_capped(&synced, first_sync)?;
    let last = run.settle()?;
    let bytes = last.queue_bytes;
    let limited = bytes == QUEUE_LIMIT_MIB << 20;
    ensure!(limited, Rule, "BOUND: the queue has {bytes} bytes, not {QUEUE_LIMIT_MIB} MiB");
    refuse_trims(&mut run)?;
    run.shut_down()?;
    run.rig.service_logged(&[SESSION_STARTED, BASE_COMPLETE])?;
    step(run.console, "uninstall the product", |_| run.rig.uninstall_product())?;

    run.restore_both()?;
    let at_t0 = begun.beginning.entries_before;
    let (writes, _) = run.compare_unloaded(Some(at_t0..=at_t0), None)?;
    let files = run.check_ntfs("t0")?;
    run.folder.discard_images()?;
    Ok(Summary { writes, prefix: Some(writes), files, ..run.summary(first_sync, last) })
}

/// The sweep may read more from now on. Returns the session.
fn raise_limit(run: &mut Run<'_>) -> Result<String, E2eError> {
    let rig = &mut run.rig;
    step(run.console, "let the sweep read faster while the first sync is under way", |_| {
        let before = wait_until("a first sync", NOTICE_LIMIT, || rig.status())?;
        ensure!(before.phase == "first_sync", Rule, "at 1 MiB a second it is {}", before.phase);
        let text = rig.read_on_c(service::CONFIG_ON_C)?;
        let line = |mib| format!("sweep_rate = \"{mib} MiB\"");
        rig.write_on_c(service::CONFIG_ON_C, &text.replace(&line(FIRST_MIB), &line(SWEEP_MIB)))?;
        rig.command_line(&["reload"])?;
        Ok(before.session)
    })
}

/// The sweep has read no more than it may, and more than it might at first.
fn is_capped(status: &Status, took: Duration) -> Result<(), E2eError> {
    let read = status.blocks_by_sweep * status.block_size;
    let in_time = |mib: u64, took: Duration| u128::from(mib << 20) * took.as_millis() / 1000;
    let slowly = in_time(FIRST_MIB, took);
    ensure!(
        u128::from(read) > slowly,
        Rule,
        "the sweep read {read} bytes in {took:.1?}: it still keeps to {FIRST_MIB} MiB a second"
    );
    let allowed = in_time(SWEEP_MIB, took + UNSEEN);
    ensure!(
        u128::from(read) <= allowed,
        Rule,
        "CLEAR: the sweep read {read} bytes in {took:.1?}, though it may read {SWEEP_MIB} MiB a second"
    );
    Ok(())
}

/// A special file counts once every driver of the stack has agreed, and until it is gone.
fn special_files(run: &mut Run<'_>) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    step(run.console, "bring special files to the volume", |_| {
        says(rig, "possible", &[])?;
        rig.agent().usage(PAGING, true)?;
        says(rig, "possible", &["paging"])?;
        rig.agent().command(ioctl::REFUSE_USAGE, &1_u32)?;
        let refused = rig.agent().usage(DUMP, true).is_err();
        ensure!(refused, Rule, "CLEAR: a refused usage notification succeeded");
        says(rig, "possible", &["paging"])?;
        rig.agent().usage(DUMP, true)?;
        rig.agent().usage(PAGING, false)?;
        says(rig, "possible", &["dump"])?;
        rig.agent().usage(DUMP, false)?;
        says(rig, "possible", &[])
    })
}

/// Volumes that the method cannot protect, and the reason that the command line gives: device type,
/// characteristics, flags, cleared flags and partition attributes.
const KINDS: [(u32, u32, u32, u32, u64, &str); 14] = [
    // `FILE_DEVICE_CD_ROM`, `…_DVD`, `…_VIRTUAL_DISK`, `…_NETWORK_FILE_SYSTEM`
    (0x02, 0, 0, 0, 0, "cd_rom"),
    (0x33, 0, 0, 0, 0, "cd_rom"),
    (0x24, 0, 0, 0, 0, "ram_disk"),
    (0x14, 0, 0, 0, 0, "remote"),
    // `FILE_REMOVABLE_MEDIA`, `FILE_READ_ONLY_DEVICE`, `FILE_FLOPPY_DISKETTE`,
    // `FILE_WRITE_ONCE_MEDIA`, `FILE_REMOTE_DEVICE`, `FILE_CHARACTERISTIC_CSV`
    (0, 0x01, 0, 0, 0, "removable"),
    (0, 0x02, 0, 0, 0, "read_only"),
    (0, 0x04, 0, 0, 0, "removable"),
    (0, 0x08, 0, 0, 0, "read_only"),
    (0, 0x10, 0, 0, 0, "remote"),
    (0, 0x1_0000, 0, 0, 0, "cluster_shared"),
    // `DO_DAX_VOLUME`, no `DO_DIRECT_IO`
    (0, 0, 0x1000_0000, 0, 0, "dax"),
    (0, 0, 0, 0x10, 0, "no_direct_io"),
    // `GPT_BASIC_DATA_ATTRIBUTE_READ_ONLY`
    (0, 0, 0, 0, 1 << 60, "read_only"),
    // The volume's own.
    (0, 0, 0, 0, 0, "possible"),
];

/// A volume that cannot be protected has a reason, cannot get a session, and takes writes.
fn kinds(run: &mut Run<'_>) -> Result<(), E2eError> {
    let (rig, image) = (&mut run.rig, &run.image);
    step(run.console, "look at volumes of other kinds", |_| {
        for (number, kind) in KINDS.into_iter().enumerate() {
            let (device_type, characteristics, flags, flags_cleared, gpt_attributes, protection) =
                kind;
            let flags =
                DeviceFlags { device_type, characteristics, flags, flags_cleared, gpt_attributes };
            rig.agent().command(ioctl::SET_DEVICE_FLAGS, &flags)?;
            says(rig, protection, &[])?;
            if protection != "possible" {
                rig.agent().ask("refused start")?;
            }
            // The volume's flags also choose the kind of its requests; Wine looks at the filter's.
            writes(rig, u8::try_from(number).unwrap_or(u8::MAX))?;
        }
        // A volume that really takes data at addresses of the sender.
        rig.stop_driver()?;
        rig.restart_volume(image, NEITHER)?;
        rig.start_driver()?;
        says(rig, "no_direct_io", &[])?;
        rig.agent().ask("refused start")?;
        writes(rig, 0xee)?;
        rig.stop_driver()?;
        rig.restart_volume(image, DIRECT)?;
        rig.agent().command(ioctl::SET_TRIM_SUPPORT, &ioctl::REPORTS_NO_TRIM)?;
        rig.start_driver()
    })
}

/// Obstacles to protection are reported; a volume that is not protected takes writes.
fn obstacles(run: &mut Run<'_>) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    step(run.console, "look at obstacles and settings", |_| {
        rig.agent().command(ioctl::WRITE_PROTECT, &1_u32)?;
        says(rig, "read_only", &[])?;
        rig.agent().command(ioctl::WRITE_PROTECT, &0_u32)?;

        rig.stop_driver()?;
        rig.set_driver_value("PassThrough", "REG_DWORD", "1")?;
        rig.start_driver_in_vain()?;
        let told = rig.volumes().unwrap_or_else(|error| error.to_string());
        ensure!(told.contains("PassThrough"), Rule, "the kill switch is told as: {told}");
        writes(rig, 0x11)?;

        rig.set_driver_value("PassThrough", "REG_DWORD", "0")?;
        restart(rig, "ExcludedVolumes", "REG_MULTI_SZ", &format!(r"\\?\Volume{VOLUME_GUID}\"))?;
        says(rig, "excluded", &[])?;
        writes(rig, 0x22)?;

        rig.set_driver_value("ExcludedVolumes", "REG_MULTI_SZ", r"\Device\Elsewhere")?;
        rig.set_driver_value("QueueLimitMiB", "REG_DWORD", &QUEUE_LIMIT_MIB.to_string())?;
        restart(rig, "HoldLimitMs", "REG_DWORD", "0")?;
        says(rig, "possible", &[])
    })
}

/// After starts of the driver that no program has reached, it protects nothing and says so, until
/// the product is installed again.
fn failed_starts(run: &mut Run<'_>) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    step(run.console, "start the driver several times without reaching it", |_| {
        for _ in 0..STARTS_MAX {
            rig.stop_driver()?;
            rig.start_driver_in_vain()?;
        }
        rig.stop_driver()?;
        rig.start_driver()?;
        says(rig, "starts_failed", &[])?;
        rig.agent().ask("refused start")?;
        writes(rig, 0x44)?;
        rig.start_service()?;
        wait_until("the service to report the failed starts", NOTICE_LIMIT, || {
            Ok((rig.times_logged(STARTS_FAILED)? > 0).then_some(()))
        })?;
        rig.stop_service()?;
        rig.unwatched(Rig::install_product)?;
        rig.unwatched(Rig::set_up_again)?;
        // What passes through now does so until the next start.
        says(rig, "starts_failed", &[])?;
        rig.stop_driver()?;
        rig.start_driver()?;
        says(rig, "possible", &[])
    })
}

/// Starts the driver again with a value of its settings.
fn restart(rig: &mut Rig, name: &str, kind: &str, value: &str) -> Result<(), E2eError> {
    rig.stop_driver()?;
    rig.set_driver_value(name, kind, value)?;
    rig.start_driver()
}

/// A device that reports no trim support gets no trim.
fn refuse_trims(run: &mut Run<'_>) -> Result<(), E2eError> {
    let (rig, len) = (&mut run.rig, run.image.len);
    step(run.console, "trim on a volume that does not", |_| {
        let before = rig.agent().counters()?.applied;
        let ended = rig.agent().request(&format!("trim {}+512", len - 1024))?;
        let refused = ended == NOT_SUPPORTED && rig.agent().counters()?.applied == before;
        ensure!(refused, Rule, "the trim ended as {ended:?}, or went down");
        Ok(())
    })
}

fn writes(rig: &mut Rig, fill: u8) -> Result<(), E2eError> {
    // The volume's odd tail belongs to no file.
    let tail = rig.agent().request("length")?;
    let Outcome::Length(len) = tail else {
        return Err(E2eError::Rule(format!("CLEAR: the volume's length is {tail:?}")));
    };
    let ended = rig.agent().request(&format!("write {} 512 {fill}", len - 1024))?;
    ended.must_be_done("a write")
}

/// Checks the product's command line's report of the volume.
pub(super) fn says(rig: &Rig, protection: &str, special_files: &[&str]) -> Result<(), E2eError> {
    let said = rig.volumes()?;
    let wrong = |why: String| E2eError::said("snapless volumes --json", &said, why);
    let answer: Answer = serde_json::from_str(&said).map_err(|error| wrong(error.to_string()))?;
    let [volume] = &answer.volumes[..] else {
        return Err(wrong("one volume was expected".into()));
    };
    if volume.protection != protection || volume.special_files != special_files {
        return Err(wrong(format!("expected {protection} with {special_files:?}")));
    }
    ensure!(!answer.restart_needed, Rule, "driver and program are of one release: {said}");
    Ok(())
}

#[derive(Deserialize)]
struct Answer {
    restart_needed: bool,
    volumes: Vec<Volume>,
}

#[derive(Deserialize)]
struct Volume {
    protection: String,
    special_files: Vec<String>,
}
