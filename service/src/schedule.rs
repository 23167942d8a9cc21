//! At which times of the week which rate counts: that of sending (`send_rates`), and that of sweeps
//! (`sweep_rates`).
//!
//! Rule: the first entry that covers an instant counts. An entry that goes past midnight belongs to
//! the day on which it begins. Times are what the machine's clock shows: an hour that a change to
//! or from daylight saving time skips never comes, and one that it repeats counts twice.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{DateTime, Weekday};

use crate::size::Size;

/// The most entries of a schedule.
pub const ENTRIES_MAX: usize = 64;
/// The names of days in a configuration, from Monday on.
pub const DAY_NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

const MINUTES_A_DAY: u16 = 24 * 60;

/// A time of the day, in minutes: `00:00` to `24:00`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    /// The beginning of a day.
    pub const BEGIN: Self = Self(0);
    /// The end of a day.
    pub const END: Self = Self(MINUTES_A_DAY);
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// The text is not a time of the day.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotATime;

impl FromStr for TimeOfDay {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        let (hours, minutes) = text.split_once(':').ok_or(NotATime)?;
        let two_digits = |text: &str| {
            let is_number = text.len() == 2 && text.bytes().all(|it| it.is_ascii_digit());
            text.parse::<u16>().ok().filter(|_| is_number).ok_or(NotATime)
        };
        let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
        let time = Self(hours * 60 + minutes);
        if minutes < 60 && time <= Self::END { Ok(time) } else { Err(NotATime) }
    }
}

/// Days of the week; one at least.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Days(u8);

impl Days {
    /// Every day.
    pub const ALL: Self = Self(0x7f);

    /// The days with these names; `None` if one is not of [`DAY_NAMES`], or there is none.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut days = 0;
        for name in names {
            days |= 1 << DAY_NAMES.iter().position(|day| *day == name)?;
        }
        (days != 0).then_some(Self(days))
    }

    fn has(self, day: Weekday) -> bool {
        self.0 & 1 << day.to_monday_zero_offset() != 0
    }
}

/// A rate for a part of the week.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    days: Days,
    from: TimeOfDay,
    to: TimeOfDay,
    rate: Option<u64>,
}

impl Entry {
    /// On each of `days`, from `from` until just before `to`, which is of the next day unless it is
    /// later; `rate` in bytes per second, `None` without a limit. `None` if `from` is the end of a
    /// day, or both times are the same.
    pub fn new(days: Days, from: TimeOfDay, to: TimeOfDay, rate: Option<u64>) -> Option<Self> {
        (from != to && from != TimeOfDay::END).then_some(Self { days, from, to, rate })
    }

    /// Bytes per second at most; `None` without a limit.
    pub fn rate(&self) -> Option<u64> {
        self.rate
    }

    fn covers(&self, at: DateTime) -> bool {
        let day = at.weekday();
        let [hour, minute] = [at.hour(), at.minute()].map(|it| u16::from(it.unsigned_abs()));
        let time = TimeOfDay(hour * 60 + minute);
        let (has_begun, is_over) = (time >= self.from, time >= self.to);
        if self.from < self.to {
            return self.days.has(day) && has_begun && !is_over;
        }
        let (today, yesterday) = (self.days.has(day), self.days.has(day.previous()));
        (today && has_begun) || (yesterday && !is_over)
    }
}

/// Rates for parts of the week. An earlier entry goes before a later one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Schedule(Vec<Entry>);

/// The rate at an instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct InForce {
    /// The place of the entry that covers the instant; `None` if none does.
    pub entry: Option<usize>,
    /// Bytes per second at most; `None` without a limit.
    pub rate: Option<u64>,
}

impl InForce {
    /// What counts of the schedule under this key.
    pub fn text(&self, key: &str) -> String {
        let which = match self.entry {
            Some(entry) => format!("{key}[{entry}] is in force"),
            None => format!("no entry of `{key}` is in force"),
        };
        match self.rate {
            Some(rate) => format!("{which}, {} a second at most", Size(rate)),
            None => format!("{which}, no limit"),
        }
    }
}

impl Schedule {
    /// With these entries; `None` if they are more than [`ENTRIES_MAX`].
    pub fn new(entries: Vec<Entry>) -> Option<Self> {
        (entries.len() <= ENTRIES_MAX).then_some(Self(entries))
    }

