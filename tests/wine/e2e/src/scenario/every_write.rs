//! Every way to change a volume but plain writes under load: trims, writes of zeros, writes that
//! are cancelled while they are held, writes with flags that only the kernel can set, data that
//! cannot be mapped, refused requests, and writes past the end. `driver/WRITES.md` has the rule for
//! each.

use protocol::ioctl::{self, AllocationFailure, TopWrite, TopWriteResult};

use crate::agent::Outcome;
use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::scenario::Setting;
use crate::scenario::gap::recovered;
use crate::scenario::run::{Run, in_first_sync};
use crate::service::ServiceSettings;
use crate::status::Status;
use crate::summary::Summary;

const SERVICE: ServiceSettings = ServiceSettings::holding(64);
/// Slow enough that the first sync is under way when the volume pauses.
const VOLUME_JITTER_US: u32 = 60_000;

const MIB: u64 = 1 << 20;
/// Bytes of a write that is captured in parts.
const LONG: u64 = 17 * MIB;
/// `ERROR_NOT_SUPPORTED`
const NOT_SUPPORTED: Outcome = Outcome::Failed(50);
/// `ERROR_INVALID_FUNCTION`
const INVALID_FUNCTION: Outcome = Outcome::Failed(1);
/// `ERROR_NO_SYSTEM_RESOURCES`
const NO_SYSTEM_RESOURCES: Outcome = Outcome::Failed(1450);
/// `ERROR_INVALID_PARAMETER`
const INVALID_PARAMETER: Outcome = Outcome::Failed(87);

/// `SL_OVERRIDE_VERIFY_VOLUME`, `SL_WRITE_THROUGH`, `SL_FORCE_DIRECT_WRITE`
const LOCATION_FLAGS: u32 = 0x02 | 0x04 | 0x10;
/// `IRP_NOCACHE`, `IRP_SYNCHRONOUS_API`, `IRP_WRITE_OPERATION`, and the priority hint
/// `IoPriorityCritical`
const PACKET_FLAGS: u32 = 0x01 | 0x04 | 0x200 | (5 << 17);

/// Requests that the stream cannot express: refused.
const FOREIGN: [(&str, &str); 6] = [
    (
        "an offloaded write",
        "control 2d9404 1c 00 00 00 04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 20 00 00 00 00 00 00 00",
    ),
    (
        "a trim of the whole volume",
        "control 2d9404 1c 00 00 00 01 00 00 00 01 00 00 00 00 00 00 00 00 00 00 00 20 00 00 00 00 00 00 00",
    ),
    ("a copy within the disk", "control 7c064 00 00 00 00 00 00 00 00"),
    ("a SCSI command", "control 4d014 00 00 00 00"),
    ("an NVMe command", "control 2dd3c0 00 00 00 00"),
    ("a format", "control 7c018 00 00 00 00"),
];

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let mut run = Run::prepare(setting, &SERVICE, VOLUME_JITTER_US, console)?;
    let begun = run.begin(false)?;
    let places = Places::of(run.image.len);
    cancel_held(&mut run, places)?;
    keep_flags(&mut run, "a held write", places.last(), TopWrite::DRIVER, 1)?;
    change(&mut run, "first sync", places)?;
    refuse(&mut run, places)?;
    run.watch("first sync", |status| status.phase == "live")?;
    let first_sync = begun.seen.elapsed();
    change(&mut run, "live", places.moved())?;
    keep_flags(&mut run, "a direct write", places.between() + MIB, TopWrite::DRIVER, 0)?;
    let place = places.between() + MIB + 65536;
    keep_flags(&mut run, "a mapped file's paging write", place, TopWrite::MAPPED_FILE, 0)?;
    // From here on some data cannot be captured.
    run.disturbed = true;
    write_unmapped(&mut run, places)?;
    clear_without_memory(&mut run, places)?;
    remember_a_refusal(&mut run, places)?;
    run.watch("recover", recovered)?;
    let last = run.settle()?;
    run.shut_down()?;

    run.restore_both()?;
    let (writes, bytes_written) =
        run.compare_unloaded(Some(0..=begun.beginning.entries_after), None)?;
    let files = run.check_ntfs("t0")?;
    exercised(&last)?;
    run.folder.discard_images()?;
    let summary = run.summary(first_sync, last);
    Ok(Summary { writes, bytes_written, prefix: Some(0), files, ..summary })
}

/// Places of the requests, where the sweep comes last.
#[derive(Clone, Copy)]
struct Places {
    end: u64,
    /// 24 MiB and more; 5 MiB are left behind them.
    base: u64,
}

