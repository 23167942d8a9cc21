//! A session's state and counters, and what follows from them: progress, rate, time left.
//!
//! Rule: figures are derived from the driver's counters only, and only from what they can support:
//! a rate needs two instants, a time left needs a rate.

use std::time::Duration;

use serde::Serialize;
use snapless_types::{GapReason, HoldTimes, Seq, SessionCounters};
use snapless_wire::id::FileTime;
use snapless_wire::ioctl::{
    LogPhase, Protection, SPECIAL_FILE_DUMP, SPECIAL_FILE_HIBERNATION, SPECIAL_FILE_PAGING,
    SessionPhase, StatusFlags, StatusReply,
};

use crate::error::{Call, DriverError};

/// A session's state and its counters: a [`StatusReply`], checked.
#[derive(Clone, PartialEq, Debug, Serialize)]
// Each flag is independent of the others.
#[allow(clippy::struct_excessive_bools)]
pub struct SessionStatus {
    /// Where the session stands.
    #[serde(serialize_with = "json::phase")]
    pub phase: SessionPhase,
    /// Bytes of a block.
    pub block_size: u32,
    /// Bytes of the volume.
    pub length: u64,
    /// The session's t0, or when one that continues began to; `None` while starting.
    #[serde(rename = "t0_filetime", serialize_with = "json::time")]
    pub t0: Option<FileTime>,
    /// Last record of the stream.
    #[serde(serialize_with = "json::seq")]
    pub last_seq: Seq,
    /// Last record of the newest acknowledged epoch.
    #[serde(serialize_with = "json::seq")]
    pub acknowledged_seq: Seq,
    /// What the wall clock showed when no record past `last_seq` had been captured.
    #[serde(skip)]
    pub time: FileTime,
    /// The same of the clock that is never set, in ticks of 100 ns.
    #[serde(skip)]
    pub monotonic: u64,
    /// The sweep is paused.
    pub paused: bool,
    /// The volume has grown past the session's table.
    pub outgrown: bool,
    /// The volume has become shorter than the session's table.
    pub shrunk: bool,
    /// The base image is complete in the stream.
    pub base_complete: bool,
    /// The stream describes the volume: there is no gap.
    pub consistent: bool,
    /// The session continues one of an earlier start: every block is compared.
    pub continues: bool,
    /// The numbers of its records are known.
    #[serde(skip)]
    pub placed: bool,
    /// What the session continues with; `None` if it was verified from the start, or is a new one.
    pub saved: Option<Saved>,
    /// How the volume's write-intent log stands; `None` for a phase of a newer driver.
    #[serde(serialize_with = "json::log")]
    pub log: Option<LogPhase>,
    /// Slots of it that were written since its driver was loaded.
    pub log_slots: u64,
    /// Requests that waited until the log had their regions.
    pub log_waits: u64,
    /// The longest time that one waited for that, in microseconds.
    pub log_longest_us: u64,
    /// A verification of the copy is under way.
    pub verifying: bool,
    /// Why the present gap began, or else the last one; `None` if there was none, or for a reason
    /// of a newer driver.
    #[serde(serialize_with = "json::gap_reason")]
    pub gap_reason: Option<GapReason>,
    /// Whether the volume can still be protected; `None` for a reason of a newer driver.
    #[serde(serialize_with = "json::protection")]
    pub protection: Option<Protection>,
    /// The last read that failed.
    pub read_failure: Option<ReadFailure>,
    /// Special files on the volume: `paging`, `hibernation`, `dump`.
    pub special_files: Vec<&'static str>,
    /// How long writes were held.
    #[serde(flatten, serialize_with = "json::holds")]
    pub holds: HoldTimes,
    /// The counters, each under its own name.
    #[serde(flatten, serialize_with = "json::counters")]
    pub counters: SessionCounters,
}

