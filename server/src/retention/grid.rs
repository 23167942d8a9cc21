//! The grid: a point an hour, then a day, a week, a month, a year.
//!
//! The levels follow each other into the past: the days begin where the hours end. A level counts
//! slots of which there is a point, so that a clock that was set to another year pushes no other
//! slot out, and what was not protected for a month has its points still.
//!
//! # A wall clock that is set
//! Slots are those of the wall clock, which the machine's administrator, or who has taken it over,
//! may set. Where it was set between two points, or the machine was started anew, the other clock
//! decides as well: a slot is another one only if a quarter of its length has passed, and always if
//! all of it has. So a clock that is set to and fro does not fill the grid with points of one hour,
//! and one that begins in the same year after each start has a point of each month.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use snapless_wire::id::FileTime;

use super::policy::{LEVELS, Level, Policy};

const HOUR: u64 = 3_600 * FileTime::TICKS_PER_SECOND;
const DAY: u64 = 24 * HOUR;

/// Where a point lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spot {
    /// What the wall clock showed.
    pub time: FileTime,
    /// Where the wall clock was not set in between: the session and the run of its clock.
    pub run: (usize, u32),
    /// Ticks since then on the clock that is never set.
    pub age: u64,
    /// When that was by the server's clock, in ticks, as far as that can be told.
    pub position: u64,
}

/// Takes points, from the newest to the oldest.
#[derive(Clone, Debug)]
pub struct Grid<'a> {
    policy: &'a Policy,
    /// The level that is being filled, by its place in [`LEVELS`], and its points so far.
    level: usize,
    taken: u32,
    /// The point before, which is kept.
    last: Option<Spot>,
}

impl<'a> Grid<'a> {
    /// An empty grid.
    pub fn new(policy: &'a Policy) -> Self {
        Self { policy, level: 0, taken: 0, last: None }
    }

    /// This point is kept in any case, and stands for its slot.
    pub fn cover(&mut self, spot: Spot) {
        self.last = Some(spot);
    }

    /// Offers the next older point; true if it is kept.
    pub fn take(&mut self, spot: Spot) -> bool {
        while let Some(&level) = LEVELS.get(self.level) {
            if self.taken == self.policy.slots(level) {
                (self.level, self.taken) = (self.level + 1, 0);
                continue;
            }
            let zone = self.policy.time_zone.get();
            let is_other = self.last.is_none_or(|last| is_other_slot(level, zone, last, spot));
            if is_other {
                self.taken += 1;
                self.last = Some(spot);
            }
            return is_other;
        }
        false
    }
}

/// True if an older point lies in another slot.
fn is_other_slot(level: Level, zone: &TimeZone, newer: Spot, older: Spot) -> bool {
    let by_age = older.age.saturating_sub(newer.age);
    let passed = newer.position.saturating_sub(older.position).max(by_age);
    let (shortest, longest) = lengths(level);
    let was_not_set = newer.run == older.run;
    let differs = slot(level, zone, newer.time) != slot(level, zone, older.time);
    passed >= longest || differs && (was_not_set || passed >= shortest / 4)
}

/// Ticks of the shortest and of the longest slot of a level.
fn lengths(level: Level) -> (u64, u64) {
    match level {
        Level::Hourly => (HOUR, HOUR),
        Level::Daily => (DAY - HOUR, DAY + HOUR),
        Level::Weekly => (7 * DAY - HOUR, 7 * DAY + HOUR),
        Level::Monthly => (28 * DAY, 31 * DAY + HOUR),
        Level::Yearly => (365 * DAY, 366 * DAY),
    }
}

/// The number of the slot in which a time lies.
fn slot(level: Level, zone: &TimeZone, time: FileTime) -> i64 {
    let Ok(timestamp) = Timestamp::from_nanosecond(time.unix_nanos()) else {
        // Past the year 9999: not the time of a real clock.
        return i64::try_from(time.get() / lengths(level).0).unwrap_or(i64::MAX);
    };
    let there = zone.to_datetime(timestamp);
    let offset = i64::from(zone.to_offset(timestamp).seconds());
    let seconds = timestamp.as_second().saturating_add(offset);
    let day = seconds.div_euclid(24 * 3_600);
    let (year, month) = (i64::from(there.year()), i64::from(there.month()));
    match level {
        Level::Hourly => seconds.div_euclid(3_600),
        Level::Daily => day,
        // 1970 began on a Thursday.
        Level::Weekly => (day + 3).div_euclid(7),
        Level::Monthly => year * 12 + month,
        Level::Yearly => year,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::from_text;

    fn number(level: Level, zone: &str, time: &str) -> i64 {
        slot(level, &TimeZone::get(zone).unwrap(), from_text(time).unwrap())
    }

    #[test]
    fn slots_begin_where_the_zones_hours_days_weeks_months_and_years_do() {
        for (level, zone, first, last, next) in [
            ("h", "UTC", "2026-03-01T12:00:00Z", "2026-03-01T12:59:59Z", "2026-03-01T13:00:00Z"),
            (
                "h",
                "Asia/Kolkata",
                "2026-03-01T12:30:00Z",
                "2026-03-01T13:29:59Z",
                "2026-03-01T13:30:00Z",
            ),
            ("d", "UTC", "2026-03-01T00:00:00Z", "2026-03-01T23:59:59Z", "2026-03-02T00:00:00Z"),
            (
                "d",
                "Europe/Berlin",
                "2026-03-28T23:00:00Z",
                "2026-03-29T21:59:59Z",
                "2026-03-29T22:00:00Z",
            ),
            ("w", "UTC", "2026-11-23T00:00:00Z", "2026-11-29T23:59:59Z", "2026-11-30T00:00:00Z"),
            ("m", "UTC", "2028-02-01T00:00:00Z", "2028-02-29T23:59:59Z", "2028-03-01T00:00:00Z"),
            (
                "y",
                "America/New_York",
                "2026-01-01T05:00:00Z",
                "2027-01-01T04:59:59Z",
                "2027-01-01T05:00:00Z",
            ),
        ] {
            let level = *LEVELS
                .iter()
                .zip("hdwmy".chars())
                .find(|(_, it)| level.starts_with(*it))
                .unwrap()
                .0;
            let [first, last, next] = [first, last, next].map(|time| number(level, zone, time));
            assert_eq!(first, last, "{level:?} in {zone}");
            assert_eq!(first + 1, next, "{level:?} in {zone}");
        }
    }

    #[test]
    fn times_that_no_calendar_has_lie_in_slots_too() {
        for level in LEVELS {
            for ticks in [0, 1, u64::MAX] {
                slot(level, &TimeZone::UTC, FileTime::new(ticks));
            }
        }
    }
}
