//! A session's state and counters, and what they say: progress, rate, time left, holds.
//!
//! Rule: figures are derived from the driver's counters only, and only from what they can support:
//! a rate needs two instants, a time left needs a rate.

mod details;

use std::time::Duration;

use serde::Serialize;
use snapless_types::Seq;
use snapless_wire::id::FileTime;
use snapless_wire::ioctl::{HOLD_BUCKETS, SessionPhase, StatusReply};

use crate::error::{Call, DriverError};

pub use details::{Details, ReadFailure, special_files};

/// A session's state and its counters since t0. The fields are those of
/// [`StatusReply`], checked.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SessionStatus {
    /// Where the session stands.
    #[serde(serialize_with = "json::phase")]
    pub phase: SessionPhase,
    /// Bytes of a block.
    pub block_size: u32,
    /// Bytes of the volume.
    pub length: u64,
    /// The session's t0; `None` while starting.
    #[serde(rename = "t0_filetime", serialize_with = "json::time")]
    pub t0: Option<FileTime>,
    /// Blocks of the volume.
    pub blocks_total: u64,
    /// Blocks in state `Synced`.
    pub blocks_synced: u64,
    /// Blocks in state `Dirty`.
    pub blocks_dirty: u64,
    /// Blocks that the sweep captured.
    pub blocks_by_sweep: u64,
    /// Blocks that were captured because a write was waiting for them.
    pub blocks_by_hold: u64,
    /// Blocks that the disk could not read.
    pub blocks_unreadable: u64,
    /// Writes that were issued on their caller's thread.
    pub writes_passed: u64,
    /// Writes that were held and then issued.
    pub writes_held: u64,
    /// Writes that are held now.
    pub writes_holding: u64,
    /// Writes that went through uncaptured.
    pub writes_uncaptured: u64,
    /// Longest hold so far, in microseconds.
    pub hold_longest_us: u64,
    /// Payload bytes captured.
    pub bytes_captured: u64,
    /// Bytes handed to the service, with headers.
    pub bytes_drained: u64,
    /// Payload bytes in the queue now.
    pub queue_used: u64,
    /// Bytes of the queue.
    pub queue_bytes: u64,
    /// Gaps so far.
    pub gaps: u64,
    /// Last record that the driver numbered.
    #[serde(serialize_with = "json::seq")]
    pub last_seq: Seq,
    /// Last record at the time of the last acknowledged epoch.
    #[serde(serialize_with = "json::seq")]
    pub acknowledged_seq: Seq,
    /// How long writes were held.
    pub hold_histogram: HoldHistogram,
    /// What drivers say since version 2; `None` from an older one.
    #[serde(flatten)]
    pub details: Option<Details>,
}

impl SessionStatus {
    /// Checks the answer of a driver that speaks `version`.
    ///
    /// # Errors
    /// [`DriverError::Answer`] for an unknown phase or more blocks synced than there are.
    pub fn parse(version: u32, reply: &StatusReply) -> Result<Self, DriverError> {
        let bad = |why: String| DriverError::answer(Call::Status, why);
        let number = reply.phase.get();
        let phase = SessionPhase::from_wire(number)
            .filter(|phase| *phase != SessionPhase::None)
            .ok_or_else(|| bad(format!("a session cannot be in phase {number}")))?;
        let (synced, total) = (reply.blocks_synced.get(), reply.blocks_total.get());
        if synced > total {
            return Err(bad(format!("{synced} of {total} blocks are synced")));
        }
        Ok(Self {
            phase,
            block_size: reply.block_size.get(),
            length: reply.length.get(),
            t0: Some(reply.t0).filter(|t0| t0.get() > 0),
            blocks_total: total,
            blocks_synced: synced,
            blocks_dirty: reply.blocks_dirty.get(),
            blocks_by_sweep: reply.blocks_by_sweep.get(),
            blocks_by_hold: reply.blocks_by_hold.get(),
            blocks_unreadable: reply.blocks_unreadable.get(),
            writes_passed: reply.writes_passed.get(),
            writes_held: reply.writes_held.get(),
            writes_holding: reply.writes_holding.get(),
            writes_uncaptured: reply.writes_uncaptured.get(),
            hold_longest_us: reply.hold_longest_us.get(),
            bytes_captured: reply.bytes_captured.get(),
            bytes_drained: reply.bytes_drained.get(),
            queue_used: reply.queue_used.get(),
            queue_bytes: reply.queue_bytes.get(),
            gaps: reply.gaps.get(),
            last_seq: reply.last_seq.get(),
            acknowledged_seq: reply.acknowledged_seq.get(),
            hold_histogram: HoldHistogram(reply.hold_histogram.map(zerocopy::U64::get)),
            details: (version >= 2).then(|| Details::of(reply)),
        })
    }

    /// The share of blocks that are synced, 0 to 1.
    pub fn progress(&self) -> f64 {
        if self.blocks_total == 0 {
            return 0.0;
        }
        to_f64(self.blocks_synced) / to_f64(self.blocks_total)
    }

    /// Bytes of the volume that are still to be synced.
    pub fn bytes_left(&self) -> u64 {
        let left = (self.blocks_total - self.blocks_synced).saturating_mul(self.block_size.into());
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
        Rate::of(self.blocks_synced * u64::from(self.block_size), elapsed)
    }

    /// The rate from `earlier` to this status, taken `elapsed` later.
    pub fn rate_since(&self, earlier: &Self, elapsed: Duration) -> Option<Rate> {
        let blocks = self.blocks_synced.checked_sub(earlier.blocks_synced)?;
        Rate::of(blocks * u64::from(self.block_size), elapsed)
    }

