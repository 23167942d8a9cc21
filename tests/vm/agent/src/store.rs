//! The result disk, and files on their way to the harness.
//!
//! The rule: an outcome is on the disk before it is told, so that a line that breaks loses nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use vm_protocol::message::{FILE_MAX, FILE_PART, FromGuest, Outcome, StepNumber, is_plain_name};
use vm_protocol::results::{self, FILES, Kept, OUTCOMES};

use crate::error::AgentError;
use crate::line::Line;

/// The result disk, if there is one.
pub struct Store {
    folder: Option<PathBuf>,
}

impl Store {
    /// Looks for the result disk.
    pub fn find(named: Option<&Path>) -> Self {
        let drives = ('D'..='Z').map(|letter| PathBuf::from(format!("{letter}:\\")));
        let mut places = named.map(Path::to_path_buf).into_iter().chain(drives);
        Self { folder: places.find(|place| results::is_at(place)) }
    }

    /// Adds an outcome.
    pub fn keep(&mut self, step: StepNumber, outcome: &Outcome) -> Result<(), AgentError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let path = folder.join(OUTCOMES);
        let text = serde_json::to_string(&Kept { step, outcome: outcome.clone() });
        let text = text.map_err(|error| AgentError::Found(error.to_string()))?;
        let kept = OpenOptions::new().create(true).append(true).open(&path).and_then(|mut file| {
            file.write_all(format!("{text}\n").as_bytes())?;
            file.sync_all()
        });
        kept.map_err(|source| AgentError::File("write", path, source))
    }

    /// Copies a file.
    pub fn copy(&mut self, file: &Path, name: &str) -> Result<(), AgentError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let folder = folder.join(FILES);
        let target = folder.join(name);
        let copied = fs::create_dir_all(&folder).and_then(|()| {
            fs::copy(file, &target)?;
            OpenOptions::new().append(true).open(&target)?.sync_all()
        });
        copied.map_err(|source| AgentError::File("copy", file.to_path_buf(), source))
    }

    /// Keeps the output of a program, and sends it.
    pub fn save(
        &mut self,
        name: &str,
        content: &[u8],
        step: StepNumber,
        line: &Line,
    ) -> Result<(), AgentError> {
        let file = std::env::temp_dir().join(name);
        fs::write(&file, content)
            .map_err(|source| AgentError::File("write", file.clone(), source))?;
        self.copy(&file, name)?;
        send(&file, name, step, line)
    }
}

/// The files that a path names: itself, or those directly in it. None if it is not there.
pub fn files_at(path: &Path) -> Result<Vec<PathBuf>, AgentError> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    if !path.is_dir() {
        return Ok(Vec::new());
    }
    let failed = |source| AgentError::File("list", path.to_path_buf(), source);
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?.path();
        if entry.is_file() {
            files.push(entry);
        }
    }
    files.sort();
    Ok(files)
}

/// A file's name in the results.
pub fn plain_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let name: String =
        name.chars().take(100).map(|letter| if is_plain(letter) { letter } else { '_' }).collect();
    if is_plain_name(&name) { name } else { format!("file{}", name.replace('.', "_")) }
}

/// Sends a file over the line, unless it is too long for that.
pub fn send(file: &Path, name: &str, step: StepNumber, line: &Line) -> Result<(), AgentError> {
    let failed = |source| AgentError::File("read", file.to_path_buf(), source);
    let mut content = File::open(file).map_err(failed)?;
    if content.metadata().map_err(failed)?.len() > FILE_MAX {
        return Ok(());
    }
    let (mut offset, mut part) = (0, vec![0; FILE_PART]);
    loop {
        let count = content.read(&mut part).map_err(failed)?;
        // An empty file is told too, by one part.
        if count == 0 && offset > 0 {
            return Ok(());
        }
        let data = results::to_text(&part[..count]);
        line.send(&FromGuest::File { step, name: name.to_owned(), offset, data })?;
        if count == 0 {
            return Ok(());
        }
        offset += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_kept_on_a_disk_that_has_its_mark_only() {
        let dir = tempfile::tempdir().unwrap();
        let outcomes = dir.path().join(OUTCOMES);
        Store::find(Some(dir.path())).keep(0, &Outcome::Passed).unwrap();
        assert!(!outcomes.exists());
        fs::write(dir.path().join(results::MARK), "").unwrap();
        let failed = Outcome::Failed { why: "it rains".to_owned() };
        let mut store = Store::find(Some(dir.path()));
        store.keep(0, &Outcome::Passed).unwrap();
        store.keep(1, &failed).unwrap();
        let kept = results::kept(&fs::read_to_string(outcomes).unwrap());
        let passed = Kept { step: 0, outcome: Outcome::Passed };
        assert_eq!(kept, [passed, Kept { step: 1, outcome: failed }]);
    }

    #[test]
    fn any_file_gets_a_plain_name() {
        for (file, name) in [
            ("MEMORY.DMP", "MEMORY.DMP"),
            ("Microsoft-Windows-Kernel%4Admin.evtx", "Microsoft-Windows-Kernel_4Admin.evtx"),
            (".profile", "file_profile"),
        ] {
            assert_eq!(plain_name(Path::new(file)), name);
            assert!(is_plain_name(&plain_name(Path::new(file))));
        }
    }
}
