//! Changes to the configuration that administrators make by command. What they have written into
//! the file, comments and order included, stays as it is.
//!
//! Rule: a change is written only if the service can use the whole file with it.

use std::io;
use std::mem;
use std::path::{Path, PathBuf};

use snapless_driver_client::VolumeName;
use snapless_trust::private;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use crate::config::{Config, ConfigError};
use crate::files::{Durability, replace};
use crate::size::Size;

const SERVER: &str = "server";
const VOLUMES: &str = "volumes";
const SEND_RATE: &str = "send_rate";
const PAUSED: &str = "paused";
const GROUP: &str = "group";

/// A change to the configuration. A volume has its place in [`Config::volumes`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change<'a> {
    /// Another volume. Its server becomes that of all volumes that name no other one, if there is
    /// none yet.
    Add {
        /// The volume's name.
        name: &'a VolumeName,
        /// The server, `host:port`.
        server: &'a str,
        /// The consistency group.
        group: Option<&'a str>,
    },
    /// A volume less.
    Remove(usize),
    /// A volume is paused, or goes on.
    Pause(usize, bool),
    /// A volume is in this consistency group.
    Group(usize, &'a str),
    /// So many bytes are sent per second at most; `None`: as many as the link takes.
    SendRate(Option<u64>),
}

/// The file.
#[derive(Clone, Debug)]
pub struct SettingsFile {
    file: PathBuf,
    /// No file is as good as an empty one.
    may_be_missing: bool,
}

/// A change that the service can use, and that is not written yet.
#[derive(Debug)]
pub struct Edited {
    text: String,
    /// The configuration with it.
    pub config: Config,
}

/// Why a configuration cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It cannot be read, or could not be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It cannot be edited.
    #[error("the configuration {file} cannot be changed: {why}; edit it yourself")]
    Edit {
        /// The file.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// It cannot be written.
    #[error("cannot write the configuration {file}: {source}")]
    Write {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl SettingsFile {
    /// The file that there is by default: without it nothing is configured.
    pub fn default_at(file: PathBuf) -> Self {
        Self { file, may_be_missing: true }
    }

    /// A file that has been named.
    pub fn named(file: PathBuf) -> Self {
        Self { file, may_be_missing: false }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// The configuration.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn config(&self) -> Result<Config, ConfigError> {
        Config::parse(&self.file, &self.text()?)
    }

    /// The configuration with a change.
    ///
    /// # Errors
    /// [`SettingsError`], if it cannot be used before or with the change.
    pub fn edit(&self, change: Change<'_>) -> Result<Edited, SettingsError> {
        let failed = |why: String| SettingsError::Edit { file: self.file.clone(), why };
        let text = self.text()?;
        // Its own message has the line.
        Config::parse(&self.file, &text)?;
        let mut document: DocumentMut =
            text.parse().map_err(|why: toml_edit::TomlError| failed(why.to_string()))?;
        apply(&mut document, change).ok_or_else(|| failed("`volumes` is no list".to_owned()))?;
        let text = document.to_string();
        Ok(Edited { config: Config::parse(&self.file, &text)?, text })
    }

    /// Writes a change: as a whole, and durably.
    ///
    /// # Errors
    /// [`SettingsError::Write`].
    pub fn write(&self, edited: &Edited) -> Result<(), SettingsError> {
        let write = || {
            // A link stays one.
            let file = match std::fs::canonicalize(&self.file) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if let Some(folder) = self.file.parent() {
                        private::create_folders(folder)?;
                    }
                    self.file.clone()
                }
                Err(error) => return Err(error),
            };
            replace(&file, edited.text.as_bytes(), Durability::Synced)
        };
        write().map_err(|source| SettingsError::Write { file: self.file.clone(), source })
    }

    fn text(&self) -> Result<String, ConfigError> {
        match Config::text(&self.file) {
            Err(error) if error.is_missing() && self.may_be_missing => Ok(String::new()),
            read => read,
        }
    }
}

