//! The events of a session's stream: how far the first sync is, base image complete, gap begun or
//! ended, blocks unreadable.
//!
//! The records say what happened, in order, and why a gap began.

use std::mem;
use std::time::{Duration, Instant};

use snapless_types::{GapReason, RecordKind};
use snapless_wire::record::RecordHeader;

use crate::event::Event;

/// A gap within this time of the last reported one is only logged.
const GAP_INTERVAL: Duration = Duration::from_mins(1);
/// Most unreadable parts that are reported; later ones are only logged.
const UNREADABLE_MAX: u32 = 32;

/// Watches the stream of one claim.
pub struct Watch<'a> {
    name: String,
    sector_size: u64,
    report: &'a (dyn Fn(Event, &str) + Sync),
    gap_reported_at: Option<Instant>,
    in_reported_gap: bool,
    unreadable: u32,
    first_sync: Option<FirstSync>,
}

/// How far a first sync is.
struct FirstSync {
    /// Bytes whose content at t0 has been captured, about: what a service before this one has
    /// drained may count twice.
    captured: u64,
    /// Bytes of the volume.
    length: u64,
    /// Quarters that were reported.
    quarters: u64,
}

impl<'a> Watch<'a> {
    /// Watches the stream of volume `name`.
    pub fn new(name: &str, sector_size: u32, report: &'a (dyn Fn(Event, &str) + Sync)) -> Self {
        Self {
            name: name.to_owned(),
            sector_size: u64::from(sector_size.max(1)),
            report,
            gap_reported_at: None,
            in_reported_gap: false,
            unreadable: 0,
            first_sync: None,
        }
    }

    /// The same of a first sync that has captured so many bytes of a volume of `length`.
    #[must_use]
    pub fn of_first_sync(mut self, captured: u64, length: u64) -> Self {
        let mut first_sync = FirstSync { captured, length, quarters: 0 };
        first_sync.quarters = first_sync.reached();
        self.first_sync = Some(first_sync);
        self
    }

    /// Checks a record on its way to the server.
    pub fn see(&mut self, record: &RecordHeader) {
        match record.kind() {
            RecordKind::Block | RecordKind::Unallocated | RecordKind::Excluded => {
                self.captured(record.extent_len());
            }
            RecordKind::BaseComplete => {
                self.first_sync = None;
                self.report(Event::BaseComplete, "the base image is complete");
            }
            RecordKind::GapBegin => self.gap_began(record.gap_reason()),
            RecordKind::Consistent => {
                if mem::take(&mut self.in_reported_gap) {
                    self.report(
                        Event::GapEnded,
                        "the gap has ended; instants can be restored again",
                    );
                } else {
                    log::info!("{}: the gap has ended", self.name);
                }
            }
            RecordKind::Unreadable => self.unreadable(record.extent_offset(), record.extent_len()),
            _ => {}
        }
    }

    fn captured(&mut self, bytes: u64) {
        let Some(first_sync) = &mut self.first_sync else { return };
        first_sync.captured = first_sync.captured.saturating_add(bytes);
        let reached = first_sync.reached();
        if reached > first_sync.quarters {
            first_sync.quarters = reached;
            let text = format!("the first sync has captured {} % of the volume", reached * 25);
            self.report(Event::FirstSyncProgress, &text);
        }
    }

    fn gap_began(&mut self, reason: Option<GapReason>) {
        let why = reason.map_or("for an unknown reason", GapReason::text);
        if self.gap_reported_at.is_some_and(|reported| reported.elapsed() < GAP_INTERVAL) {
            log::warn!("{}: another gap has begun: {why}", self.name);
            return;
        }
        (self.gap_reported_at, self.in_reported_gap) = (Some(Instant::now()), true);
        self.report(Event::GapBegan, &format!("a gap has begun: {why}"));
    }

    fn unreadable(&mut self, offset: u64, len: u64) {
        self.unreadable = self.unreadable.saturating_add(1);
        let (first, count) = (offset / self.sector_size, len.div_ceil(self.sector_size));
        let text = format!(
            "the disk could not read {len} bytes at {offset} ({count} sectors from sector {first}); \
             a replica has zeros there"
        );
        if self.unreadable > UNREADABLE_MAX {
            log::warn!("{}: {text}", self.name);
        } else {
            self.report(Event::Unreadable, &text);
        }
    }

