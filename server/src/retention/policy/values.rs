//! The values of a policy, as they stand in its file and on the command line.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use snapless_wire::id::{FileTime, VolumeGuid};

use crate::format::bookmark::{Bookmark, KEEP_FOREVER};

/// Most slots of a level.
const SLOTS_MAX: u32 = 10_000;

/// How long something is kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Keep {
    /// For so many ticks.
    For(u64),
    /// For ever.
    Forever,
}

/// A time zone by its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Zone(TimeZone);

/// UTC.
impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

/// A count of points that are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Slots(u32);

/// A volume as a key of the file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Volume(pub VolumeGuid);

/// Ticks of the units in which a span is told, longest first.
const UNITS: [(&str, u64); 4] = [
    ("d", 24 * 3_600 * FileTime::TICKS_PER_SECOND),
    ("h", 3_600 * FileTime::TICKS_PER_SECOND),
    ("m", 60 * FileTime::TICKS_PER_SECOND),
    ("s", FileTime::TICKS_PER_SECOND),
];

impl Keep {
    /// What a bookmark says ([`Bookmark::keep`]).
    pub fn of_bookmark(bookmark: &Bookmark) -> Option<Self> {
        bookmark.keep.map(|keep| match keep {
            KEEP_FOREVER => Self::Forever,
            ticks => Self::For(ticks.get()),
        })
    }

    /// For a bookmark; `None` for no time at all.
    pub fn for_bookmark(self) -> Option<NonZeroU64> {
        match self {
            Self::Forever => Some(KEEP_FOREVER),
            Self::For(ticks) => NonZeroU64::new(ticks),
        }
    }
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "forever" {
            return Ok(Self::Forever);
        }
        span(text).map(Self::For).ok_or_else(|| {
            format!(
                "\"{text}\" is no length of time: expected days, weeks or hours, such as 30d, \
                     8w or 12h, or forever"
            )
        })
    }
}

/// The ticks of a length of time in weeks, days, hours, minutes and seconds; a day has 24 hours.
fn span(text: &str) -> Option<u64> {
    let span: Span = text.trim().parse().ok()?;
    let relative = SpanRelativeTo::days_are_24_hours();
    let length: SignedDuration = span.to_duration(relative).ok()?;
    u64::try_from(length.as_secs()).ok()?.checked_mul(FileTime::TICKS_PER_SECOND)
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::For(ticks) = self else { return f.write_str("forever") };
        let unit = UNITS.iter().find(|(_, unit)| ticks.is_multiple_of(*unit));
        let (name, unit) = unit.unwrap_or(&UNITS[3]);
        write!(f, "{}{name}", ticks / unit)
    }
}

impl Zone {
    /// The zone.
    pub fn get(&self) -> &TimeZone {
        &self.0
    }
}

impl FromStr for Zone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let zone = TimeZone::get(text).map_err(|_| {
            format!(
                "\"{text}\" is no time zone that this machine knows: expected a name such as \
                     UTC or Europe/Berlin"
            )
        })?;
        Ok(Self(zone))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

impl Slots {
    /// The count.
    pub fn count(self) -> u32 {
        self.0
    }
}

impl FromStr for Slots {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<u32>().map_err(|_| expected_slots()).and_then(Self::try_from)
    }
}

impl TryFrom<u32> for Slots {
    type Error = String;

    fn try_from(count: u32) -> Result<Self, String> {
        if count <= SLOTS_MAX { Ok(Self(count)) } else { Err(expected_slots()) }
    }
}

fn expected_slots() -> String {
    format!("expected a number from 0 to {SLOTS_MAX}")
}

impl<'de> Deserialize<'de> for Slots {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let count = u32::deserialize(input)?;
        Self::try_from(count).map_err(serde::de::Error::custom)
    }
}

/// Serde of what is a text.
macro_rules! as_text {
    ($($name:ty),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                let text = String::deserialize(input)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
                output.collect_str(self)
            }
        }
    )*};
}

as_text!(Keep, Zone, Volume);

impl FromStr for Volume {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let volume = VolumeGuid::parse_name(text);
        volume.map(Self).ok_or_else(|| format!("\"{text}\" is no GUID of a volume"))
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
