//! The events of a session's stream: base image complete, gap begun or ended, blocks unreadable.
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
        }
    }

    /// Checks a record on its way to the server.
    pub fn see(&mut self, record: &RecordHeader) {
        match record.kind() {
            RecordKind::BaseComplete => {
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