/// A state that was saved when the machine went down. It holds if the server's last record is one
/// of `acknowledged` to `captured`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Saved {
    /// Last record of the newest acknowledged epoch then.
    #[serde(serialize_with = "json::seq")]
    pub acknowledged: Seq,
    /// Last record of the stream then.
    #[serde(serialize_with = "json::seq")]
    pub captured: Seq,
    /// Bytes that the server may lack: they are read.
    pub bytes: u64,
    /// The machine has crashed: it is what the write-intent log had then.
    pub after_crash: bool,
}

/// A read that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct ReadFailure {
    /// Where it began on the volume, in bytes.
    pub offset: u64,
    /// The `NTSTATUS` that it ended with.
    pub status: u32,
}

impl SessionStatus {
    /// Checks the driver's answer.
    ///
    /// # Errors
    /// [`DriverError::Answer`] for an unknown phase or more blocks synced than there are.
    pub fn parse(reply: &StatusReply) -> Result<Self, DriverError> {
        let bad = |why: String| DriverError::answer(Call::Status, why);
        let number = reply.phase.get();
        let phase = SessionPhase::from_wire(number)
            .filter(|phase| *phase != SessionPhase::None)
            .ok_or_else(|| bad(format!("a session cannot be in phase {number}")))?;
        let counters = reply.counters();
        let (synced, total) = (counters.blocks_synced, counters.blocks_total);
        if synced > total {
            return Err(bad(format!("{synced} of {total} blocks are synced")));
        }
        let flags = StatusFlags::from_wire(reply.flags.get());
        let failure = ReadFailure {
            offset: reply.read_failed_offset.get(),
            status: reply.read_failed_status.get(),
        };
        let saved = Saved {
            acknowledged: reply.saved_acknowledged_seq.get(),
            captured: reply.saved_captured_seq.get(),
            bytes: reply.saved_bytes.get(),
            after_crash: reply.saved.get() == 2,
        };
        if saved.acknowledged > saved.captured || saved.bytes > reply.length.get() {
            return Err(bad(format!("a state cannot be {saved:?}")));
        }
        Ok(Self {
            phase,
            block_size: reply.block_size.get(),
            length: reply.length.get(),
            t0: Some(reply.t0).filter(|t0| t0.get() > 0),
            last_seq: reply.last_seq.get(),
            acknowledged_seq: reply.acknowledged_seq.get(),
            time: reply.time,
            monotonic: reply.monotonic.get(),
            paused: flags.paused,
            outgrown: flags.outgrown,
            shrunk: flags.shrunk,
            base_complete: flags.base_complete,
            consistent: flags.consistent,
            continues: flags.continues,
            placed: flags.placed,
            saved: (reply.saved.get() != 0).then_some(saved),
            log: LogPhase::from_wire(reply.log.get()),
            log_slots: reply.log_slots.get(),
            log_waits: reply.log_waits.get(),
            log_longest_us: reply.log_longest_us.get(),
            verifying: flags.verifying,
            gap_reason: reply.gap_reason(),
            protection: Protection::from_wire(reply.protection.get()),
            read_failure: (failure.status != 0).then_some(failure),
            special_files: special_files(reply.special_files.get()),
            holds: reply.holds(),
            counters,
        })
    }

    /// The share of blocks that are synced, 0 to 1.
    pub fn progress(&self) -> f64 {
        if self.counters.blocks_total == 0 {
            return 0.0;
        }
        to_f64(self.counters.blocks_synced) / to_f64(self.counters.blocks_total)
    }

    /// Bytes of the volume that are still to be synced.
    pub fn bytes_left(&self) -> u64 {
        let left = (self.counters.blocks_total - self.counters.blocks_synced)
            .saturating_mul(self.block_size.into());
        left.min(self.length)
    }

    /// True while blocks are being synced, so that a rate and a time left make sense.
    pub fn is_syncing(&self) -> bool {
        matches!(self.phase, SessionPhase::FirstSync | SessionPhase::Resync)
    }