impl Places {
    fn of(len: u64) -> Self {
        Self { end: len, base: (len - 30 * MIB) / MIB * MIB }
    }

    /// Behind all of these.
    fn last(self) -> u64 {
        self.base + 24 * MIB
    }

    /// Between these and those that are moved: 8 MiB.
    fn between(self) -> u64 {
        self.base - 8 * MIB
    }

    /// Elsewhere, before those places.
    fn moved(self) -> Self {
        Self { base: self.base - 30 * MIB, ..self }
    }
}

/// A held write that is cancelled never goes down.
fn cancel_held(run: &mut Run<'_>, places: Places) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    step(run.console, "cancel a held write", |_| {
        rig.agent().pause()?;
        in_first_sync(rig)?;
        let before = rig.agent().counters()?;
        let cancelled = rig.agent().request(&format!("cancel-write {} 65536 170", places.base))?;
        let after = rig.agent().counters()?;
        let status = rig.status()?;
        rig.agent().resume()?;
        let held = cancelled == Outcome::Cancelled;
        ensure!(held, NotExercised, "a held write: it ended as {cancelled:?}");
        ensure!(after == before, Rule, "a write that was cancelled while held went down");
        let gone = |status: &Status| status.writes_cancelled == 1 && status.writes_holding == 0;
        ensure!(
            status.as_ref().is_some_and(gone),
            Rule,
            "the cancelled write is still there: {status:?}"
        );
        Ok(())
    })
}

/// Trims, zeros and writes that overlap each other.
fn change(run: &mut Run<'_>, when: &str, places: Places) -> Result<(), E2eError> {
    let (rig, base) = (&mut run.rig, places.base);
    let name = format!("trim, zero and write ({when})");
    step(run.console, &name, |_| {
        let mut done = |request: String| rig.agent().request(&request)?.must_be_done(&request);
        done(format!("write {base} 1048576 85"))?;
        // One piece, inside what was just written.
        done(format!("trim {}+65536", base + 4096))?;
        done(format!("write {} 8192 86", base + 8192))?;
        // Several ranges, out of order and with a part of a block each.
        let places = [base + 3 * MIB + 512, base + 2 * MIB, base + MIB];
        done(format!("trim {}+1536 {}+131072 {}+512", places[0], places[1], places[2]))?;
        // Longer than a piece, over what was written and what was not.
        done(format!("zero {}+{}", base + 512 * 1024, 18 * MIB))?;
        done(format!("zero {}+512 {}+4096", base + 20 * MIB, base + 21 * MIB))?;
        done(format!("write {base} 0 1"))
    })
}

/// Refused requests change no data; writes past the end fail.
fn refuse(run: &mut Run<'_>, places: Places) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    step(run.console, "send requests that are refused", |_| {
        let before = rig.agent().counters()?.applied;
        for (what, request) in FOREIGN {
            expect(rig.agent().request(request)?, NOT_SUPPORTED, what)?;
        }
        let crooked = format!("trim {}+100", places.base);
        expect(rig.agent().request(&crooked)?, INVALID_PARAMETER, "a trim of half a sector")?;
        let past = rig.agent().request(&format!("write {} 4096 1", places.end))?;
        let failed = matches!(past, Outcome::Failed(_));
        ensure!(failed, Rule, "CLEAR: a write past the end ended as {past:?}");
        let applied = rig.agent().counters()?.applied - before;
        ensure!(applied == 0, Rule, "{applied} of them went down");
        Ok(())
    })
}

/// A write's flags arrive at the disk unchanged, and the disk transfers what the stream has, though
/// the sender changes its buffer meanwhile. `held` is how many writes are held for it.
fn keep_flags(
    run: &mut Run<'_>,
    what: &str,
    place: u64,
    sender: u32,
    held: u64,
) -> Result<(), E2eError> {
    let rig = &mut run.rig;
    step(run.console, &format!("send {what} with every flag"), |_| {
        let before = rig.status()?.map_or(0, |status| status.writes_held);
        let write = TopWrite {
            offset: place,
            length: 8192,
            fill: 0x5a,
            changed_fill: 0x5c,
            parts: 1,
            sender,
            location_flags: LOCATION_FLAGS,
            irp_flags: PACKET_FLAGS,
        };
        let arrived: TopWriteResult = rig.agent().query(ioctl::TOP_WRITE, &write)?;
        let after = rig.status()?.map_or(0, |status| status.writes_held);
        let whole = (arrived.status, arrived.length, arrived.location_flags)
            == (0, 8192, LOCATION_FLAGS)
            && arrived.irp_flags & PACKET_FLAGS == PACKET_FLAGS;
        ensure!(whole, Rule, "CLEAR: the write arrived as {arrived:x?}");
        let waited = after - before;
        ensure!(waited == held, NotExercised, "{what}: {waited} writes were held for it");
        Ok(())
    })
}

