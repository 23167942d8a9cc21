//! The truth of a file under load: the writer's own log, compared with the file as it is in a
//! restored image.
//!
//! The path there has nothing in common with the one that Snapless took: the image is read by an
//! NTFS reader on the host, and the expected content follows from the log of completed writes. A
//! sector must have the content of a write that no later one has certainly replaced; writes that
//! were under way together may have come to the disk in either order.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use snapless_e2e::ntfs;
use snapless_writer::extent::{Extent, SECTOR};
use snapless_writer::log::{self, Logged};
use snapless_writer::payload::{Payload, WriteId, claimed_id};

use crate::error::VmError;

/// Bytes that are read at a time: whole sectors.
const CHUNK: u64 = 1 << 20;

/// What a file must have once all writes of a log are done.
pub struct Truth {
    payload: Payload,
    /// Writes that may be the last one of a sector; `None` is a write of zeros.
    last: HashMap<u64, Vec<Candidate>>,
}

#[derive(Clone, Copy)]
struct Candidate {
    id: Option<WriteId>,
    completed: u64,
}

/// How a file agrees with its truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Sectors that were written to.
    pub written: u64,
    /// All sectors.
    pub sectors: u64,
}

impl Truth {
    /// The truth of a load with this seed on a file of zeros.
    pub fn new(mut writes: Vec<Logged>, seed: u64) -> Self {
        writes.sort_by_key(|write| write.submitted);
        let mut last: HashMap<u64, Vec<Candidate>> = HashMap::new();
        for write in writes {
            let id = (!write.zeros).then_some(write.id);
            for sector in write.extent.sectors() {
                let candidates = last.entry(sector).or_default();
                // The clock's ticks are coarse: equal times are no order.
                candidates.retain(|earlier| earlier.completed >= write.submitted.0);
                candidates.push(Candidate { id, completed: write.completed.0 });
            }
        }
        Self { payload: Payload::new(seed), last }
    }

    /// Compares a file in the root of an NTFS image; the inner error names the first sector that is
    /// wrong.
    pub fn check(&self, image: &Path, name: &str) -> Result<Result<Agreement, String>, VmError> {
        let extents = ntfs::data_extents(image, name);
        let extents = match extents {
            Ok(extents) => extents,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let disk = File::open(image).map_err(VmError::file("open", image))?;
        let mut sector = 0;
        for extent in extents {
            let mut done = 0;
            while done < extent.len() {
                let size = CHUNK.min(extent.len() - done);
                let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
                let read = disk.read_exact_at(&mut bytes, extent.offset() + done);
                read.map_err(VmError::file("read", image))?;
                if let Err(wrong) = self.check_bytes(sector, &bytes) {
                    return Ok(Err(format!("{name}: {wrong}")));
                }
                done += size;
                sector += size / SECTOR;
            }
        }
        Ok(Ok(Agreement { written: self.last.len() as u64, sectors: sector }))
    }

    fn check_bytes(&self, first: u64, bytes: &[u8]) -> Result<(), String> {
        let sectors = bytes.chunks_exact(usize::try_from(SECTOR).unwrap_or(512));
        for (sector, found) in (first..).zip(sectors) {
            let id = claimed_id(found);
            let is_expected = match self.last.get(&sector) {
                Some(candidates) => candidates.iter().any(|candidate| candidate.id == id),
                None => id.is_none(),
            };
            let name = |id: Option<WriteId>| id.map_or("zeros".to_owned(), |id| id.to_string());
            if !is_expected {
                let expected = self.last.get(&sector).into_iter().flatten();
                let expected: Vec<_> = expected.map(|candidate| name(candidate.id)).collect();
                return Err(format!(
                    "sector {sector:#x} has the content of {}, expected {expected:?}",
                    name(id)
                ));
            }
            let extent = Extent::new(sector * SECTOR, SECTOR).ok_or("beyond the last sector")?;
            self.payload.check(extent, found).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// Reads the log of a load.
pub fn read_log(path: &Path) -> Result<Vec<Logged>, VmError> {
    log::read(path).map_err(|error| VmError::Unusable(error.to_string()))
}
