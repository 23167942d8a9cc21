//! Where a restored image goes: a file, a block device, or memory.
//!
//! A file takes the target's name only when it is complete and durable; until then the old file
//! stays. Zeros become holes. A device is written in place, zeros included, since it has other
//! content; until it is complete its first bytes say that it is not. A link is followed to what it
//! leads to, as `cp` does.
//!
//! A restore that is interrupted leaves what a later one of the same image goes on with: up to its
//! last checkpoint the image is on the disk ([`CHECKPOINT_BYTES`]).

use std::ops::Range;
use std::path::Path;

use snapless_wire::id::FileTime;

use crate::error::{Error, Result};
use crate::format::unfinished::ImageId;
use crate::stop::StopFlag;

mod checkpoints;
mod control;
mod demand;
mod device;
mod image_file;
mod in_use;
pub mod left;
pub mod partial;
mod place;
mod runs;

pub use checkpoints::CHECKPOINT_BYTES;
pub use demand::Demand;
use device::Device;
pub use image_file::ImageFile;
use place::Place;
pub use place::keep_out;

/// An image that is being written.
pub trait Target {
    /// Writes content.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Makes zeros.
    fn zero(&mut self, offset: u64, len: u64) -> Result<()>;

    /// Writes content where nothing has been written yet.
    fn write_first(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.write(offset, bytes)
    }

    /// Makes zeros where nothing has been written yet.
    fn zero_first(&mut self, offset: u64, len: u64) -> Result<()> {
        self.zero(offset, len)
    }

    /// The part of the image that is there already.
    fn there(&self) -> Range<u64> {
        0..0
    }

    /// All of the image before `done` was written.
    fn reached(&mut self, done: u64) -> Result<()> {
        _ = done;
        Ok(())
    }
}

/// An image in memory, as long as the volume.
impl Target for Vec<u8> {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        self[start..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn zero(&mut self, offset: u64, len: u64) -> Result<()> {
        let index = |at| usize::try_from(at).unwrap_or(usize::MAX);
        self[index(offset)..][..index(len)].fill(0);
        Ok(())
    }
}

/// An image in a file or on a block device.
#[derive(Debug)]
pub struct FileTarget {
    kind: Kind,
    written: u64,
    /// Looked at within long runs of zeros.
    stop: StopFlag,
}

#[derive(Debug)]
enum Kind {
    File(ImageFile),
    Device(Device),
}

impl FileTarget {
    /// Opens a target for an image. Nothing that is there changes before the first write.
    ///
    /// # Errors
    /// [`Error::TargetExists`] or [`Error::TargetLinked`] without `force`, [`Error::TargetKind`],
    /// [`Error::TargetTooShort`], [`Error::TargetNowhere`], [`Error::TargetInUse`],
    /// [`Error::OtherSectorSize`].
    pub fn open(path: &Path, demand: &Demand, stop: &StopFlag) -> Result<Self> {
        let kind = match Place::find(path)? {
            Place::File(_) | Place::Device(_) if !demand.force => {
                return Err(place::is_there(path));
            }
            Place::New(path) | Place::File(path) => Kind::File(ImageFile::create(&path, demand)?),
            Place::Device(path) => Kind::Device(Device::open(&path, demand)?),
        };
        Ok(Self { kind, written: 0, stop: stop.clone() })
    }

    /// Opens a target for an image, at which a later restore goes on if this one is interrupted.
    /// Goes on itself if the same image was interrupted there.
    ///
    /// # Errors
    /// As for [`Self::open`]; [`Error::Unfinished`] if another image was interrupted there.
    pub fn open_resumable(
        path: &Path,
        demand: &Demand,
        image: ImageId,
        time: FileTime,
        stop: &StopFlag,
    ) -> Result<Self> {
        let kind = match Place::find(path)? {
            Place::File(_) | Place::Device(_) if !demand.force => {
                return Err(place::is_there(path));
            }
            Place::New(found) | Place::File(found) => {
                let left = partial::left_for(&found)?;
                let unfinished: Vec<_> = left.iter().map(|left| &left.unfinished).collect();
                left::check(path, &image, &unfinished)?;
                let same = left.into_iter().filter(|left| left.unfinished.image == image);
                Kind::File(match same.max_by_key(|left| left.unfinished.done) {
                    Some(left) => ImageFile::go_on(&found, demand, left)?,
                    None => ImageFile::create_resumable(&found, demand, image, time)?,
                })
            }
            Place::Device(found) => {
                let mut device = Device::open(&found, demand)?;
                left::check(path, &image, &Vec::from_iter(device.left()))?;
                device.begin_resumable(image, time)?;
                Kind::Device(device)
            }
        };
        Ok(Self { kind, written: 0, stop: stop.clone() })
    }

    /// Bytes of the image that an earlier restore has left.
    pub fn taken_over(&self) -> u64 {
        let there = self.there();
        there.end - there.start
    }

    /// Ends before the image is complete, and keeps what a later restore goes on with.
    pub fn give_up(self) {
        match self.kind {
            Kind::File(file) => file.give_up(),
            Kind::Device(device) => device.give_up(),
        }
    }

    /// Bytes written so far; holes do not count.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Makes the image durable and gives it its name.
    ///
    /// # Errors
    /// [`Error::TargetExists`] without `force` if the name was taken meanwhile.
    pub fn finish(self) -> Result<()> {
        match self.kind {
            Kind::File(file) => file.finish(),
            Kind::Device(device) => device.finish(),
        }
    }
}

impl Target for FileTarget {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len() as u64;
        match &mut self.kind {
            Kind::File(file) => file.write(offset, bytes),
            Kind::Device(device) => device.write(offset, bytes),
        }
    }

    fn zero(&mut self, offset: u64, len: u64) -> Result<()> {
        if let Kind::File(file) = &self.kind
            && file.punch(offset, len)
        {
            return Ok(());
        }
        runs::zeros(offset, len, |offset, zeros| {
            if self.stop.is_set() {
                return Err(Error::Stopped);
            }
            self.write(offset, zeros)
        })
    }

    fn write_first(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        if matches!(self.kind, Kind::Device(_)) {
            return self.write(offset, bytes);
        }
        for run in runs::of_content(bytes) {
            self.write(offset + run.start as u64, &bytes[run])?;
        }
        Ok(())
    }

    fn zero_first(&mut self, offset: u64, len: u64) -> Result<()> {
        match self.kind {
            Kind::File(_) => Ok(()),
            Kind::Device(_) => self.zero(offset, len),
        }
    }

    fn there(&self) -> Range<u64> {
        match &self.kind {
            Kind::File(file) => 0..file.there(),
            Kind::Device(device) => device.there(),
        }
    }

    fn reached(&mut self, done: u64) -> Result<()> {
        match &mut self.kind {
            Kind::File(file) => file.reached(done),
            Kind::Device(device) => device.reached(done),
        }
    }
}
