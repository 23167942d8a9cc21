//! What the driver is told by its settings, and what it says of a volume: obstacles, special files, limits, growth.

use std::time::Duration;

use serde::Deserialize;

use crate::agent::Outcome;
use crate::bench::{Bench, VOLUME_GUID};
use crate::console::{Console, step};
use crate::error::E2eError;
use crate::journal::Journal;
use crate::process::wait_until;
use crate::scenario::Setting;
use crate::scenario::run::{Begun, Run};
use crate::service::ServiceSettings;
use crate::summary::Summary;
use crate::truth::Truth;

/// More than the driver's settings allow.
const SERVICE: ServiceSettings =
    ServiceSettings { queue_mib: 128, hold_limit_ms: 10_000, hold_forever: true };
const VOLUME_JITTER_US: u32 = 3000;
/// What the driver's settings allow.
const QUEUE_LIMIT_MIB: u64 = 64;
const NOTICE_LIMIT: Duration = Duration::from_secs(30);

/// Events of the service (`docs/events.md`).
const SESSION_STARTED: u16 = 200;
const BASE_COMPLETE: u16 = 210;
const OUTGROWN: u16 = 240;

/// `DEVICE_USAGE_NOTIFICATION_TYPE`
const PAGING: u32 = 1;
const DUMP: u32 = 3;

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let mut run = Run::prepare(setting, &SERVICE, VOLUME_JITTER_US, console)?;
    special_files(&mut run)?;
    obstacles(&mut run)?;
    let begun = run.begin(false)?;
    let synced = run.watch("first sync", begun.seen, |status| status.phase == "live")?;
    let first_sync = begun.seen.elapsed();
    let last = run.settle()?;
    if last.queue_bytes != QUEUE_LIMIT_MIB << 20 {
        return Err(E2eError::Rule(format!(
            "BOUND: the queue has {} bytes, though its limit is {QUEUE_LIMIT_MIB} MiB",
            last.queue_bytes
        )));
    }
    grow(&mut run)?;
    run.shut_down()?;
    run.bench.service_told(&[SESSION_STARTED, BASE_COMPLETE, OUTGROWN])?;

    run.verify_repository()?;
    run.restore("t0")?;
    // The last point before the volume outgrew the session.
    run.restore("latest")?;
    let writes = compare(&mut run, &begun)?;
    let files = run.check_ntfs("t0")?;
    run.folder.discard_images()?;
    Ok(Summary {
        first_sync,
        synced,
        last,
        volume_len: run.image.len,
        writes,
        bytes_written: 0,
        overlaps: 0,
        under_way_at_t0: 0,
        prefix: Some(writes),
        files,
    })
}

/// A special file counts once every driver of the stack has agreed, and until it is gone.
fn special_files(run: &mut Run<'_>) -> Result<(), E2eError> {
    let bench = &mut run.bench;
    step(run.console, "bring special files to the volume", |_| {
        says(bench, "possible", &[])?;
        bench.agent().tell(&format!("usage {PAGING} on"))?;
        says(bench, "possible", &["paging"])?;
        bench.agent().tell("refuse-usage 1")?;
        if bench.agent().tell(&format!("usage {DUMP} on")).is_ok() {
            return Err(E2eError::Rule("CLEAR: a refused usage notification succeeded".into()));
        }
        says(bench, "possible", &["paging"])?;
        bench.agent().tell(&format!("usage {DUMP} on"))?;
        bench.agent().tell(&format!("usage {PAGING} off"))?;
        says(bench, "possible", &["dump"])?;
        bench.agent().tell(&format!("usage {DUMP} off"))?;
        says(bench, "possible", &[])
    })
}