    /// How long the rest of the sync takes at `rate`; `None` if nothing is being synced.
    pub fn time_left(&self, rate: Rate) -> Option<Duration> {
        let seconds = to_f64(self.bytes_left()) / rate.0;
        self.is_syncing().then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
    }
}

/// A phase as scripts and people read it.
pub fn phase_name(phase: SessionPhase) -> &'static str {
    match phase {
        SessionPhase::None => "none",
        SessionPhase::Starting => "starting",
        SessionPhase::FirstSync => "first_sync",
        SessionPhase::Live => "live",
        SessionPhase::Gap => "gap",
        SessionPhase::Resync => "resync",
        SessionPhase::Detached => "detached",
        SessionPhase::Failed => "failed",
    }
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

/// How long writes were held: bucket `i` counts holds of 2^i to 2^(i+1) microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct HoldHistogram(pub [u64; HOLD_BUCKETS]);

impl HoldHistogram {
    /// Holds counted.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// The median hold in microseconds, as exact as the buckets allow: the place within the bucket is
    /// interpolated. `None` if no write was held.
    pub fn median_us(&self) -> Option<u64> {
        let count = self.count();
        let middle = count.checked_sub(1)? / 2;
        let mut before = 0_u64;
        for (bucket, &holds) in self.0.iter().enumerate() {
            if before.saturating_add(holds) <= middle {
                before = before.saturating_add(holds);
                continue;
            }
            let width = 1_u128 << bucket;
            let inside = u128::from(middle - before) * width / u128::from(holds);
            return u64::try_from(width + inside).ok();
        }
        None
    }
}

/// Counters and rates are shown with three or four digits: 52 bits are plenty.
#[allow(clippy::cast_precision_loss)]
fn to_f64(value: u64) -> f64 {
    value as f64
}

/// The JSON forms of the fields whose types know no serde.
// serde hands every field over by reference.
#[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref)]
mod json {
    use super::{FileTime, Seq, Serialize, SessionPhase, phase_name};
    use serde::Serializer;

    pub(super) fn phase<S: Serializer>(phase: &SessionPhase, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(phase_name(*phase))
    }

    pub(super) fn time<S: Serializer>(time: &Option<FileTime>, to: S) -> Result<S::Ok, S::Error> {
        time.map(FileTime::get).serialize(to)
    }

    pub(super) fn seq<S: Serializer>(seq: &Seq, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(seq.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_wire::ioctl::ABI_VERSION;
    use zerocopy::FromZeros;
    use zerocopy::little_endian::{U32, U64};

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
        let status = SessionStatus::parse(ABI_VERSION, &reply()).unwrap();
        assert!((status.progress() - 0.25).abs() < 1e-9);
        assert_eq!(status.bytes_left(), 75 * 65_536);
        let now = FileTime::new(1_000 + 5 * FileTime::TICKS_PER_SECOND);
        let rate = status.mean_rate(now).unwrap();
        assert!((rate.bytes_per_second() - 5.0 * 65_536.0).abs() < 1e-6);
        assert_eq!(status.time_left(rate), Some(Duration::from_secs(15)));
    }

    #[test]
    fn what_the_counters_cannot_support_is_not_said() {
        let mut start = reply();
        start.t0 = FileTime::new(0);
        let status = SessionStatus::parse(ABI_VERSION, &start).unwrap();
        assert_eq!(status.mean_rate(FileTime::new(5_000)), None);
        assert_eq!(status.rate_since(&status, Duration::from_secs(1)), None);
        assert_eq!(status.hold_histogram.median_us(), None);
        let live = SessionStatus { phase: SessionPhase::Live, ..status };
        assert_eq!(live.time_left(Rate(1.0)), None);
    }

    #[test]
    fn an_impossible_answer_is_refused() {
        let mut phase = reply();
        phase.phase = U32::new(42);
        assert!(SessionStatus::parse(ABI_VERSION, &phase).is_err());
        let mut blocks = reply();
        blocks.blocks_synced = U64::new(101);
        assert!(SessionStatus::parse(ABI_VERSION, &blocks).is_err());
    }

    #[test]
    fn the_median_hold_lies_in_its_bucket() {
        let mut holds = HoldHistogram([0; HOLD_BUCKETS]);
        holds.0[3] = 1;
        assert_eq!(holds.median_us(), Some(8));
        holds.0[10] = 10;
        let median = holds.median_us().unwrap();
        assert!((1024..2048).contains(&median), "{median}");
        holds.0 = [0; HOLD_BUCKETS];
        holds.0[HOLD_BUCKETS - 1] = u64::MAX;
        assert!(holds.median_us().unwrap() >= 1 << (HOLD_BUCKETS - 1));
    }

    #[test]
    fn the_json_names_are_those_that_scripts_read() {
        let status = SessionStatus::parse(ABI_VERSION, &reply()).unwrap();
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(json["phase"], "first_sync");
        assert_eq!(json["t0_filetime"], 1_000);
        assert_eq!(json["blocks_synced"], 25);
        assert_eq!(json["hold_histogram"].as_array().unwrap().len(), HOLD_BUCKETS);
        assert_eq!((&json["paused"], &json["outgrown"]), (&false.into(), &false.into()));
        assert_eq!(json["blocks_unallocated"], 0);
    }

    #[test]
    fn an_older_driver_says_nothing_of_what_it_does_not_know() {
        let status = SessionStatus::parse(1, &reply()).unwrap();
        assert_eq!(status.details, None);
        let json = serde_json::to_value(&status).unwrap();
        assert!(json.get("paused").is_none() && json["blocks_synced"] == 25);
    }
}
