//! The counters of a session: listed once, used by the engine, the driver's reply, JSON and text.
//!
//! [`session_counters!`](crate::session_counters) is the list. A new counter is one line there, and
//! the place that counts it.

/// Calls the macro `$callback` with the list of a session's counters.
///
/// Each entry has the counter's documentation, its name (which is also its name in JSON), the group
/// that it is shown in, and its text for people: what follows the number. An empty text means that
/// the counter is not listed, or that the program shows it in its own words.
#[macro_export]
macro_rules! session_counters {
    ($callback:ident) => {
        $callback! {
            /// Blocks of the volume.
            blocks_total: Blocks, "";
            /// Blocks that the stream describes.
            blocks_synced: Blocks, "";
            /// Blocks to be read for the base image, those being read included.
            blocks_unsynced: Blocks, "";
            /// Blocks to be read again after a gap, those being read included.
            blocks_dirty: Blocks, "blocks dirty";
            /// Blocks that the sweep captured.
            blocks_by_sweep: Blocks, "";
            /// Blocks captured because a write waited for them.
            blocks_by_hold: Blocks, "";
            /// Blocks that no file had, or that held no data, and that were not read.
            blocks_unallocated: Blocks, "blocks unused, not copied";
            /// Blocks that were a paging, swap or hibernation file's and were not read.
            blocks_excluded: Blocks, "blocks of paging files";
            /// Blocks that the disk could not read.
            blocks_unreadable: Blocks, "blocks unreadable";
            /// Writes captured and issued on their caller's thread.
            writes_captured_inline: Writes, "";
            /// Writes held, captured and issued.
            writes_held: Writes, "";
            /// Writes held now.
            writes_holding: Writes, "";
            /// Writes in flight below now.
            writes_in_flight: Writes, "";
            /// Writes issued uncaptured.
            writes_uncaptured: Writes, "uncaptured";
            /// Writes that must not wait, such as those to a paging file.
            writes_urgent: Writes, "";
            /// Writes that arrived in a cut and did not wait for its end.
            writes_past_cut: Writes, "";
            /// Writes to paging files that went past the session, their content being a don't-care.
            writes_excluded: Writes, "";
            /// Writes whose data could not be mapped or read.
            writes_payload_unavailable: Writes, "";
            /// Held writes that their application cancelled.
            writes_cancelled: Writes, "cancelled while held";
            /// Writes, trims and writes of zeros that failed or were cancelled below.
            writes_failed: Writes, "";
            /// Trims and writes of zeros issued.
            clearings: Writes, "trimmed or zeroed";
            /// Requests refused because they change the volume in a way that the stream cannot
            /// describe.
            requests_refused: Writes, "refused";
            /// Reads that failed.
            reads_failed: Reads, "";
            /// Those of them that failed for a reason that may pass: they are repeated.
            reads_put_off: Reads, "";
            /// Payload bytes captured.
            bytes_captured: Queue, "";
            /// Bytes handed to the service, with headers.
            bytes_drained: Queue, "";
            /// Payload bytes in the queue now.
            queue_used: Queue, "";
            /// Payload bytes of records that were drained and are kept until they are acknowledged.
            queue_kept: Queue, "";
            /// Records that were not kept until they were acknowledged: their room was needed.
            records_given_up: Queue, "";
            /// Payload bytes that the queue takes.
            queue_bytes: Queue, "";
            /// Gaps so far.
            gaps: Blocks, "gap(s)";
            /// Bytes of the volume that the verification has come past, or the last one had.
            verify_position: Blocks, "";
            /// Bytes that it has read and put into the stream.
            verify_read: Blocks, "";
            /// Bytes that it has passed over: writes kept them from being read, or a read failed.
            verify_passed_over: Blocks, "";
            /// Bytes of paging, swap and hibernation files, which are not verified.
            verify_excluded: Blocks, "";
            /// Verifications that have come to the end of the volume.
            verify_passes: Blocks, "";
        }
    };
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident: $group:ident, $text:literal;)*) => {
        /// A session's counters at one instant, since it was made.
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        pub struct SessionCounters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl SessionCounters {
            /// Every counter, in the order of the list.
            pub fn iter(&self) -> impl Iterator<Item = Counter> {
                [$(Counter {
                    name: stringify!($name),
                    group: CounterGroup::$group,
                    text: $text,
                    value: self.$name,
                }),*].into_iter()
            }
        }
    };
}
session_counters!(counters);