/// Carries out a change; `None` if there is no list of volumes to change.
fn apply(document: &mut DocumentMut, change: Change<'_>) -> Option<()> {
    if let Change::Add { server, .. } = change
        && !document.contains_key(SERVER)
    {
        document.insert(SERVER, value(server));
    }
    let main = document.get(SERVER).and_then(Item::as_str).map(str::to_owned);
    if let Change::SendRate(rate) = change {
        match rate {
            Some(rate) => _ = document.insert(SEND_RATE, value(Size(rate).to_string())),
            None => _ = document.remove(SEND_RATE),
        }
        return Some(());
    }
    let volumes = volumes(document)?;
    match change {
        Change::Add { name, server, group } => {
            let mut section = Table::new();
            let key = if let VolumeName::Device(_) = name { "device" } else { "volume" };
            section.insert(key, value(name.to_string()));
            if main.as_deref() != Some(server) {
                section.insert(SERVER, value(server));
            }
            if let Some(group) = group {
                section.insert(GROUP, value(group));
            }
            volumes.push(section);
        }
        Change::Remove(place) => {
            volumes.get(place)?;
            volumes.remove(place);
        }
        Change::Pause(place, true) => {
            volumes.get_mut(place)?.insert(PAUSED, value(true));
        }
        Change::Pause(place, false) => {
            volumes.get_mut(place)?.remove(PAUSED);
        }
        Change::Group(place, group) => {
            volumes.get_mut(place)?.insert(GROUP, value(group));
        }
        Change::SendRate(_) => {}
    }
    Some(())
}

