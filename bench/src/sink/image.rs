//! A sink that applies records to image files: the latest state, and the state at t0.
//!
//! Rule: all records are applied in order; an epoch is acknowledged after it was applied.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use snapless_engine::{Record, Step};
use snapless_types::RecordKind;

use crate::error::{IoContext, Result};
use crate::run::Run;
use crate::sink::Serve;

/// The files.
#[derive(Debug)]
pub struct Images {
    latest: (File, PathBuf),
    t0: Option<(File, PathBuf)>,
}

impl Images {
    /// Creates files of `length` zeros.
    pub fn create(latest: &Path, t0: Option<&Path>, length: u64) -> Result<Self> {
        let create = |path: &Path| -> Result<(File, PathBuf)> {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(true);
            let file = options.open(path).on("create", path)?;
            file.set_len(length).on("resize", path)?;
            Ok((file, path.to_path_buf()))
        };
        Ok(Self { latest: create(latest)?, t0: t0.map(create).transpose()? })
    }
}

impl Serve for Images {
    fn serve(&mut self, run: &Run) -> Result<Step<()>> {
        let drained = match run.session.drain(u64::MAX) {
            Step::Do(drained) => drained,
            Step::Wait(until) => return Ok(Step::Wait(until)),
            Step::Again => return Ok(Step::Again),
            Step::Ended => return Ok(Step::Ended),
        };
        let record = drained.record();
        let applied = self.apply(&record, run.queue.payload(&drained));
        run.session.drained(drained);
        applied?;
        if record.kind == RecordKind::EpochEnd {
            super::acknowledge(run, record.epoch);
        }
        run.progress.reach(record.seq.get());
        Ok(Step::Do(()))
    }
}

impl Images {
    fn apply(&self, record: &Record, payload: &[u8]) -> Result<()> {
        let Some(extent) = record.extent else { return Ok(()) };
        let (file, path) = &self.latest;
        match record.kind {
            RecordKind::Block | RecordKind::Write | RecordKind::Resync => {
                file.write_all_at(payload, extent.offset()).on("write", path)?;
            }
            RecordKind::Trim | RecordKind::Zero => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                let cleared = fallocate(file, flags, extent.offset(), extent.len());
                cleared.map_err(std::io::Error::from).on("clear a part of", path)?;
            }
            _ => {}
        }
        if let (RecordKind::Block, Some((file, path))) = (record.kind, &self.t0) {
            file.write_all_at(payload, extent.offset()).on("write", path)?;
        }
        Ok(())
    }
}