/// One counter of [`SessionCounters`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counter {
    /// Its name, in JSON and in code.
    pub name: &'static str,
    /// The group that it is shown in.
    pub group: CounterGroup,
    /// What follows the number in a text for people; empty if it is not listed.
    pub text: &'static str,
    /// The number.
    pub value: u64,
}

/// What a counter is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CounterGroup {
    /// Blocks and how far they are captured.
    Blocks,
    /// Requests of applications.
    Writes,
    /// The session's own reads.
    Reads,
    /// The capture queue and the stream.
    Queue,
}

/// Buckets of [`HoldTimes`].
pub const HOLD_BUCKETS: usize = 32;

/// How long writes were held.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HoldTimes {
    /// Bucket `i` counts holds of 2^i to 2^(i+1) microseconds; the first also shorter ones, the
    /// last also longer ones.
    pub buckets: [u64; HOLD_BUCKETS],
    /// The longest, in microseconds.
    pub longest_us: u64,
}

impl HoldTimes {
    /// Counts a hold of `us` microseconds.
    pub fn add(&mut self, us: u64) {
        let bucket = us.max(1).ilog2() as usize;
        if let Some(count) = self.buckets.get_mut(bucket.min(HOLD_BUCKETS - 1)) {
            *count = count.wrapping_add(1);
        }
        self.longest_us = self.longest_us.max(us);
    }

    /// Holds counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// The median hold in microseconds, interpolated within its bucket; `None` if no write was
    /// held.
    pub fn median_us(&self) -> Option<u64> {
        let middle = self.count().checked_sub(1)? / 2;
        let mut before = 0_u64;
        for (bucket, &holds) in self.buckets.iter().enumerate() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_listed_with_its_name_and_value() {
        let counters = SessionCounters { blocks_total: 7, gaps: 9, ..SessionCounters::default() };
        let named = |name| counters.iter().find(|counter| counter.name == name).unwrap();
        assert_eq!(named("blocks_total").value, 7);
        let gaps = named("gaps");
        assert_eq!((gaps.value, gaps.group, gaps.text), (9, CounterGroup::Blocks, "gap(s)"));
        assert_eq!(counters.iter().count() * 8, size_of::<SessionCounters>());
    }

    #[test]
    fn hold_times_fall_into_their_power_of_two() {
        let mut holds = HoldTimes::default();
        for us in [0, 1, 2, 3, 4, 1000, u64::MAX / 10] {
            holds.add(us);
        }
        assert_eq!(holds.buckets[..3], [2, 2, 1]);
        assert_eq!((holds.buckets[9], holds.buckets[31]), (1, 1));
        assert_eq!(holds.longest_us, u64::MAX / 10);
        assert_eq!(holds.count(), 7);
    }

    #[test]
    fn the_median_hold_lies_in_its_bucket() {
        let mut holds = HoldTimes::default();
        assert_eq!(holds.median_us(), None);
        holds.buckets[3] = 1;
        assert_eq!(holds.median_us(), Some(8));
        holds.buckets[10] = 10;
        let median = holds.median_us().unwrap();
        assert!((1024..2048).contains(&median), "{median}");
        holds.buckets = [0; HOLD_BUCKETS];
        holds.buckets[HOLD_BUCKETS - 1] = u64::MAX;
        assert!(holds.median_us().unwrap() >= 1 << (HOLD_BUCKETS - 1));
    }
}