    /// The mean rate since t0, if `now` is after it.
    pub fn mean_rate(&self, now: FileTime) -> Option<Rate> {
        let ticks = now.get().checked_sub(self.t0?.get())?;
        let elapsed = Duration::from_nanos(ticks.checked_mul(100)?);
        Rate::of(self.counters.blocks_synced * u64::from(self.block_size), elapsed)
    }

    /// The rate from `earlier` to this status, taken `elapsed` later.
    pub fn rate_since(&self, earlier: &Self, elapsed: Duration) -> Option<Rate> {
        let blocks = self.counters.blocks_synced.checked_sub(earlier.counters.blocks_synced)?;
        Rate::of(blocks * u64::from(self.block_size), elapsed)
    }

    /// How long the rest of the sync takes at `rate`; `None` if nothing is being synced.
    pub fn time_left(&self, rate: Rate) -> Option<Duration> {
        let seconds = to_f64(self.bytes_left()) / rate.0;
        self.is_syncing().then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
    }
}

/// The names of the special files of these bits.
pub fn special_files(bits: u32) -> Vec<&'static str> {
    [
        (SPECIAL_FILE_PAGING, "paging"),
        (SPECIAL_FILE_HIBERNATION, "hibernation"),
        (SPECIAL_FILE_DUMP, "dump"),
    ]
    .into_iter()
    .filter_map(|(bit, name)| (bits & bit != 0).then_some(name))
    .collect()
}

/// Bytes per second, more than zero.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
pub struct Rate(f64);

impl Rate {
    /// The rate of `bytes` in `elapsed`; `None` if either is zero.
    pub fn of(bytes: u64, elapsed: Duration) -> Option<Self> {
        let sound = bytes > 0 && !elapsed.is_zero();
        sound.then(|| Self(to_f64(bytes) / elapsed.as_secs_f64()))
    }

    /// The plain number.
    pub fn bytes_per_second(self) -> f64 {
        self.0
    }
}

/// Counters and rates are shown with three or four digits: 52 bits are plenty.
#[allow(clippy::cast_precision_loss)]
fn to_f64(value: u64) -> f64 {
    value as f64
}

/// The JSON forms of the fields whose types do not know serde.
// serde hands every field over by reference.
#[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref)]
mod json {
    use serde::{Serialize, Serializer};
    use snapless_types::{GapReason, HOLD_BUCKETS, HoldTimes, Seq, SessionCounters};
    use snapless_wire::id::FileTime;
    use snapless_wire::ioctl::{LogPhase, Protection, SessionPhase};

    pub(super) fn phase<S: Serializer>(phase: &SessionPhase, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(phase.name())
    }

    pub(super) fn time<S: Serializer>(time: &Option<FileTime>, to: S) -> Result<S::Ok, S::Error> {
        time.map(FileTime::get).serialize(to)
    }

    pub(super) fn seq<S: Serializer>(seq: &Seq, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(seq.get())
    }

    pub(super) fn gap_reason<S: Serializer>(
        reason: &Option<GapReason>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        reason.map(GapReason::name).serialize(to)
    }

    pub(super) fn log<S: Serializer>(log: &Option<LogPhase>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(log.map_or("unknown", LogPhase::name))
    }

    pub(super) fn protection<S: Serializer>(
        protection: &Option<Protection>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(protection.map_or("unknown", Protection::name))
    }

