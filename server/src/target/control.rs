//! The slots of an unfinished image on its target ([`crate::format::unfinished`]).

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::format::slots::SLOTS_FILE_LEN;
use crate::format::unfinished::Unfinished;
use crate::storage::local::{read_exact_at, write_all_at};

/// Bytes of both slots.
pub(super) const CONTROL_LEN: usize = SLOTS_FILE_LEN;

/// Writes the slots of a target, in turn.
#[derive(Debug)]
pub(super) struct Control {
    file: File,
    path: PathBuf,
    /// Where the slots begin.
    at: u64,
    /// What was written last.
    last: Unfinished,
}

impl Control {
    /// For the slots at `at` of an open target, after the one given.
    ///
    /// # Errors
    /// The system has no further handle.
    pub(super) fn new(file: &File, path: &Path, at: u64, last: Unfinished) -> Result<Self> {
        let file = file.try_clone().map_err(Error::file("open", path))?;
        Ok(Self { file, path: path.to_owned(), at, last })
    }

    /// How far the image is on the disk.
    pub(super) fn done(&self) -> u64 {
        self.last.done
    }

    /// Waits until all that was written is on the disk, and notes then that the image's bytes
    /// before `done` are. The note itself is on the disk with the next sync.
    pub(super) fn check(&mut self, done: u64) -> Result<()> {
        self.file.sync_data().map_err(Error::file("sync", &self.path))?;
        let generation = self.last.generation.wrapping_add(1);
        let next = Unfinished { done, generation, ..self.last.clone() };
        // A target whose name is too long is not noted.
        if let Some(slot) = next.to_slot() {
            let at = self.at + next.slot_offset() as u64;
            write_all_at(&self.file, &slot, at).map_err(Error::file("write", &self.path))?;
            self.last = next;
        }
        Ok(())
    }
}

/// What the slots at `at` say; `None` if neither is sound.
pub(super) fn read(file: &File, at: u64) -> io::Result<Option<Unfinished>> {
    let mut slots = vec![0; CONTROL_LEN];
    read_exact_at(file, &mut slots, at)?;
    Ok(Unfinished::read(&slots).ok())
}