/// The volumes, as `[[volumes]]` sections, whatever way they were written.
fn volumes(document: &mut DocumentMut) -> Option<&mut ArrayOfTables> {
    let empty = || Item::ArrayOfTables(ArrayOfTables::new());
    let item = document.entry(VOLUMES).or_insert_with(empty);
    if !item.is_array_of_tables() {
        let sections = mem::take(item).into_array_of_tables();
        *item = Item::ArrayOfTables(sections.ok()?);
    }
    item.as_array_of_tables_mut()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUID: &str = "{71a27cdd-812a-11d0-bec7-08002be2092f}";
    const OTHER: &str = "{00000001-812a-11d0-bec7-08002be2092f}";
    const BY_HAND: &str = "# our backup\nserver = \"backup:4850\" # in the cellar\n\n\
                           [[volumes]]\nvolume = \"{71a27cdd-812a-11d0-bec7-08002be2092f}\"\n\
                           queue_size = \"1 GiB\" # a busy one\n";

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn with(text: &str) -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            std::fs::write(folder.path(), text).unwrap();
            folder
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("service.toml")
        }

        fn change(&self, change: Change<'_>) -> Result<String, SettingsError> {
            let file = SettingsFile::named(self.path());
            let edited = file.edit(change)?;
            file.write(&edited)?;
            assert_eq!(file.config().unwrap(), edited.config);
            Ok(std::fs::read_to_string(self.path()).unwrap())
        }
    }

    /// Another volume, at the server that the files have.
    fn add(name: &VolumeName) -> Change<'_> {
        Change::Add { name, server: "backup:4850", group: None }
    }

    #[test]
    fn a_volume_is_added_and_taken_out_and_the_rest_stays_as_it_was_written() {
        let folder = Folder::with(BY_HAND);
        let name = OTHER.parse().unwrap();
        let added = folder.change(add(&name)).unwrap();
        assert_eq!(added, format!("{BY_HAND}\n[[volumes]]\nvolume = \"{OTHER}\"\n"));
        let device = r"\Device\X".parse().unwrap();
        let added = folder.change(add(&device)).unwrap();
        assert!(added.ends_with("device = '\\Device\\X'\n"), "{added}");
        folder.change(Change::Remove(2)).unwrap();
        assert_eq!(folder.change(Change::Remove(1)).unwrap(), BY_HAND);
        let none = folder.change(Change::Remove(0)).unwrap();
        assert!(none.starts_with("# our backup\nserver") && !none.contains("volume"), "{none}");
    }

    #[test]
    fn a_volume_may_go_to_a_server_of_its_own_and_be_in_a_group() {
        let folder = Folder::with(BY_HAND);
        let name = OTHER.parse().unwrap();
        let change = Change::Add { name: &name, server: "another:1", group: Some("sql") };
        let added = folder.change(change).unwrap();
        let section = format!("volume = \"{OTHER}\"\nserver = \"another:1\"\ngroup = \"sql\"\n");
        assert_eq!(added, format!("{BY_HAND}\n[[volumes]]\n{section}"));
        let moved = folder.change(Change::Group(1, "mail")).unwrap();
        assert_eq!(moved, added.replace("sql", "mail"));
        let refused = folder.change(Change::Group(0, "mail")).unwrap_err().to_string();
        assert!(refused.contains("same server"), "{refused}");
    }

    #[test]
    fn a_volume_is_paused_and_goes_on() {
        let folder = Folder::with(BY_HAND);
        let paused = folder.change(Change::Pause(0, true)).unwrap();
        assert_eq!(paused, format!("{BY_HAND}paused = true\n"));
        assert_eq!(folder.change(Change::Pause(0, true)).unwrap(), paused);
        assert_eq!(folder.change(Change::Pause(0, false)).unwrap(), BY_HAND);
    }

    #[test]
    fn a_rate_is_set_and_taken_away() {
        let folder = Folder::with(BY_HAND);
        let limited = folder.change(Change::SendRate(Some(20 << 20))).unwrap();
        assert!(limited.contains("\nsend_rate = \"20 MiB\"\n"), "{limited}");
        assert!(folder.change(Change::SendRate(Some(1))).is_err());
        assert_eq!(folder.change(Change::SendRate(None)).unwrap(), BY_HAND);
    }

    #[test]
    fn a_schedule_stays_as_it_was_written() {
        let schedule = "# by day others need the link\n[[send_rates]]\n\
                        days = [\"mon\", \"tue\"] # not on Wednesdays\n\
                        from = \"08:00\"\nrate = \"20 MiB\" # a fifth\n";
        let folder = Folder::with(&format!("{BY_HAND}\n{schedule}"));
        let limited = folder.change(Change::SendRate(Some(20 << 20))).unwrap();
        assert!(limited.contains("\nsend_rate = \"20 MiB\"\n"), "{limited}");
        assert!(limited.ends_with(schedule), "{limited}");
        let name = OTHER.parse().unwrap();
        folder.change(add(&name)).unwrap();
        folder.change(Change::Remove(1)).unwrap();
        let same = folder.change(Change::SendRate(None)).unwrap();
        assert_eq!(same, format!("{BY_HAND}\n{schedule}"));
        // Alone in a file, too.
        let folder = Folder::with(schedule);
        let added = folder.change(add(&name)).unwrap();
        assert!(added.contains(schedule) && added.starts_with("server"), "{added}");
    }

    #[test]
    fn without_a_file_the_first_volume_makes_one_with_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/service.toml");
        assert!(SettingsFile::named(path.clone()).config().unwrap_err().is_missing());
        let file = SettingsFile::default_at(path.clone());
        assert_eq!(file.config().unwrap().volumes, []);
        let name = GUID.parse().unwrap();
        file.write(&file.edit(Change::Add { name: &name, server: "s:1", group: None }).unwrap())
            .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("server = \"s:1\"\n\n[[volumes]]\nvolume = \"{GUID}\"\n"));
    }

    #[test]
    fn volumes_in_one_line_become_sections() {
        let folder = Folder::with(&format!(
            "server = \"s:1\"\nvolumes = [{{ volume = \"{GUID}\", compare = false }}]\n"
        ));
        folder
            .change(Change::Add { name: &OTHER.parse().unwrap(), server: "s:1", group: None })
            .unwrap();
        let config = SettingsFile::named(folder.path()).config().unwrap();
        assert_eq!(config.volumes.iter().map(|it| it.compare).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn a_file_that_the_service_cannot_use_is_left_alone() {
        for (text, why) in [
            ("server = \"s:1\"\n[[volumes]]\nvolume = 7\n", "line 3"),
            ("server = \n", "line 1"),
            ("volumes = 7\n", "line 1"),
        ] {
            let folder = Folder::with(text);
            let name = OTHER.parse().unwrap();
            let refused =
                folder.change(Change::Add { name: &name, server: "s:1", group: None }).unwrap_err();
            assert!(refused.to_string().contains(why), "{refused}");
            assert_eq!(std::fs::read_to_string(folder.path()).unwrap(), text);
        }
        let folder = Folder::with(BY_HAND);
        let twice = folder.change(add(&GUID.parse().unwrap()));
        assert!(twice.unwrap_err().to_string().contains("each volume once"));
        assert!(folder.change(Change::Remove(7)).is_err());
        assert_eq!(std::fs::read_to_string(folder.path()).unwrap(), BY_HAND);
    }
}
