//! What the performance counters show, of a pipeline's report and the driver's status.
//!
//! Rule: what is not known is 0, but for the RPO, which is never shown as better than it is.

use std::time::Duration;

use snapless_driver_client::SessionStatus;

use super::sets::{ServiceValues, VolumeValues};
use crate::report::{Activity, Report};

/// Milliseconds in a second.
const MS: u64 = 1000;

impl VolumeValues {
    /// The values of a volume whose counters are that old. `status`: the driver's, if it has a
    /// session of the volume.
    pub fn of(report: &Report, age: Duration, status: Option<&SessionStatus>) -> Self {
        let rpo = report.latest_point_unix_ms.map(|ms| report.written_unix_ms.saturating_sub(ms));
        let of_service = Self {
            rpo_seconds: rpo.map_or(age.as_secs(), |ms| ms / MS),
            bytes_drained_per_second: report.bytes_drained,
            bytes_sent_per_second: report.bytes_sent,
            ..Self::default()
        };
        let Some(status) = status else { return of_service };
        let counters = &status.counters;
        let synced = percent(counters.blocks_synced, counters.blocks_total);
        Self {
            queue_bytes_used: counters.queue_used,
            queue_percent_used: percent(counters.queue_used, counters.queue_bytes),
            writes_held: counters.writes_holding,
            writes_held_per_second: counters.writes_held,
            gaps: counters.gaps,
            // Blocks that are read again after a gap do not undo it.
            first_sync_percent: if status.base_complete { 100 } else { synced.min(99) },
            unused_bytes: counters.blocks_unallocated.saturating_mul(status.block_size.into()),
            ..of_service
        }
    }
}

impl ServiceValues {
    /// The values of a service with these volumes, whose pipelines may send so many bytes per
    /// second.
    pub fn of(reports: &[Report], send_rate: Option<u64>) -> Self {
        let streaming = |report: &&Report| report.activity == Activity::Streaming;
        Self {
            volumes: reports.len() as u64,
            volumes_streaming: reports.iter().filter(streaming).count() as u64,
            send_rate_limit: send_rate.unwrap_or(0),
        }
    }
}

/// A share, rounded down; 0 of nothing.
fn percent(part: u64, whole: u64) -> u64 {
    let percent = u128::from(part) * 100 / u128::from(whole.max(1));
    u64::try_from(percent).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use snapless_types::SessionCounters;
    use snapless_wire::id::VolumeGuid;
    use snapless_wire::ioctl::{SessionPhase, StatusFlags, StatusReply};
    use zerocopy::FromZeros;
    use zerocopy::little_endian::U32;

    use super::*;
    use crate::counters::Counters;

    const AGE: Duration = Duration::from_millis(90_900);

    fn report() -> Report {
        let counters = Counters::new(VolumeGuid([1; 16]), "s:1");
        counters.drained(70);
        counters.sent(50);
        counters.report()
    }

    fn status(base_complete: bool, counters: &SessionCounters) -> SessionStatus {
        let mut reply = StatusReply::new_zeroed();
        reply.phase = U32::new(SessionPhase::FirstSync.to_wire());
        reply.block_size = U32::new(64 << 10);
        let flags = StatusFlags { base_complete, ..StatusFlags::default() };
        reply.flags = U32::new(flags.to_wire());
        SessionStatus { counters: *counters, ..SessionStatus::parse(&reply).unwrap() }
    }

    #[test]
    fn each_value_comes_from_its_place() {
        let counters = SessionCounters {
            blocks_total: 1000,
            blocks_synced: 255,
            blocks_unallocated: 5,
            writes_held: 7,
            writes_holding: 2,
            queue_used: 30,
            queue_bytes: 40,
            gaps: 3,
            ..SessionCounters::default()
        };
        let report =
            Report { latest_point_unix_ms: Some(10_000), written_unix_ms: 15_999, ..report() };
        let values = VolumeValues::of(&report, AGE, Some(&status(false, &counters)));
        assert_eq!(
            values,
            VolumeValues {
                rpo_seconds: 5,
                queue_bytes_used: 30,
                queue_percent_used: 75,
                writes_held: 2,
                writes_held_per_second: 7,
                gaps: 3,
                bytes_drained_per_second: 70,
                bytes_sent_per_second: 50,
                first_sync_percent: 25,
                unused_bytes: 5 * (64 << 10),
            }
        );
    }

    #[test]
    fn without_an_instant_to_restore_the_rpo_grows_with_the_time_of_service() {
        let values = VolumeValues::of(&report(), AGE, None);
        assert_eq!(values.rpo_seconds, 90);
        assert_eq!((values.bytes_sent_per_second, values.queue_bytes_used), (50, 0));
    }

    #[test]
    fn a_clock_that_was_set_back_gives_no_negative_rpo() {
        let report = Report { latest_point_unix_ms: Some(9), written_unix_ms: 8, ..report() };
        assert_eq!(VolumeValues::of(&report, AGE, None).rpo_seconds, 0);
    }

    #[test]
    fn a_first_sync_is_at_100_percent_only_when_it_is_complete_and_stays_there_after_a_gap() {
        let counters =
            SessionCounters { blocks_total: 10, blocks_synced: 10, ..SessionCounters::default() };
        let of = |complete, counters: &SessionCounters| {
            VolumeValues::of(&report(), AGE, Some(&status(complete, counters))).first_sync_percent
        };
        assert_eq!(of(false, &counters), 99);
        assert_eq!(of(true, &SessionCounters { blocks_synced: 4, ..counters }), 100);
        assert_eq!(of(false, &SessionCounters::default()), 0);
    }

    #[test]
    fn the_service_counts_its_volumes_and_those_that_stream() {
        let streaming = Report { activity: Activity::Streaming, ..report() };
        let values = ServiceValues::of(&[streaming, report()], Some(1 << 20));
        assert_eq!(
            values,
            ServiceValues { volumes: 2, volumes_streaming: 1, send_rate_limit: 1 << 20 }
        );
        assert_eq!(ServiceValues::of(&[], None), ServiceValues::default());
    }
}
