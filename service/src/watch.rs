//! What the stream of a session says that a person must know: the base image is complete, a gap begins or ends, the disk
//! could not read.
//!
//! The records say it, in the order in which it happened; why a gap began the driver's counters say.

use std::time::{Duration, Instant};

use snapless_driver_client::SessionStatus;
use snapless_types::RecordKind;
use snapless_wire::ioctl::SessionPhase;
use snapless_wire::record::RecordHeader;

use crate::event::Event;

/// Gaps that begin within this time of the last one that was told are logged only.
const GAP_INTERVAL: Duration = Duration::from_secs(60);
/// Unreadable parts that are told, at most.
const UNREADABLE_MAX: u32 = 32;

/// Watches the stream of one claim.
pub struct Watch<'a> {
    name: String,
    sector_size: u64,
    /// Asks the driver; `None` if it does not answer.
    status: &'a (dyn Fn() -> Option<SessionStatus> + Sync),
    tell: &'a (dyn Fn(Event, &str) + Sync),
    /// The first gap of a session that goes on is of the time when nobody claimed it.
    was_away: bool,
    before: Option<SessionStatus>,
    gap_told: Option<Instant>,
    in_told_gap: bool,
    unreadable: u32,
}

impl<'a> Watch<'a> {
    /// Watches the stream of volume `name`; `resumed` if the session began before.
    pub fn new(
        name: &str,
        sector_size: u32,
        resumed: bool,
        status: &'a (dyn Fn() -> Option<SessionStatus> + Sync),
        tell: &'a (dyn Fn(Event, &str) + Sync),
    ) -> Self {
        Self {
            name: name.to_owned(),
            sector_size: u64::from(sector_size.max(1)),
            status,
            tell,
            was_away: resumed,
            before: None,
            gap_told: None,
            in_told_gap: false,
            unreadable: 0,
        }
    }

    /// Looks at a record on its way to the server.
    pub fn see(&mut self, record: &RecordHeader) {
        match record.kind() {
            RecordKind::BaseComplete => self.say(Event::BaseComplete, "the base image is complete"),
            RecordKind::GapBegin => self.gap_began(),
            RecordKind::Consistent => {
                if std::mem::take(&mut self.in_told_gap) {
                    self.say(Event::GapEnded, "the gap has ended; points are restorable again");
                } else {
                    log::info!("{}: the gap has ended", self.name);
                }
            }
            RecordKind::Unreadable => self.unreadable(record.extent_offset(), record.extent_len()),
            _ => {}
        }
    }

    fn gap_began(&mut self) {
        let now = (self.status)();
        let why = self.reason(now.as_ref());
        if let Some(details) = &now {
            // Each says once more than a gap does.
            let outgrown = details.outgrown && !self.before.as_ref().is_some_and(|it| it.outgrown);
            let shrunk = details.shrunk && !self.before.as_ref().is_some_and(|it| it.shrunk);
            if outgrown {
                self.say(
                    Event::Outgrown,
                    "the volume has grown past what its session describes: no later point is kept. Stop \
                     the session with `snapless stop` and restart the service to begin a new one",
                );
            }
            if shrunk {
                self.say(
                    Event::Shrunk,
                    "the volume has become shorter than what its session describes. Stop the session with \
                     `snapless stop` and restart the service to begin a new one",
                );
            }
        }
        if now.is_some() {
            self.before = now;
        }
        self.was_away = false;
        if self.gap_told.is_some_and(|told| told.elapsed() < GAP_INTERVAL) {
            log::warn!("{}: another gap has begun: {why}", self.name);
            return;
        }
        (self.gap_told, self.in_told_gap) = (Some(Instant::now()), true);
        self.say(Event::GapBegan, &format!("a gap has begun: {why}"));
    }

    fn reason(&self, now: Option<&SessionStatus>) -> &'static str {
        let Some(now) = now else { return "the driver does not say why" };
        if self.was_away {
            return "the service was away, or the link was cut";
        }
        let none = Counts::default();
        let before = self.before.as_ref().map_or(none, Counts::of);
        let counts = Counts::of(now);
        match now {
            _ if now.outgrown => "the volume has grown past its session",
            _ if counts.failed > before.failed => "the disk failed a write",
            _ if counts.unreachable > before.unreachable => {
                "the data of a write could not be reached"
            }
            _ if now.phase == SessionPhase::Gap => {
                "the queue stayed full past the hold limit: server or link are too slow"
            }
            _ if counts.urgent > before.urgent => {
                "a write to a paging file could not be captured at once"
            }
            _ => "writes could not be captured in time",
        }
    }

    fn unreadable(&mut self, offset: u64, len: u64) {
        self.unreadable = self.unreadable.saturating_add(1);
        let (first, count) = (offset / self.sector_size, len.div_ceil(self.sector_size));
        let text = format!(
            "the disk could not read {len} bytes at {offset} (sector {first}, {count} of them): a replica \
             has zeros there"
        );
        if self.unreadable > UNREADABLE_MAX {
            log::warn!("{}: {text}", self.name);
        } else {
            self.say(Event::Unreadable, &text);
        }
    }

    fn say(&self, event: Event, text: &str) {
        (self.tell)(event, &format!("{}: {text}", self.name));
    }
}

