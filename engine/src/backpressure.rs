//! What a full queue does to writes: they wait up to the hold limit, then a gap begins
//! (rule HANG, rules.md#hang).
//!
//! The limit counts from the first write that found the queue full, not from each write's arrival:
//! with a slow server each of them would wait almost as long as the limit, without end. The queue
//! counts as full until it is empty, or a quarter of it is free and no held write lacks only room.
//! While it does, no write is captured ahead of those that wait, and all of them wait together,
//! whatever else each waits for.
//!
//! The disk transfers writes from the queue's memory. While only that keeps others from having room
//! ([`CaptureQueue::waits_for_disk`]), the limit does not count: a disk that is slow makes no gap.
//!
//! [`CaptureQueue::waits_for_disk`]: snapless_tracking::capture_queue::CaptureQueue::waits_for_disk
//!
//! With [`Overflow::Hold`] writes wait for room in an open gap too, and the limit is
//! [`Config::OVERFLOW_HOLD_LIMIT`].

use snapless_tracking::config::Config;
use snapless_tracking::in_flight::Arrival;
use snapless_types::{Overflow, Tick};

/// Since when the queue is full, and which writes wait for room in it.
#[derive(Debug)]
pub struct Backpressure {
    overflow: Overflow,
    hold_limit: u64,
    full_since: Option<Tick>,
    /// Held writes up to this one wait for room.
    waiting: Arrival,
    /// A block that is to be read for a held write waits for room.
    read_waits: bool,
}

impl Backpressure {
    /// A queue that is not full.
    pub fn new(config: &Config) -> Self {
        let (overflow, hold_limit) = (config.overflow, config.longest_wait());
        let waiting = Arrival::default();
        Self { overflow, hold_limit, full_since: None, waiting, read_waits: false }
    }

    /// True if a write that finds no room does not wait for it: a gap is open, so the write's
    /// blocks are read again in any case.
    pub fn skips_wait(&self, gap_is_open: bool) -> bool {
        gap_is_open && self.overflow == Overflow::Gap
    }

    /// Notes that the queue has no room for a held write; true if capturing stops now, so that all
    /// held writes are issued uncaptured. `newest` is the arrival of the newest held one.
    pub fn queue_is_full(&mut self, newest: Arrival, gap_is_open: bool, now: Tick) -> bool {
        if self.skips_wait(gap_is_open) {
            return true;
        }
        self.waiting = newest;
        self.full_since.get_or_insert(now);
        self.is_past_limit(Some(newest), now)
    }

    /// Notes that the queue has no room for a held write because of writes that the disk transfers
    /// from it: the write waits for them, as long as the disk takes.
    pub fn disk_has_queue(&mut self, newest: Arrival) {
        self.waiting = newest;
        self.disk_alone_has_queue();
    }

    /// Notes that the service has taken what it can take.
    pub fn disk_alone_has_queue(&mut self) {
        self.full_since = None;
    }

    /// True if the queue has been full, and nothing has told otherwise since.
    #[inline]
    pub fn counts_as_full(&self) -> bool {
        self.full_since.is_some()
    }

    /// Notes that the queue has room for many writes.
    pub fn queue_has_room(&mut self, oldest: Option<Arrival>) {
        if !self.holds_back(oldest) {
            self.full_since = None;
        }
    }

    /// Sets whether a block that is to be read for a held write waits for room.
    pub fn set_read_waits(&mut self, waits: bool) {
        self.read_waits = waits;
    }

    /// Notes that the queue has room for many writes, and that no held write lacks only that.
    pub fn no_write_lacks_room(&mut self) {
        if !self.read_waits {
            self.queue_is_empty();
        }
    }

    /// Notes that the queue is empty: nothing waits for room.
    pub fn queue_is_empty(&mut self) {
        (self.full_since, self.waiting, self.read_waits) = (None, Arrival::default(), false);
    }

    /// True if a held write waits for room: no other is captured ahead of it. `oldest` is the
    /// arrival of the oldest held one, which waits if any does.
    #[inline]
    pub fn holds_back(&self, oldest: Option<Arrival>) -> bool {
        oldest.is_some_and(|oldest| oldest <= self.waiting)
    }

    /// True if the held writes have waited for room as long as they may: capturing stops.
    pub fn is_past_limit(&self, oldest: Option<Arrival>, now: Tick) -> bool {
        let is_past = self.deadline(oldest).is_some_and(|deadline| deadline <= now);
        is_past && !sabotaged!(HoldLimitForgotten)
    }

    /// When the held writes have waited for room as long as they may.
    pub fn deadline(&self, oldest: Option<Arrival>) -> Option<Tick> {
        if !self.holds_back(oldest) {
            return None;
        }
        Some(self.full_since?.after(self.hold_limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts_from_when_the_queue_became_full() {
        let config = Config { hold_limit: 100, ..Config::new(1 << 20) };
        let mut it = Backpressure::new(&config);
        assert!(!it.queue_is_full(Arrival(1), false, Tick(7)));
        assert!(!it.queue_is_full(Arrival(5), false, Tick(50)));
        assert_eq!(it.deadline(Some(Arrival(5))), Some(Tick(107)));
        it.queue_has_room(Some(Arrival(4)));
        assert!(!it.is_past_limit(Some(Arrival(5)), Tick(106)), "4 was waiting");
        assert!(it.is_past_limit(Some(Arrival(5)), Tick(107)));
        assert!(!it.is_past_limit(Some(Arrival(6)), Tick(107)), "6 does not wait");
        it.queue_has_room(Some(Arrival(6)));
        assert!(!it.queue_is_full(Arrival(6), false, Tick(200)));
        assert_eq!(it.deadline(Some(Arrival(6))), Some(Tick(300)), "it is full anew");
    }

    #[test]
    fn the_queue_is_not_full_any_more_when_nothing_lacks_room() {
        let mut it = Backpressure::new(&Config::new(1 << 20));
        assert!(!it.queue_is_full(Arrival(2), false, Tick(7)));
        it.set_read_waits(true);
        it.no_write_lacks_room();
        assert!(it.holds_back(Some(Arrival(2))), "a read lacks it");
        it.set_read_waits(false);
        it.no_write_lacks_room();
        assert!(!it.holds_back(Some(Arrival(1))));
        assert!(!it.queue_is_full(Arrival(2), false, Tick(9)));
        it.set_read_waits(true);
        it.queue_is_empty();
        assert_eq!((it.holds_back(Some(Arrival(1))), it.deadline(Some(Arrival(1)))), (false, None));
        assert!(!it.read_waits);
    }
}