    pub(super) fn holds<S: Serializer>(holds: &HoldTimes, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json<'a> {
            hold_longest_us: u64,
            hold_histogram: &'a [u64; HOLD_BUCKETS],
        }
        Json { hold_longest_us: holds.longest_us, hold_histogram: &holds.buckets }.serialize(to)
    }

    pub(super) fn counters<S: Serializer>(
        counters: &SessionCounters,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_map(counters.iter().map(|counter| (counter.name, counter.value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;
    use zerocopy::little_endian::{U16, U32, U64};

    fn reply() -> StatusReply {
        let mut reply = StatusReply::new_zeroed();
        reply.phase = U32::new(SessionPhase::FirstSync as u32);
        reply.block_size = U32::new(65_536);
        reply.length = U64::new(100 * 65_536);
        reply.blocks_total = U64::new(100);
        reply.blocks_synced = U64::new(25);
        reply.t0 = FileTime::new(1_000);
        reply
    }

    #[test]
    fn progress_and_time_left_follow_from_blocks_and_rate() {
        let status = SessionStatus::parse(&reply()).unwrap();
        assert!((status.progress() - 0.25).abs() < 1e-9);
        assert_eq!(status.bytes_left(), 75 * 65_536);
        let now = FileTime::new(1_000 + 5 * FileTime::TICKS_PER_SECOND);
        let rate = status.mean_rate(now).unwrap();
        assert!((rate.bytes_per_second() - 5.0 * 65_536.0).abs() < 1e-6);
        assert_eq!(status.time_left(rate), Some(Duration::from_secs(15)));
    }

    #[test]
    fn a_statement_without_support_in_the_counters_is_left_out() {
        let mut start = reply();
        start.t0 = FileTime::new(0);
        let status = SessionStatus::parse(&start).unwrap();
        assert_eq!(status.mean_rate(FileTime::new(5_000)), None);
        assert_eq!(status.rate_since(&status, Duration::from_secs(1)), None);
        assert_eq!(status.holds.median_us(), None);
        let live = SessionStatus { phase: SessionPhase::Live, ..status };
        assert_eq!(live.time_left(Rate(1.0)), None);
    }

    #[test]
    fn an_impossible_answer_is_refused() {
        let mut phase = reply();
        phase.phase = U32::new(42);
        assert!(SessionStatus::parse(&phase).is_err());
        let mut blocks = reply();
        blocks.blocks_synced = U64::new(101);
        assert!(SessionStatus::parse(&blocks).is_err());
    }

    #[test]
    fn the_json_names_are_those_that_scripts_read() {
        let status = SessionStatus::parse(&reply()).unwrap();
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(json["phase"], "first_sync");
        assert_eq!(json["t0_filetime"], 1_000);
        assert_eq!(json["blocks_synced"], 25);
        assert_eq!(json["hold_histogram"].as_array().unwrap().len(), snapless_types::HOLD_BUCKETS);
        assert_eq!((&json["paused"], &json["outgrown"]), (&false.into(), &false.into()));
        assert_eq!(json["blocks_unallocated"], 0);
    }

    #[test]
    fn flags_reasons_and_the_last_failure_are_read() {
        let mut reply = reply();
        let status = SessionStatus::parse(&reply).unwrap();
        assert_eq!((status.read_failure, status.gap_reason), (None, None));
        let flags = StatusFlags { paused: true, outgrown: true, ..StatusFlags::default() };
        reply.flags = U32::new(flags.to_wire());
        reply.gap_reason = U16::new(GapReason::ServiceLost.to_wire());
        reply.protection = U32::new(Protection::Excluded.to_wire());
        reply.writes_cancelled = U64::new(3);
        reply.read_failed_offset = U64::new(512);
        reply.read_failed_status = U32::new(0xc000_009c);
        reply.special_files = U32::new(SPECIAL_FILE_PAGING | SPECIAL_FILE_DUMP);
        let status = SessionStatus::parse(&reply).unwrap();
        assert!(status.paused && status.outgrown && !status.base_complete);
        assert_eq!(status.gap_reason, Some(GapReason::ServiceLost));
        assert_eq!(status.protection, Some(Protection::Excluded));
        assert_eq!(status.read_failure, Some(ReadFailure { offset: 512, status: 0xc000_009c }));
        assert_eq!(status.special_files, ["paging", "dump"]);
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(
            (&json["protection"], &json["writes_cancelled"], &json["gap_reason"]),
            (&"excluded".into(), &3.into(), &"service_lost".into())
        );
        reply.protection = U32::new(99);
        let newer = SessionStatus::parse(&reply).unwrap();
        assert_eq!(serde_json::to_value(newer).unwrap()["protection"], "unknown");
    }
}
