//! A point as a disk.

use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock, PoisonError};

use snapless_nbd::{Allocation, Disk, Errno};

use crate::error::Error;
use crate::point::{Content, PointReader};

/// Errors of different places that are logged; a client may read the same damage again and again.
const TOLD_MAX: usize = 1000;

/// The image of a point.
pub(super) struct Image<'a> {
    reader: &'a PointReader,
    /// Protects the errors that were logged.
    told: Mutex<BTreeSet<String>>,
    first: &'a OnceLock<Error>,
}

impl<'a> Image<'a> {
    /// A disk whose first error is kept.
    pub(super) fn new(reader: &'a PointReader, first: &'a OnceLock<Error>) -> Self {
        Self { reader, told: Mutex::default(), first }
    }

    fn tell(&self, error: Error) {
        let text = error.to_string();
        // Set once.
        drop(self.first.set(error));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD_MAX && !told.contains(&text) {
            log::error!("a read failed: {text}");
            told.insert(text);
        }
    }
}

impl Disk for Image<'_> {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        self.reader.read(offset, buffer).map_err(|error| {
            self.tell(error);
            Errno::Io
        })
    }

    fn allocation(&self, offset: u64, len: u32, most: usize) -> Vec<Allocation> {
        let mut runs: Vec<Allocation> = Vec::new();
        for found in self.reader.map().content(offset..offset + u64::from(len)) {
            let (part, content) = match found {
                Ok(found) => found,
                Err(error) => {
                    // A read of it fails.
                    self.tell(error);
                    let told: u32 = runs.iter().map(|run| run.len).sum();
                    runs.push(Allocation { len: len.saturating_sub(told), is_hole: false });
                    break;
                }
            };
            let is_hole = !matches!(content, Content::Stored(_));
            // A part is no longer than what was asked for.
            let len = u32::try_from(part.end - part.start).unwrap_or(len);
            let count = runs.len();
            match runs.last_mut() {
                Some(last) if last.is_hole == is_hole => last.len += len,
                _ if count == most => break,
                _ => runs.push(Allocation { len, is_hole }),
            }
        }
        runs
    }
}