/// Data in a chain of MDLs are issued uncaptured and leave their blocks dirty; data that the system
/// has no addresses for are captured by the session's own.
fn write_unmapped(run: &mut Run<'_>, places: Places) -> Result<(), E2eError> {
    let (rig, place) = (&mut run.rig, places.between() + 2 * MIB);
    step(run.console, "write data that cannot be mapped", |_| {
        let write =
            TopWrite { offset: place, length: 65536, fill: 0x5b, parts: 5, ..TopWrite::default() };
        let arrived: TopWriteResult = rig.agent().query(ioctl::TOP_WRITE, &write)?;
        let whole = (arrived.status, arrived.length) == (0, 65536);
        ensure!(whole, Rule, "CLEAR: a chain of lists ended as {arrived:x?}");
        rig.agent().fail_allocations(AllocationFailure::MAPPINGS)?;
        let unmapped = rig.agent().request(&format!("write {} 65536 92", place + MIB));
        let long = rig.agent().request(&format!("write {} {LONG} 93", places.base));
        let failed = rig.agent().memory()?.failed;
        rig.agent().fail_allocations(0)?;
        expect(unmapped?, Outcome::Done, "a write without addresses")?;
        expect(long?, Outcome::Done, "a long write without addresses")?;
        ensure!(failed > 1, NotExercised, "data that cannot be mapped: {failed} mappings failed");
        let status = rig.status()?;
        let counted =
            |status: &Status| (status.writes_payload_unavailable, status.writes_uncaptured);
        let both = status.as_ref().map(counted) == Some((1, 1));
        ensure!(both, Rule, "LOSS: the session is {status:?}");
        Ok(())
    })
}

/// A trim of several ranges needs memory and is refused without; one of a single range needs none.
fn clear_without_memory(run: &mut Run<'_>, places: Places) -> Result<(), E2eError> {
    let (rig, place) = (&mut run.rig, places.between() + 4 * MIB);
    step(run.console, "trim without memory", |_| {
        rig.agent().fail_allocations(AllocationFailure::KERNEL)?;
        let before = rig.agent().counters()?.applied;
        let several = rig.agent().request(&format!("trim {place}+4096 {}+4096", place + MIB));
        let untouched = rig.agent().counters()?.applied == before;
        let single = rig.agent().request(&format!("trim {place}+65536"));
        rig.agent().fail_allocations(0)?;
        expect(several?, NO_SYSTEM_RESOURCES, "a trim of several ranges without memory")?;
        expect(single?, Outcome::Done, "a trim of one range without memory")?;
        ensure!(untouched, Rule, "CLEAR: a refused trim went down");
        Ok(())
    })
}

/// A request that the device refuses once is not sent again.
fn remember_a_refusal(run: &mut Run<'_>, places: Places) -> Result<(), E2eError> {
    let (rig, place) = (&mut run.rig, places.between() + 6 * MIB);
    step(run.console, "write zeros on a volume that refuses them", |_| {
        rig.agent().command(ioctl::SET_TRIM_SUPPORT, &ioctl::REFUSES_DATA_SET)?;
        let first = rig.agent().request(&format!("zero {place}+65536"))?;
        rig.agent().command(ioctl::SET_TRIM_SUPPORT, &0_u32)?;
        // The volume would take it now.
        let second = rig.agent().request(&format!("zero {place}+65536"))?;
        expect(first, INVALID_FUNCTION, "zeros that the volume refuses")?;
        expect(second, NOT_SUPPORTED, "zeros that the volume refused before")
    })
}

fn expect(ended: Outcome, want: Outcome, what: &str) -> Result<(), E2eError> {
    ensure!(ended == want, Rule, "{what} ended as {ended:?}, not {want:?}");
    Ok(())
}

fn exercised(last: &Status) -> Result<(), E2eError> {
    // Each of the two times: three requests in one, three, two and two pieces.
    let each = 2 * (1 + 3 + 2 + 2);
    // And once: one without memory, one that the volume refuses.
    let clearings = each + 2;
    // Half a sector, several ranges without memory, zeros that the volume refused before.
    let refused = FOREIGN.len() as u64 + 3;
    let (counted, expected) = ((last.clearings, last.requests_refused), (clearings, refused));
    ensure!(counted == expected, Rule, "clearings and refusals: {counted:?}, not {expected:?}");
    let held = last.writes_held > 0 && last.hold_longest_us >= 1000;
    ensure!(held, NotExercised, "the hold: nothing met an unsynced block");
    Ok(())
}
