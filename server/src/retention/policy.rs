//! `retention.toml`: what is kept of each volume.
//!
//! ```toml
//! [default]
//! keep_all = "30d"
//! daily = 60
//!
//! [volume.71a27cdd-812a-11d0-bec7-08002be2092f]
//! daily = 365
//! ```
//!
//! What a volume does not set is the default's, and what that does not set keeps everything. A key
//! that is not known, or a value that cannot be, is an error: nothing is removed by a policy of
//! which a part was not understood.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::Path;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use snapless_wire::id::VolumeGuid;

use crate::error::{Error, Result};
use crate::storage::Store;
use crate::toml_text;

mod values;

pub use values::{Keep, Slots, Volume, Zone};

/// The file's name.
pub const POLICY_FILE: &str = "retention.toml";

/// Most bytes of the file that are read.
const POLICY_LEN_MAX: usize = 4 << 20;
/// The levels of the grid, from the finest to the coarsest.
pub const LEVELS: [Level; 5] =
    [Level::Hourly, Level::Daily, Level::Weekly, Level::Monthly, Level::Yearly];

/// A level of the grid.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// A point an hour.
    Hourly,
    /// A point a day.
    Daily,
    /// A point a week, which begins on Monday.
    Weekly,
    /// A point a month.
    Monthly,
    /// A point a year.
    Yearly,
}

/// What is kept of a volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Policy {
    /// How long every instant is kept.
    pub keep_all: Keep,
    /// Points that are kept of each level, beyond those of the level before.
    pub hourly: u32,
    /// Points by the day.
    pub daily: u32,
    /// Points by the week.
    pub weekly: u32,
    /// Points by the month.
    pub monthly: u32,
    /// Points by the year.
    pub yearly: u32,
    /// How long a bookmark keeps its point.
    pub bookmarks: Keep,
    /// Where hours, days, weeks, months and years begin.
    pub time_zone: Zone,
}

/// Values of a policy that are set; the others are those of another policy.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Changes {
    /// See [`Policy::keep_all`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_all: Option<Keep>,
    /// See [`Policy::hourly`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hourly: Option<Slots>,
    /// See [`Policy::daily`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily: Option<Slots>,
    /// See [`Policy::weekly`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weekly: Option<Slots>,
    /// See [`Policy::monthly`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly: Option<Slots>,
    /// See [`Policy::yearly`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yearly: Option<Slots>,
    /// See [`Policy::bookmarks`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bookmarks: Option<Keep>,
    /// See [`Policy::time_zone`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<Zone>,
}

/// The policies of a repository.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Policies {
    /// Of every volume.
    #[serde(default)]
    pub default: Changes,
    /// Of single volumes, in place of that.
    #[serde(default, deserialize_with = "each_volume_once")]
    pub volume: BTreeMap<Volume, Changes>,
}

impl Default for Policy {
    /// Keeps everything.
    fn default() -> Self {
        Self {
            keep_all: Keep::Forever,
            hourly: 0,
            daily: 0,
            weekly: 0,
            monthly: 0,
            yearly: 0,
            bookmarks: Keep::Forever,
            time_zone: Zone::default(),
        }
    }
}

impl Policy {
    /// Points that are kept of a level.
    pub fn slots(&self, level: Level) -> u32 {
        match level {
            Level::Hourly => self.hourly,
            Level::Daily => self.daily,
            Level::Weekly => self.weekly,
            Level::Monthly => self.monthly,
            Level::Yearly => self.yearly,
        }
    }

    /// Of each value the longer one of both policies'. The time zone is the other one's.
    #[must_use]
    pub fn lengthened_by(&self, other: &Self) -> Self {
        Self {
            keep_all: self.keep_all.max(other.keep_all),
            hourly: self.hourly.max(other.hourly),
            daily: self.daily.max(other.daily),
            weekly: self.weekly.max(other.weekly),
            monthly: self.monthly.max(other.monthly),
            yearly: self.yearly.max(other.yearly),
            bookmarks: self.bookmarks.max(other.bookmarks),
            time_zone: other.time_zone.clone(),
        }
    }

    /// The first key by which this policy keeps less than the other one.
    pub fn shorter_than(&self, other: &Self) -> Option<&'static str> {
        let keeps = [
            ("keep_all", self.keep_all >= other.keep_all),
            ("hourly", self.hourly >= other.hourly),
            ("daily", self.daily >= other.daily),
            ("weekly", self.weekly >= other.weekly),
            ("monthly", self.monthly >= other.monthly),
            ("yearly", self.yearly >= other.yearly),
            ("bookmarks", self.bookmarks >= other.bookmarks),
            // Other slots have other last points.
            ("time_zone", self.time_zone == other.time_zone),
        ];
        keeps.into_iter().find(|(_, keeps)| !keeps).map(|(key, _)| key)
    }

    fn with(self, changes: &Changes) -> Self {
        let slots = |new: Option<Slots>, old| new.map_or(old, |new| new.count());
        Self {
            keep_all: changes.keep_all.unwrap_or(self.keep_all),
            hourly: slots(changes.hourly, self.hourly),
            daily: slots(changes.daily, self.daily),
            weekly: slots(changes.weekly, self.weekly),
            monthly: slots(changes.monthly, self.monthly),
            yearly: slots(changes.yearly, self.yearly),
            bookmarks: changes.bookmarks.unwrap_or(self.bookmarks),
            time_zone: changes.time_zone.clone().unwrap_or(self.time_zone),
        }
    }
}

