//! `minimum/00000001.toml`, …: what no fold may remove before a day, whatever the policy becomes.
//!
//! Each is made once and never changed or replaced. It has the policies of the time when it was
//! made and a span. Until its end, what is younger than the span stays, and of each value of a
//! policy the longer one counts: `retention set` refuses a shorter one, and one that came into the
//! file by another way has no effect.
//!
//! The end is by the server's clock. A minimum that is not understood in full ends every fold.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};
use snapless_wire::id::{FileTime, VolumeGuid};

use super::policy::{Keep, Policies, Policy};
use crate::error::{Error, Result};
use crate::storage::Store;
use crate::time;
use crate::toml_text;

/// The directory of all minimums.
pub const MINIMUM_DIR: &str = "minimum";

/// Most bytes of a file that are read.
const MINIMUM_LEN_MAX: usize = 8 << 20;
const SUFFIX: &str = ".toml";

/// A minimum.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Minimum {
    /// When it was made, by the server's clock.
    #[serde(deserialize_with = "instant")]
    made: FileTime,
    /// When it ends, by the server's clock.
    #[serde(deserialize_with = "instant")]
    until: FileTime,
    /// What is younger stays.
    span: Keep,
    /// The policies of the time when it was made.
    #[serde(default)]
    policy: Policies,
}

/// The minimums of a repository that have not ended.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Minimums(Vec<Minimum>);

/// A minimum, as a report tells it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Shown {
    /// When it was made.
    pub made: String,
    /// When it ends.
    pub until: String,
    /// What is younger stays.
    pub span: Keep,
}

impl Minimums {
    /// Those of a repository that have not ended at this time of the server's clock.
    ///
    /// # Errors
    /// [`Error::Policy`] for a file that is not understood in full.
    pub fn read(store: &Store, now: FileTime) -> Result<Self> {
        let mut found = Vec::new();
        for number in store.list(Path::new(MINIMUM_DIR), number_of)? {
            let path = file(number);
            let bytes = store.read_head(&path, MINIMUM_LEN_MAX)?;
            let minimum = Minimum::parse(&bytes);
            found.push(minimum.map_err(|why| Error::Policy { path: store.locate(&path), why })?);
        }
        found.retain(|minimum| minimum.until > now);
        Ok(Self(found))
    }

    /// The policy that holds for a volume whose own would be `policy`.
    #[must_use]
    pub fn hold(&self, volume: VolumeGuid, policy: Policy) -> Policy {
        let longer = |policy: Policy, minimum: &Minimum| {
            let mut longer = policy.lengthened_by(&minimum.policy.of(volume));
            longer.keep_all = longer.keep_all.max(minimum.span);
            longer
        };
        self.0.iter().fold(policy, longer)
    }

    /// Checks that policies keep all that must be kept of every volume.
    ///
    /// # Errors
    /// [`Error::Minimum`] with the first key that does not.
    pub fn check(&self, policies: &Policies) -> Result<()> {
        for minimum in &self.0 {
            let refused = |key, volume| Error::Minimum { key, volume, until: minimum.until };
            let (new, old) = (policies.of_others(), minimum.policy.of_others());
            if let Some(key) = new.shorter_than(&old) {
                return Err(refused(key, None));
            }
            for volume in policies.volumes().chain(minimum.policy.volumes()) {
                let (new, old) = (policies.of(volume), minimum.policy.of(volume));
                if let Some(key) = new.shorter_than(&old) {
                    return Err(refused(key, Some(volume)));
                }
            }
        }
        Ok(())
    }

    /// What a report tells of them.
    pub fn shown(&self) -> Vec<Shown> {
        self.0.iter().map(Minimum::shown).collect()
    }
}

impl Minimum {
    /// One that begins now and lasts as long as its span.
    pub fn new(ticks: u64, policy: Policies, now: FileTime) -> Self {
        let until = FileTime::new(now.get().saturating_add(ticks));
        Self { made: now, until, span: Keep::For(ticks), policy }
    }

    /// Adds it to a repository, durably.
    ///
    /// # Errors
    /// What keeps the file from being made.
    pub fn add(&self, store: &Store) -> Result<()> {
        let dir = Path::new(MINIMUM_DIR);
        store.create_dirs(dir)?;
        let last = store.list(dir, number_of)?.pop().unwrap_or(0);
        // Two that are made at the same time never have one number: the later one fails.
        store.create_whole(&file(last + 1), self.to_text().as_bytes())
    }

