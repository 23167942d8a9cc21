//! `groups.toml`: which volumes, of whatever machine, are a consistency group.
//!
//! ```toml
//! [group]
//! sql = ["71a27cdd-812a-11d0-bec7-08002be2092f", "71a27cde-812a-11d0-bec7-08002be2092f"]
//! ```
//!
//! Rule: who is in a group is the server administrator's word alone: a machine that asks for a
//! common bookmark has writes wait on the others, and gives their points names. A file that is not
//! understood in full is an error.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use snapless_link::question::{GROUP_MAX, GROUP_NAME, is_group_name};
use snapless_wire::id::VolumeGuid;

use crate::error::{Error, Result};
use crate::storage::Store;
use crate::toml_text;

/// The file's name.
pub const GROUPS_FILE: &str = "groups.toml";
/// Most groups.
const GROUPS_MAX: usize = 1_000;
/// Most bytes of the file that are read: all groups, with as many volumes as each may have.
const GROUPS_LEN_MAX: usize = 2 << 20;

/// The groups of a repository.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Groups {
    #[serde(default)]
    group: BTreeMap<GroupName, Members>,
}

/// A group's name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct GroupName(String);

/// The volumes of a group, in the order in which they were named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Members(Vec<VolumeGuid>);

impl FromStr for GroupName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = is_group_name(text).then(|| Self(text.to_owned()));
        name.ok_or_else(|| format!("\"{text}\" is no name of a group: expected {GROUP_NAME}"))
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Members {
    /// These volumes.
    ///
    /// # Errors
    /// For none, for more than [`GROUP_MAX`], and for one that is named twice.
    pub fn new(volumes: Vec<VolumeGuid>) -> Result<Self, String> {
        if !(1..=GROUP_MAX).contains(&volumes.len()) {
            return Err(format!("a group has 1 to {GROUP_MAX} volumes"));
        }
        let twice = volumes.iter().enumerate().find(|(at, it)| volumes[..*at].contains(it));
        match twice {
            Some((_, volume)) => Err(format!("volume {volume} is named twice")),
            None => Ok(Self(volumes)),
        }
    }

    /// The volumes.
    pub fn volumes(&self) -> &[VolumeGuid] {
        &self.0
    }
}

impl Groups {
    /// Reads those of a repository; without the file, there are none.
    ///
    /// # Errors
    /// [`Error::Groups`] for a file that is not understood in full.
    pub fn read(store: &Store) -> Result<Self> {
        let path = Path::new(GROUPS_FILE);
        match store.read_head(path, GROUPS_LEN_MAX) {
            Ok(bytes) => {
                Self::parse(&bytes).map_err(|why| Error::Groups { path: store.locate(path), why })
            }
            Err(error) if error.is_not_found() => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Replaces those of a repository, durably.
    ///
    /// # Errors
    /// What keeps the file from being written.
    pub fn write(&self, store: &Store) -> Result<()> {
        store.create_durably(Path::new(GROUPS_FILE), self.to_string().as_bytes())
    }

    /// Reads the bytes of the file.
    ///
    /// # Errors
    /// What is not understood, and where.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let groups: Self = toml_text::parse(bytes)?;
        if groups.group.len() > GROUPS_MAX {
            return Err(format!("there are {GROUPS_MAX} groups at most"));
        }
        Ok(groups)
    }

    /// The volumes of a group, if there is one of this name.
    pub fn find(&self, name: &str) -> Option<&Members> {
        self.group.get(&GroupName(name.to_owned()))
    }

    /// All of them, in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&GroupName, &Members)> {
        self.group.iter()
    }

    /// Makes a group, or replaces its volumes.
    ///
    /// # Errors
    /// If there are as many as there can be.
    pub fn set(&mut self, name: GroupName, members: Members) -> Result<(), String> {
        if self.group.len() >= GROUPS_MAX && !self.group.contains_key(&name) {
            return Err(format!("there are {GROUPS_MAX} groups, and no more can be: remove one"));
        }
        self.group.insert(name, members);
        Ok(())
    }