impl Policies {
    /// Reads those of a repository; without the file, everything is kept.
    ///
    /// # Errors
    /// [`Error::Policy`] for a file that is not understood in full.
    pub fn read(store: &Store) -> Result<Self> {
        let path = Path::new(POLICY_FILE);
        match store.read_head(path, POLICY_LEN_MAX) {
            Ok(bytes) => {
                Self::parse(&bytes).map_err(|why| Error::Policy { path: store.locate(path), why })
            }
            Err(error) if error.is_not_found() => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Replaces those of a repository, durably. See [`super::minimum`] for what forbids that.
    ///
    /// # Errors
    /// What keeps the file from being written.
    pub fn write(&self, store: &Store) -> Result<()> {
        store.create_durably(Path::new(POLICY_FILE), self.to_string().as_bytes())
    }

    /// Reads the bytes of the file.
    ///
    /// # Errors
    /// What is not understood, and where.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        toml_text::parse(bytes)
    }

    /// That of a volume.
    pub fn of(&self, volume: VolumeGuid) -> Policy {
        let policy = self.of_others();
        match self.volume.get(&Volume(volume)) {
            Some(changes) => policy.with(changes),
            None => policy,
        }
    }

    /// That of a volume that has none of its own.
    pub fn of_others(&self) -> Policy {
        Policy::default().with(&self.default)
    }

    /// The volumes that have a policy of their own.
    pub fn volumes(&self) -> impl Iterator<Item = VolumeGuid> {
        self.volume.keys().map(|volume| volume.0)
    }

    /// Changes the policy of a volume, or the default.
    pub fn set(&mut self, volume: Option<VolumeGuid>, changes: &Changes) {
        let of = match volume {
            Some(volume) => self.volume.entry(Volume(volume)).or_default(),
            None => &mut self.default,
        };
        of.set(changes);
    }

    /// Lets the default hold for a volume again.
    pub fn unset(&mut self, volume: VolumeGuid) {
        self.volume.remove(&Volume(volume));
    }

    /// Appends the tables of the file, each key in a table below `prefix`.
    pub(super) fn put(&self, out: &mut String, prefix: &str) {
        put_table(out, &format!("{prefix}default"), &self.default);
        for (volume, changes) in &self.volume {
            put_table(out, &format!("{prefix}volume.{}", volume.0), changes);
        }
    }
}

impl fmt::Display for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text =
            "# What is kept of each volume. `snapless-server retention set` changes it; \
                        see docs/retention.md.\n"
                .to_owned();
        self.put(&mut text, "");
        f.write_str(&text)
    }
}

fn put_table(out: &mut String, name: &str, changes: &Changes) {
    let slots = [
        ("hourly", changes.hourly),
        ("daily", changes.daily),
        ("weekly", changes.weekly),
        ("monthly", changes.monthly),
        ("yearly", changes.yearly),
    ];
    let mut lines = vec![format!("\n[{name}]")];
    lines.extend(changes.keep_all.map(|keep| format!("keep_all = \"{keep}\"")));
    lines.extend(
        slots.iter().filter_map(|(key, slots)| Some(format!("{key} = {}", (*slots)?.count()))),
    );
    lines.extend(changes.bookmarks.map(|keep| format!("bookmarks = \"{keep}\"")));
    lines.extend(changes.time_zone.iter().map(|zone| format!("time_zone = \"{zone}\"")));
    for line in lines {
        // A text takes what is written.
        _ = writeln!(out, "{line}");
    }
}

impl Changes {
    /// True if nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn set(&mut self, other: &Self) {
        let Self { keep_all, hourly, daily, weekly, monthly, yearly, bookmarks, time_zone } = self;
        *keep_all = other.keep_all.or(*keep_all);
        *hourly = other.hourly.or(*hourly);
        *daily = other.daily.or(*daily);
        *weekly = other.weekly.or(*weekly);
        *monthly = other.monthly.or(*monthly);
        *yearly = other.yearly.or(*yearly);
        *bookmarks = other.bookmarks.or(*bookmarks);
        if let Some(zone) = &other.time_zone {
            *time_zone = Some(zone.clone());
        }
    }
}