    fn report(&self, event: Event, text: &str) {
        (self.report)(event, &format!("{}: {text}", self.name));
    }
}

impl FirstSync {
    /// Whole quarters, but the last, whose end is an event of its own.
    fn reached(&self) -> u64 {
        let quarter = (self.length / 4).max(1);
        (self.captured / quarter).min(3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_types::{EpochId, Seq};
    use snapless_wire::id::FileTime;
    use snapless_wire::record::Position;
    use std::sync::Mutex;

    const AT: Position =
        Position { seq: Seq::new(1), time: FileTime::new(1), monotonic: 1, epoch: EpochId::new(1) };

    fn marker(kind: RecordKind) -> RecordHeader {
        RecordHeader::marker(kind, AT).unwrap()
    }

    fn gap(reason: GapReason) -> [RecordHeader; 2] {
        [RecordHeader::gap_begin(AT, reason), marker(RecordKind::Consistent)]
    }

    /// The events of `records`.
    fn events(records: &[RecordHeader]) -> Vec<(Event, String)> {
        let events = Mutex::new(Vec::new());
        let report = |event, text: &str| events.lock().unwrap().push((event, text.to_owned()));
        let mut watch = Watch::new("{guid}", 512, &report);
        for record in records {
            watch.see(record);
        }
        events.into_inner().unwrap()
    }

    #[test]
    fn the_base_image_is_an_event_and_ordinary_records_are_not() {
        let write = RecordHeader::extent(RecordKind::Write, AT, 0, 512).unwrap();
        let records = [marker(RecordKind::SessionStart), write, marker(RecordKind::BaseComplete)];
        assert_eq!(
            events(&records),
            [(Event::BaseComplete, "{guid}: the base image is complete".to_owned())]
        );
    }

    #[test]
    fn each_quarter_of_a_first_sync_is_an_event_once() {
        let told = |captured, records: &[RecordHeader]| {
            let events = Mutex::new(Vec::new());
            let report = |event, text: &str| events.lock().unwrap().push((event, text.to_owned()));
            let mut watch = Watch::new("v", 512, &report).of_first_sync(captured, 8 << 20);
            for record in records {
                watch.see(record);
            }
            events.into_inner().unwrap()
        };
        let of = |kind, mib: u64| RecordHeader::extent(kind, AT, 0, mib << 20).unwrap();
        let block = of(RecordKind::Block, 1);
        let progress = |percent| {
            let text = format!("v: the first sync has captured {percent} % of the volume");
            (Event::FirstSyncProgress, text)
        };
        let all: Vec<_> = [25, 50, 75].map(progress).into();
        assert_eq!(told(0, &[block; 8]), all);
        assert_eq!(told(2 << 20, &[block; 9]), all[1..], "the first was reported before");
        assert_eq!(told(0, &[of(RecordKind::Unallocated, 7)]), all[2..]);
        let done = [block, marker(RecordKind::BaseComplete), block, block];
        assert_eq!(told(0, &done).len(), 1, "afterwards nothing is captured for the first time");
        assert!(told(0, &[of(RecordKind::Write, 8)]).is_empty());
    }

    #[test]
    fn a_gap_has_the_reason_of_its_record_and_an_end() {
        for &reason in GapReason::ALL {
            let events = events(&gap(reason));
            assert_eq!(events.len(), 2, "{events:?}");
            assert_eq!(events[0].0, Event::GapBegan);
            assert!(events[0].1.contains(reason.text()), "{events:?}");
            assert_eq!(events[1].0, Event::GapEnded);
        }
    }

    #[test]
    fn gaps_close_together_are_reported_once() {
        let many = gap(GapReason::QueueFull).repeat(4);
        assert_eq!(events(&many).len(), 2);
    }

    #[test]
    fn unreadable_parts_are_reported_with_their_sectors_up_to_a_limit() {
        let bad = RecordHeader::extent(RecordKind::Unreadable, AT, 5120, 1024).unwrap();
        let events = events(&[bad; 40]);
        assert_eq!(events.len(), 32);
        assert!(events[0].1.contains("2 sectors from sector 10"), "{events:?}");
    }
}
