//! A run's folder: each path is defined once.
//!
//! The rule: a run that passed leaves its logs, not its images; a run that failed leaves all that
//! was not found right before.

use std::path::{Path, PathBuf};

use protocol::names::VOLUME_GUID;

use crate::error::E2eError;

/// `target/e2e/<name>`.
#[derive(Clone, Debug)]
pub struct RunFolder {
    /// The folder itself.
    pub root: PathBuf,
    /// The programs' logs.
    pub logs: PathBuf,
    /// The Wine prefix.
    pub prefix: PathBuf,
    /// The server's repository.
    pub repository: PathBuf,
    /// The image that the test volume works on.
    pub volume: PathBuf,
    /// The test volume's journal.
    pub journal: PathBuf,
    /// What the writer may overwrite.
    pub regions: PathBuf,
    /// The writer's log.
    pub writes: PathBuf,
    /// The model of the volume for the comparison.
    pub model: PathBuf,
    /// The volume's name at the server.
    pub guid: String,
}

impl RunFolder {
    /// Makes the folder anew.
    pub fn create(root: &Path) -> Result<Self, E2eError> {
        if root.exists() {
            std::fs::remove_dir_all(root).map_err(E2eError::file("remove", root))?;
        }
        let folder = Self::at(root);
        for path in [&folder.logs, &folder.repository] {
            std::fs::create_dir_all(path).map_err(E2eError::file("create", path))?;
        }
        Ok(folder)
    }

    /// The folder of a run that has begun.
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.into(),
            logs: root.join("logs"),
            prefix: root.join("prefix"),
            repository: root.join("repository"),
            volume: root.join("volume.img"),
            journal: root.join("journal.bin"),
            regions: root.join("regions.txt"),
            writes: root.join("writes.log"),
            model: root.join("model.img"),
            guid: VOLUME_GUID.to_owned(),
        }
    }

    /// The image restored at `at`.
    pub fn restored(&self, at: &str) -> PathBuf {
        self.root.join(format!("restored-{at}.img"))
    }

    /// Removes the Wine prefix and the volume of a machine that was taken down, and whose traces
    /// were looked at: what is compared is elsewhere.
    pub fn discard_machine(&self) -> Result<(), E2eError> {
        std::fs::remove_dir_all(&self.prefix).map_err(E2eError::file("remove", &self.prefix))?;
        std::fs::remove_file(&self.volume).map_err(E2eError::file("remove", &self.volume))
    }

    /// Removes everything but the logs.
    pub fn discard_images(&self) -> Result<(), E2eError> {
        self.discard_all_but(&[&self.logs])
    }

    /// The same, and lets the repository stay if it is still to be looked at.
    pub fn discard_images_unless(&self, repository_stays: bool) -> Result<(), E2eError> {
        if repository_stays {
            self.discard_all_but(&[&self.logs, &self.repository])
        } else {
            self.discard_images()
        }
    }

    fn discard_all_but(&self, kept: &[&Path]) -> Result<(), E2eError> {
        let entries = std::fs::read_dir(&self.root).map_err(E2eError::file("list", &self.root))?;
        for entry in entries {
            let path = entry.map_err(E2eError::file("list", &self.root))?.path();
            if kept.contains(&&*path) {
                continue;
            }
            let removed = if path.is_dir() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
            removed.map_err(E2eError::file("remove", &path))?;
        }
        Ok(())
    }
}

/// The text of a file; nothing if there is no file.
pub fn read_if_there(file: &Path) -> Result<String, E2eError> {
    match std::fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(E2eError::file("read", file)(error)),
        Ok(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_begins_empty_and_keeps_its_logs() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("run");
        let folder = RunFolder::create(&root).unwrap();
        std::fs::write(&folder.journal, "x").unwrap();
        std::fs::write(folder.logs.join("a.log"), "x").unwrap();
        folder.discard_images_unless(true).unwrap();
        assert!(!folder.journal.exists() && folder.repository.exists());
        folder.discard_images_unless(false).unwrap();
        assert!(!folder.journal.exists() && !folder.repository.exists());
        assert!(folder.logs.join("a.log").exists());
        let folder = RunFolder::create(&root).unwrap();
        assert!(!folder.logs.join("a.log").exists());
    }
}