/// A volume that is named in two ways would have two policies, of which one would count unseen.
fn each_volume_once<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<BTreeMap<Volume, Changes>, D::Error> {
    struct Tables;

    impl<'de> Visitor<'de> for Tables {
        type Value = BTreeMap<Volume, Changes>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table for each volume")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut tables: A) -> Result<Self::Value, A::Error> {
            let mut found = BTreeMap::new();
            while let Some((volume, changes)) = tables.next_entry::<Volume, _>()? {
                if found.insert(volume, changes).is_some() {
                    return Err(A::Error::custom(format!("volume {volume} has two tables")));
                }
            }
            Ok(found)
        }
    }

    input.deserialize_map(Tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLUME: VolumeGuid = VolumeGuid([0x11; 16]);

    fn parse(text: &str) -> Result<Policies, String> {
        Policies::parse(text.as_bytes())
    }

    #[test]
    fn what_a_volume_does_not_set_is_the_defaults() {
        let policies = parse(&format!(
            "[default]\nkeep_all = \"30d\"\ndaily = 60\ntime_zone = \"Europe/Berlin\"\n\
             [volume.{VOLUME}]\ndaily = 365\nbookmarks = \"2 weeks\""
        ))
        .unwrap();
        let (others, own) = (policies.of(VolumeGuid([2; 16])), policies.of(VOLUME));
        assert_eq!((others.keep_all.to_string(), others.daily), ("30d".to_owned(), 60));
        assert_eq!((own.keep_all, own.daily), (others.keep_all, 365));
        assert_eq!(
            (own.bookmarks.to_string(), others.bookmarks),
            ("14d".to_owned(), Keep::Forever)
        );
        assert_eq!(own.time_zone.to_string(), "Europe/Berlin");
        assert_eq!(parse("").unwrap().of(VOLUME), Policy::default());
    }

    #[test]
    fn what_is_written_is_read() {
        let text = format!(
            "[default]\nkeep_all = \"36h\"\nhourly = 1\ndaily = 2\nweekly = 3\nmonthly = 4\n\
             yearly = 5\nbookmarks = \"forever\"\ntime_zone = \"America/New_York\"\n\
             [volume.{VOLUME}]\nkeep_all = \"90s\""
        );
        let policies = parse(&text).unwrap();
        assert_eq!(parse(&policies.to_string()), Ok(policies.clone()));
        assert_eq!(policies.of(VOLUME).keep_all.to_string(), "90s");
        assert_eq!(policies.of_others().keep_all.to_string(), "36h");
    }

    #[test]
    fn an_error_names_the_key() {
        for (text, names) in [
            ("[default]\nkeepall = \"30d\"", "keepall"),
            (
                "[volume.11111111-1111-1111-1111-111111111111]\ndaily = 1\n\
                 [volume.'\\\\?\\Volume{11111111-1111-1111-1111-111111111111}\\']\ndaily = 2",
                "has two tables",
            ),
            ("[default]\nkeep_all = 30", "keep_all"),
            ("[default]\nkeep_all = \"1 month\"", "keep_all"),
            ("[default]\nkeep_all = \"-30d\"", "keep_all"),
            ("[default]\nkeep_all = \"30\"", "keep_all"),
            ("[default]\nkeep_all = \"999999999999999999d\"", "keep_all"),
            ("[default]\nhourly = -1", "hourly"),
            ("[default]\nhourly = 10001", "hourly"),
            ("[default]\ntime_zone = \"Mars/Olympus\"", "time_zone"),
            ("[default]\nhourly = 1\nhourly = 2", "hourly"),
            ("keep_all = \"30d\"", "keep_all"),
            ("[volume.web]\nhourly = 1", "web"),
            ("[volumes.web]\nhourly = 1", "volumes"),
        ] {
            let refused = parse(text).unwrap_err();
            assert!(refused.contains(names), "{text}: {refused}");
        }
        assert!(Policies::parse(&[0xff]).unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn a_policy_that_keeps_less_is_found_by_its_key() {
        let old = parse("[default]\nkeep_all = \"30d\"\ndaily = 7").unwrap().of_others();
        let shorter = |text: &str| parse(text).unwrap().of_others().shorter_than(&old);
        assert_eq!(shorter("[default]\nkeep_all = \"30d\"\ndaily = 7"), None);
        assert_eq!(shorter("[default]\nkeep_all = \"31d\"\ndaily = 7\nyearly = 1"), None);
        assert_eq!(shorter("[default]\ndaily = 8"), None, "for ever");
        assert_eq!(shorter("[default]\nkeep_all = \"29d\"\ndaily = 9"), Some("keep_all"));
        assert_eq!(shorter("[default]\nkeep_all = \"30d\"\ndaily = 6"), Some("daily"));
        assert_eq!(shorter("[default]\ndaily = 7\nbookmarks = \"1d\""), Some("bookmarks"));
        let new = parse("[default]\nkeep_all = \"1h\"\nweekly = 2").unwrap().of_others();
        let both = new.lengthened_by(&old);
        assert_eq!((both.shorter_than(&old), both.shorter_than(&new)), (None, None));
    }
}