/// What keeps a volume from being protected is told; what is not protected is passed through.
fn obstacles(run: &mut Run<'_>) -> Result<(), E2eError> {
    let bench = &mut run.bench;
    step(run.console, "look at obstacles and settings", |_| {
        bench.agent().tell("protect on")?;
        says(bench, "read_only", &[])?;
        bench.agent().tell("protect off")?;

        bench.stop_driver()?;
        bench.set_driver_value("PassThrough", "REG_DWORD", "1")?;
        bench.start_driver()?;
        says(bench, "pass_through", &[])?;
        writes(bench, 0x11)?;

        bench.stop_driver()?;
        bench.set_driver_value("PassThrough", "REG_DWORD", "0")?;
        let guid = format!("Volume{VOLUME_GUID}");
        bench.set_driver_value("ExcludedVolumes", "REG_MULTI_SZ", &guid)?;
        bench.start_driver()?;
        says(bench, "excluded", &[])?;
        writes(bench, 0x22)?;

        bench.stop_driver()?;
        bench.set_driver_value("ExcludedVolumes", "REG_MULTI_SZ", r"\Device\Elsewhere")?;
        bench.set_driver_value("QueueLimitMiB", "REG_DWORD", &QUEUE_LIMIT_MIB.to_string())?;
        bench.set_driver_value("HoldLimitMs", "REG_DWORD", "0")?;
        bench.start_driver()?;
        says(bench, "possible", &[])
    })
}

/// A session notices that its volume has grown, keeps what it has, and says so.
fn grow(run: &mut Run<'_>) -> Result<(), E2eError> {
    let (bench, len) = (&mut run.bench, run.image.len);
    // The volume is a few sectors longer than whole pages.
    let longer = (len + (1 << 20)) / 4096 * 4096;
    step(run.console, "grow the volume", |_| {
        bench.agent().tell(&format!("grow {longer}"))?;
        let told = bench.agent().request("length")?;
        if told != Outcome::Length(longer) {
            return Err(E2eError::Rule(format!("CLEAR: the volume's length is {told:?}")));
        }
        wait_until("the session to notice that its volume has grown", NOTICE_LIMIT, || {
            Ok(bench.status()?.filter(|status| status.outgrown && status.gaps == 1).map(|_| ()))
        })
    })
}

fn writes(bench: &mut Bench, fill: u8) -> Result<(), E2eError> {
    // In the boot sector's backup copy's neighbourhood nothing belongs to a file: the volume's odd tail.
    let tail = bench.agent().request("length")?;
    let Outcome::Length(len) = tail else {
        return Err(E2eError::Rule(format!("CLEAR: the volume's length is {tail:?}")));
    };
    match bench.agent().request(&format!("write {} 512 {fill}", len - 1024))? {
        Outcome::Done => Ok(()),
        other => Err(E2eError::Rule(format!("CLEAR: a write ended as {other:?}"))),
    }
}

/// Checks what the product's command line says of the volume.
pub(super) fn says(
    bench: &Bench,
    protection: &str,
    special_files: &[&str],
) -> Result<(), E2eError> {
    let said = bench.volumes()?;
    let wrong = |why: String| E2eError::Said {
        program: "snapless volumes --json".into(),
        said: said.clone(),
        why,
    };
    let answer: Answer = serde_json::from_str(&said).map_err(|error| wrong(error.to_string()))?;
    let [volume] = &answer.volumes[..] else {
        return Err(wrong("one volume was expected".into()));
    };
    if volume.protection != protection || volume.special_files != special_files {
        return Err(wrong(format!("expected {protection} with {special_files:?}")));
    }
    if answer.restart_needed {
        return Err(wrong("driver and program are of one release".into()));
    }
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

/// Both images against the journal; returns how many entries that has.
pub(super) fn compare(run: &mut Run<'_>, begun: &Begun) -> Result<usize, E2eError> {
    let journal = Journal::open(&run.folder.journal())?;
    let mut truth = Truth::new(&journal, &run.image.pristine, &run.folder.model())?;
    let folder = &run.folder;
    let before = usize::try_from(begun.beginning.entries_before).unwrap_or(usize::MAX);
    step(run.console, "compare the t0 image with the truth", |_| {
        let prefixes = truth.matching_prefixes(&folder.restored("t0"), before..=before)?;
        prefixes.map_err(|difference| E2eError::Different { image: "t0", difference })
    })?;
    step(run.console, "compare the latest image with the truth", |_| {
        let matches = truth.matches_whole(&folder.restored("latest"))?;
        matches.map_err(|difference| E2eError::Different { image: "latest", difference })
    })?;
    Ok(journal.entries().len())
}