    /// What a report tells of it.
    pub fn shown(&self) -> Shown {
        let [made, until] = [self.made, self.until].map(time::to_text);
        Shown { made, until, span: self.span }
    }

    fn to_text(&self) -> String {
        let Shown { made, until, span } = self.shown();
        let mut text = "# Until then nothing younger than the span is removed, and the policy can \
                        only be lengthened.\n"
            .to_owned();
        for (key, value) in [("made", made), ("until", until), ("span", span.to_string())] {
            // A text takes what is written.
            _ = writeln!(text, "{key} = \"{value}\"");
        }
        self.policy.put(&mut text, "policy.");
        text
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        toml_text::parse(bytes)
    }
}

fn instant<'de, D: Deserializer<'de>>(input: D) -> Result<FileTime, D::Error> {
    let text = String::deserialize(input)?;
    let expected = || serde::de::Error::custom("expected a time such as 2026-11-23T14:00:00Z");
    time::from_text(&text).ok_or_else(expected)
}

fn file(number: u64) -> PathBuf {
    Path::new(MINIMUM_DIR).join(format!("{number:08}{SUFFIX}"))
}

fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_suffix(SUFFIX)?.parse().ok()?;
    (file(number) == Path::new(MINIMUM_DIR).join(name)).then_some(number)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::retention::policy::{Changes, Slots};

    const DAY: u64 = 24 * 3_600 * FileTime::TICKS_PER_SECOND;
    const VOLUME: VolumeGuid = VolumeGuid([0x11; 16]);

    fn policies(days: u64, daily: u32, of: Option<VolumeGuid>) -> Policies {
        let mut policies = Policies::default();
        let (keep_all, daily) = (Some(Keep::For(days * DAY)), Slots::try_from(daily).ok());
        policies.set(of, &Changes { keep_all, daily, ..Changes::default() });
        policies
    }

    #[test]
    fn what_is_younger_than_the_span_stays_until_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::local(dir.path());
        let now = time::from_text("2026-03-01T12:00:00Z").unwrap();
        let after = |days: u64| FileTime::new(now.get() + days * DAY);
        Minimum::new(30 * DAY, policies(14, 7, Some(VOLUME)), now).add(&store).unwrap();
        let held = Minimums::read(&store, after(29)).unwrap();
        let short = policies(1, 0, None);
        let policy = held.hold(VOLUME, short.of(VOLUME));
        assert_eq!((policy.keep_all, policy.daily), (Keep::For(30 * DAY), 7));
        let ended = Minimums::read(&store, after(30)).unwrap();
        assert_eq!(ended.hold(VOLUME, short.of(VOLUME)), short.of(VOLUME));
    }

    #[test]
    fn a_policy_can_only_be_lengthened() {
        let now = FileTime::new(5 * DAY);
        let held = Minimums(vec![Minimum::new(30 * DAY, policies(14, 7, None), now)]);
        held.check(&policies(14, 7, None)).unwrap();
        held.check(&policies(15, 700, None)).unwrap();
        for (shorter, names) in
            [(policies(13, 7, None), "keep_all"), (policies(14, 6, None), "daily")]
        {
            let refused = held.check(&shorter).unwrap_err().to_string();
            assert!(refused.contains(names), "{refused}");
        }
        let mut of_one = policies(14, 7, None);
        of_one.set(Some(VOLUME), &Changes { daily: Slots::try_from(1).ok(), ..Changes::default() });
        let refused = held.check(&of_one).unwrap_err().to_string();
        assert!(refused.contains(&VOLUME.to_string()), "{refused}");
    }

    #[test]
    fn a_minimum_that_is_not_understood_ends_every_fold() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::local(dir.path());
        let now = FileTime::new(300_000 * DAY);
        let minimum = Minimum::new(DAY, policies(14, 7, None), now);
        minimum.add(&store).unwrap();
        Minimum::new(2 * DAY, Policies::default(), now).add(&store).unwrap();
        assert_eq!(Minimums::read(&store, now).unwrap().0.len(), 2);
        assert_eq!(Minimum::parse(minimum.to_text().as_bytes()), Ok(minimum));
        let path = dir.path().join(file(2));
        let text = fs::read_to_string(&path).unwrap();
        for damaged in [text.replace("span", "spam"), text.replace("until", "to"), String::new()] {
            fs::write(&path, &damaged).unwrap();
            let refused = Minimums::read(&store, now).unwrap_err().to_string();
            assert!(refused.contains("00000002.toml"), "{refused}");
        }
    }
}