    /// Its entries.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// What counts at an instant of the machine's local time; `otherwise`, if no entry covers it.
    pub fn at(&self, at: DateTime, otherwise: Option<u64>) -> InForce {
        let entry = self.0.iter().position(|entry| entry.covers(at));
        let rate = entry.map_or(otherwise, |entry| self.0[entry].rate);
        InForce { entry, rate }
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;
    use jiff::civil::date;

    use super::*;

    const WORKDAYS: [&str; 5] = ["mon", "tue", "wed", "thu", "fri"];

    fn entry(days: &[&str], from: &str, to: &str, rate: u64) -> Entry {
        let days = Days::named(days.iter().copied()).unwrap();
        Entry::new(days, from.parse().unwrap(), to.parse().unwrap(), Some(rate)).unwrap()
    }

    /// An instant of the week of Monday, 30 November 2026.
    fn instant(day: &str, time: &str) -> DateTime {
        let place = DAY_NAMES.iter().position(|name| *name == day).unwrap();
        let monday = date(2026, 11, 30);
        let day = monday.checked_add(i64::try_from(place).unwrap().days()).unwrap();
        day.to_datetime(time.parse().unwrap())
    }

    /// The entry that counts.
    fn counts(schedule: &[Entry], day: &str, time: &str) -> Option<usize> {
        Schedule::new(schedule.to_vec()).unwrap().at(instant(day, time), None).entry
    }

    #[test]
    fn an_entry_begins_with_its_first_minute_and_ends_before_its_last() {
        let schedule = [entry(&WORKDAYS, "08:00", "18:00", 1)];
        for (day, time, is_covered) in [
            ("mon", "07:59:59", false),
            ("mon", "08:00:00", true),
            ("fri", "17:59:59", true),
            ("fri", "18:00:00", false),
            ("sat", "12:00:00", false),
            ("sun", "12:00:00", false),
        ] {
            assert_eq!(counts(&schedule, day, time).is_some(), is_covered, "{day} {time}");
        }
    }

    #[test]
    fn an_entry_past_midnight_belongs_to_the_day_on_which_it_begins() {
        let schedule = [entry(&["fri"], "22:00", "06:00", 1)];
        for (day, time, is_covered) in [
            ("fri", "00:00:00", false),
            ("fri", "05:59:59", false),
            ("fri", "21:59:59", false),
            ("fri", "22:00:00", true),
            ("fri", "23:59:59", true),
            ("sat", "00:00:00", true),
            ("sat", "05:59:59", true),
            ("sat", "06:00:00", false),
            ("sat", "22:00:00", false),
        ] {
            assert_eq!(counts(&schedule, day, time).is_some(), is_covered, "{day} {time}");
        }
        // The week is a circle.
        let schedule = [entry(&["sun"], "23:00", "01:00", 1)];
        assert_eq!(counts(&schedule, "mon", "00:30:00"), Some(0));
        assert_eq!(counts(&schedule, "sun", "00:30:00"), None);
    }

    #[test]
    fn a_day_has_a_begin_and_an_end() {
        let whole = Entry::new(Days::ALL, TimeOfDay::BEGIN, TimeOfDay::END, None).unwrap();
        let evening = entry(&["mon"], "18:00", "24:00", 1);
        let to_midnight = entry(&["mon"], "18:00", "00:00", 1);
        for time in ["00:00:00", "12:00:00", "23:59:59"] {
            assert_eq!(counts(&[whole], "wed", time), Some(0), "{time}");
        }
        for schedule in [[evening], [to_midnight]] {
            assert_eq!(counts(&schedule, "mon", "17:59:59"), None);
            assert_eq!(counts(&schedule, "mon", "23:59:59"), Some(0));
            assert_eq!(counts(&schedule, "tue", "00:00:00"), None);
        }
    }

    #[test]
    fn of_entries_that_overlap_the_first_counts_and_otherwise_what_is_set_outside() {
        let unlimited = Entry { rate: None, ..entry(&["wed"], "12:00", "13:00", 1) };
        let night = entry(&["tue"], "20:00", "09:00", 7);
        let day = entry(&WORKDAYS, "08:00", "18:00", 3);
        let schedule = Schedule::new(vec![unlimited, night, day]).unwrap();
        let at = |day, time| schedule.at(instant(day, time), Some(100));
        let in_force = |entry, rate| InForce { entry, rate };
        assert_eq!(at("wed", "08:30:00"), in_force(Some(1), Some(7)));
        assert_eq!(at("wed", "09:00:00"), in_force(Some(2), Some(3)));
        assert_eq!(at("wed", "12:30:00"), in_force(Some(0), None));
        assert_eq!(at("thu", "08:30:00"), in_force(Some(2), Some(3)));
        assert_eq!(at("sun", "08:30:00"), in_force(None, Some(100)));
        let never = Schedule::default().at(instant("wed", "12:30:00"), None);
        assert_eq!(never, InForce::default());
    }

    #[test]
    fn what_the_clock_shows_counts_on_days_on_which_it_is_set() {
        let schedule = [entry(&["sun"], "02:00", "03:00", 1)];
        // Forwards at 2: what comes after 01:59 is 03:00.
        let forwards = ["01:59:00", "03:00:00"].map(|time| counts(&schedule, "sun", time));
        assert_eq!(forwards, [None, None]);
        // Back at 3: the hour comes twice.
        let back = ["02:59:00", "02:00:00", "03:00:00"].map(|it| counts(&schedule, "sun", it));
        assert_eq!(back, [Some(0), Some(0), None]);
    }

    #[test]
    fn an_entry_has_a_day_and_a_length_and_a_schedule_no_more_than_its_most() {
        assert_eq!(Days::named([]), None);
        assert_eq!(Days::named(["mon", "Mon"]), None);
        assert_eq!(Days::named(DAY_NAMES), Some(Days::ALL));
        let noon = "12:00".parse().unwrap();
        assert_eq!(Entry::new(Days::ALL, noon, noon, None), None);
        assert_eq!(Entry::new(Days::ALL, TimeOfDay::END, noon, None), None);
        let entries = |count| vec![entry(&["mon"], "08:00", "09:00", 1); count];
        assert!(Schedule::new(entries(64)).is_some() && Schedule::new(entries(65)).is_none());
    }

    #[test]
    fn a_time_has_four_digits() {
        assert_eq!("00:00".parse(), Ok(TimeOfDay::BEGIN));
        assert_eq!("24:00".parse(), Ok(TimeOfDay::END));
        assert_eq!("07:05".parse::<TimeOfDay>().unwrap().to_string(), "07:05");
        for text in
            ["", ":", "8:00", "08:0", "08:60", "24:01", "25:00", "+8:00", "08:00:00", "0800"]
        {
            assert_eq!(text.parse::<TimeOfDay>(), Err(NotATime), "{text}");
        }
    }
}
