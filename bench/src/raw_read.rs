//! Reads a whole file as the sweep does, and nothing else: the physical limit of a first sync.

use std::time::{Duration, Instant};

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::memory::{Buffer, Memory};
use crate::ring::{Ring, Target, Verb};

/// The result of a raw read.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct RawRead {
    /// Bytes read.
    pub bytes: u64,
    /// Duration in seconds.
    pub seconds: f64,
}

/// Reads `step` bytes at a time with `depth` reads at once.
pub fn read(disk: &Disk, step: usize, depth: usize) -> Result<RawRead> {
    let mut ring: Ring<()> = Ring::new()?;
    let mut idle: Vec<Buffer> = (0..depth).map(|_| Buffer::new(step)).collect::<Result<_>>()?;
    let mut done = Vec::new();
    let (mut next, mut bytes) = (0, 0);
    let began = Instant::now();
    while next < disk.length() || ring.pending() > 0 {
        while next < disk.length()
            && let Some(buffer) = idle.pop()
        {
            let len = usize::try_from(disk.length() - next).unwrap_or(step).min(step);
            let target = Target::File(disk.file());
            ring.begin(target, &Verb::Read(next), Memory::Buffer(buffer), 0..len, ());
            next += len as u64;
        }
        ring.wait(Some(Duration::from_mins(1)))?;
        ring.take_done(&mut done);
        for it in done.drain(..) {
            let moved = it.result.map_err(Error::Wait)?;
            if moved != it.range.len() {
                let problem = "a read came back short".to_owned();
                return Err(Error::Volume { path: disk.path().to_path_buf(), problem });
            }
            bytes += moved as u64;
            if let Memory::Buffer(buffer) = it.memory {
                idle.push(buffer);
            }
        }
    }
    Ok(RawRead { bytes, seconds: began.elapsed().as_secs_f64() })
}