    /// Removes a group; false if there is none of this name.
    pub fn remove(&mut self, name: &GroupName) -> bool {
        self.group.remove(name).is_some()
    }
}

impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "# Groups of volumes. `snapless-server group` changes it; see docs/groups.md.\n\
             \n[group]\n",
        )?;
        for (name, members) in &self.group {
            let mut volumes = String::new();
            for volume in members.volumes() {
                write!(volumes, "{}\"{volume}\"", if volumes.is_empty() { "" } else { ", " })?;
            }
            writeln!(f, "\"{name}\" = [{volumes}]")?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for GroupName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for GroupName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let volume = |text: String| {
            VolumeGuid::parse_name(&text)
                .filter(|volume| !volume.is_nil())
                .ok_or_else(|| format!("\"{text}\" is no GUID of a volume"))
        };
        let texts = Vec::<String>::deserialize(from)?;
        let volumes = texts.into_iter().map(volume).collect::<Result<_, _>>();
        volumes.and_then(Self::new).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(ToString::to_string))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(number: usize) -> VolumeGuid {
        VolumeGuid([u8::try_from(number + 1).unwrap(); 16])
    }

    fn members(count: usize) -> Result<Members, String> {
        Members::new((0..count).map(volume).collect())
    }

    #[test]
    fn what_is_written_is_read() {
        let mut groups = Groups::default();
        for (name, count) in [("sql", 2), ("v1.2", GROUP_MAX)] {
            groups.set(name.parse().unwrap(), members(count).unwrap()).unwrap();
        }
        assert_eq!(Groups::parse(groups.to_string().as_bytes()), Ok(groups.clone()));
        assert_eq!(groups.find("sql").unwrap().volumes(), [volume(0), volume(1)]);
        assert!(groups.find("SQL").is_none());
        assert!(groups.remove(&"sql".parse().unwrap()) && groups.find("sql").is_none());
        assert!(!groups.remove(&"sql".parse().unwrap()));
        assert_eq!(Groups::parse(b""), Ok(Groups::default()));
    }

    #[test]
    fn an_error_names_what_is_wrong() {
        let (one, two) = (volume(0), volume(1));
        for (text, names) in [
            ("[groups]".to_owned(), "groups"),
            ("[group]\n\"a b\" = []".to_owned(), "a b"),
            ("[group]\na = []".to_owned(), "1 to 24"),
            (format!("[group]\na = [\"{one}\", \"{two}\", \"{one}\"]"), "twice"),
            ("[group]\na = [\"D:\"]".to_owned(), "D:"),
            ("[group]\na = [\"00000000-0000-0000-0000-000000000000\"]".to_owned(), "00000000"),
            (format!("[group]\na = [\"{one}\"]\na = [\"{two}\"]"), "duplicate"),
        ] {
            let refused = Groups::parse(text.as_bytes()).unwrap_err();
            assert!(refused.contains(names), "{text}: {refused}");
        }
        assert!(members(GROUP_MAX + 1).unwrap_err().contains("1 to 24"));
    }

    #[test]
    fn there_are_not_more_groups_than_are_read() {
        let mut groups = Groups::default();
        let longest = |number: usize| format!("{number:064}").parse::<GroupName>().unwrap();
        for number in 0..GROUPS_MAX {
            groups.set(longest(number), members(GROUP_MAX).unwrap()).unwrap();
        }
        let bytes = groups.to_string();
        assert!(bytes.len() <= GROUPS_LEN_MAX);
        assert_eq!(Groups::parse(bytes.as_bytes()).as_ref(), Ok(&groups));
        groups.set(longest(0), members(1).unwrap()).unwrap();
        assert!(groups.set(longest(GROUPS_MAX), members(1).unwrap()).unwrap_err().contains("1000"));
    }
}