/// The counters that tell reasons apart.
#[derive(Clone, Copy, Default)]
struct Counts {
    failed: u64,
    unreachable: u64,
    urgent: u64,
}

impl Counts {
    fn of(status: &SessionStatus) -> Self {
        Self {
            failed: status.counters.writes_failed,
            unreachable: status.counters.writes_payload_unavailable,
            urgent: status.counters.writes_urgent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_types::{EpochId, GapReason, Seq};
    use snapless_wire::id::FileTime;
    use snapless_wire::ioctl::{StatusFlags, StatusReply};
    use snapless_wire::record::Position;
    use std::sync::Mutex;
    use zerocopy::FromZeros;
    use zerocopy::little_endian::{U32, U64};

    const AT: Position =
        Position { seq: Seq::new(1), time: FileTime::new(1), epoch: EpochId::new(1) };

    fn marker(kind: RecordKind) -> RecordHeader {
        match kind {
            RecordKind::GapBegin => RecordHeader::gap_begin(AT, GapReason::QueueFull),
            _ => RecordHeader::marker(kind, AT).unwrap(),
        }
    }

    fn status(phase: SessionPhase, change: impl FnOnce(&mut StatusReply)) -> SessionStatus {
        let mut reply = StatusReply::new_zeroed();
        reply.phase = U32::new(phase as u32);
        change(&mut reply);
        SessionStatus::parse(&reply).unwrap()
    }

    /// What is told of `records` while the driver answers `status`.
    fn told(
        resumed: bool,
        status: &SessionStatus,
        records: &[RecordHeader],
    ) -> Vec<(Event, String)> {
        let told = Mutex::new(Vec::new());
        let tell = |event, text: &str| told.lock().unwrap().push((event, text.to_owned()));
        let ask = || Some(status.clone());
        let mut watch = Watch::new("{guid}", 512, resumed, &ask, &tell);
        for record in records {
            watch.see(record);
        }
        told.into_inner().unwrap()
    }

    #[test]
    fn markers_are_events_and_other_records_are_not() {
        let live = status(SessionPhase::Live, |_| ());
        let write = RecordHeader::extent(RecordKind::Write, AT, 0, 512).unwrap();
        let records = [marker(RecordKind::SessionStart), write, marker(RecordKind::BaseComplete)];
        let events = told(false, &live, &records);
        assert_eq!(
            events,
            [(Event::BaseComplete, "{guid}: the base image is complete".to_owned())]
        );
    }

    #[test]
    fn a_gap_has_a_reason_and_an_end() {
        let cases: [(bool, SessionStatus, &str); 5] = [
            (false, status(SessionPhase::Gap, |_| ()), "too slow"),
            (
                false,
                status(SessionPhase::Resync, |it| it.writes_failed = U64::new(1)),
                "disk failed",
            ),
            (false, status(SessionPhase::Resync, |it| it.writes_urgent = U64::new(1)), "paging"),
            (
                false,
                status(SessionPhase::Resync, |it| it.writes_payload_unavailable = U64::new(1)),
                "reached",
            ),
            (true, status(SessionPhase::Resync, |_| ()), "away"),
        ];
        let gap = [marker(RecordKind::GapBegin), marker(RecordKind::Consistent)];
        for (resumed, status, why) in cases {
            let events = told(resumed, &status, &gap);
            assert_eq!(events.len(), 2, "{events:?}");
            assert!(events[0].0 == Event::GapBegan && events[0].1.contains(why), "{events:?}");
            assert_eq!(events[1].0, Event::GapEnded);
        }
    }

    #[test]
    fn gaps_close_together_are_told_once() {
        let gap = status(SessionPhase::Gap, |_| ());
        let records = [RecordKind::GapBegin, RecordKind::Consistent].map(marker);
        let many: Vec<_> = records.iter().cycle().take(8).copied().collect();
        assert_eq!(told(false, &gap, &many).len(), 2);
    }

    #[test]
    fn a_volume_that_has_grown_is_told_once() {
        let outgrown = StatusFlags { outgrown: true, ..StatusFlags::default() };
        let grown = status(SessionPhase::Resync, |it| it.flags = U32::new(outgrown.to_wire()));
        let events = told(false, &grown, &[RecordKind::GapBegin; 3].map(marker));
        let kinds: Vec<_> = events.iter().map(|(event, _)| *event).collect();
        assert_eq!(kinds, [Event::Outgrown, Event::GapBegan]);
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_sector_but_not_for_ever() {
        let live = status(SessionPhase::FirstSync, |_| ());
        let bad = RecordHeader::extent(RecordKind::Unreadable, AT, 5120, 1024).unwrap();
        let events = told(false, &live, &[bad; 40]);
        assert_eq!(events.len(), 32);
        assert!(events[0].1.contains("sector 10, 2 of them"), "{events:?}");
    }
}
