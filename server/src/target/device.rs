//! An image on a block device, which is marked as half restored until it is complete.
//!
//! Boot sectors and superblocks stand at the ends of a volume. Both ends of the image are kept in
//! memory and written last, the first [`MARK_LEN`] bytes at the very end. Until then the device
//! begins with a text that says what it is, and no system finds a file system on it: neither the
//! new one nor the one that was there.
//!
//! The first end has room for the slots by which a later restore goes on
//! ([`crate::format::unfinished`]). It does so only if nothing else was written to either end.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use snapless_wire::id::FileTime;

use super::checkpoints::Checkpoints;
use super::control::{CONTROL_LEN, Control};
use super::{Demand, control};
use crate::error::{Error, Result};
use crate::format::unfinished::{ImageId, Unfinished};
use crate::storage::local::{read_exact_at, write_all_at};

/// Bytes at each end of the volume that are written last. File systems of today have their first
/// and last superblocks there; volume managers their labels.
const END_LEN: u64 = 1 << 20;
/// Bytes of the mark. The sectors that it takes are written after everything else.
const MARK_LEN: usize = 4096;
/// Where the slots stand, if the first end is as long as can be.
const CONTROL_AT: usize = 512 << 10;
/// How a half restored device begins.
const MARK: &str = "SNAPLESS: HALF RESTORED\n\
    This device holds a part of a restored volume and is of no use as it is.\n\
    Run `snapless-server restore` to it again, with --force.\n";

/// A device that is written in place.
#[derive(Debug)]
pub(super) struct Device {
    file: File,
    path: PathBuf,
    /// The first bytes of the image.
    head: Vec<u8>,
    /// The last bytes of the image, and where they begin.
    tail: Vec<u8>,
    tail_start: u64,
    state: State,
    /// What an interrupted restore has left.
    left: Option<Unfinished>,
    resumable: Option<Resumable>,
}

/// What a device has with which a later restore can go on.
#[derive(Debug)]
struct Resumable {
    checkpoints: Checkpoints,
    /// The part of the image that was there when this restore began.
    there: Range<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// It is as it was.
    Untouched,
    /// It is marked.
    Half,
    /// It has the whole image.
    Whole,
}

impl Device {
    /// Opens a device that nothing else uses.
    ///
    /// # Errors
    /// [`Error::TargetTooShort`], [`Error::OtherSectorSize`].
    pub(super) fn open(path: &Path, demand: &Demand) -> Result<Self> {
        let file = open_unused(path).map_err(Error::file("open", path))?;
        if let (Some(have), Some(need)) = (sector_size(&file), demand.sector_size)
            && have != need
            && !demand.other_sector_size
        {
            return Err(Error::OtherSectorSize { path: path.to_owned(), have, need });
        }
        Self::over(file, path, demand.length)
    }

    /// Writes to an open file of a fixed length.
    fn over(mut file: File, path: &Path, length: u64) -> Result<Self> {
        let have = file.seek(SeekFrom::End(0)).map_err(Error::file("size", path))?;
        if have < length {
            return Err(Error::TargetTooShort { path: path.to_owned(), have, need: length });
        }
        let tail_start = length.saturating_sub(END_LEN).max(END_LEN.min(length));
        let left = left_on(&mut file).map_err(Error::file("read", path))?;
        if left.is_none() && is_marked(&mut file).map_err(Error::file("read", path))? {
            log::warn!(
                "{} is half restored by an earlier restore, which did not end: this one begins anew",
                path.display()
            );
        }
        let zeros = |len: u64| vec![0; usize::try_from(len).unwrap_or(0)];
        let (head, tail) = (zeros(END_LEN.min(length)), zeros(length - tail_start));
        let (path, state) = (path.to_owned(), State::Untouched);
        Ok(Self { file, path, head, tail, tail_start, state, left, resumable: None })
    }

    /// What an interrupted restore has left.
    pub(super) fn left(&self) -> Option<&Unfinished> {
        self.left.as_ref()
    }

    /// Goes on with what is left if that is this image; else begins it, so that a later restore
    /// can go on.
    pub(super) fn begin_resumable(&mut self, image: ImageId, time: FileTime) -> Result<()> {
        let unfinished = match self.left.take().filter(|left| left.image == image) {
            Some(left) => left,
            None => Unfinished { image, time, name: Vec::new(), done: 0, generation: 0 },
        };
        // Of a shorter volume it is all in the ends, and nothing would be gained.
        if self.tail.is_empty() {
            return Ok(());
        }
        if unfinished.done > 0 {
            self.state = State::Half;
        }
        let end = unfinished.done.clamp(END_LEN, self.tail_start);
        let control = Control::new(&self.file, &self.path, CONTROL_AT as u64, unfinished)?;
        let checkpoints = Checkpoints::start(control)?;
        self.resumable = Some(Resumable { checkpoints, there: END_LEN..end });
        Ok(())
    }

    /// The part of the image that was there from the begin.
    pub(super) fn there(&self) -> Range<u64> {
        self.resumable.as_ref().map_or(0..0, |it| it.there.clone())
    }

    /// All of the image before `done` was written.
    pub(super) fn reached(&mut self, done: u64) -> Result<()> {
        self.resumable.as_mut().map_or(Ok(()), |it| it.checkpoints.reached(done))
    }

    /// Ends before the image is complete.
    pub(super) fn give_up(mut self) {
        let done = self.resumable.take().map_or(0, |it| it.checkpoints.end().0);
        if done > 0 {
            log::warn!(
                "{done} bytes of the volume are on {}: the same restore again goes on there, and \
                 with --restart begins anew",
                self.path.display()
            );
        }
    }

    pub(super) fn write(&mut self, mut offset: u64, mut bytes: &[u8]) -> Result<()> {
        if self.state == State::Untouched {
            self.mark()?;
        }
        while !bytes.is_empty() {
            let (held, room) = self.held_at(offset);
            let len = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            let (part, rest) = bytes.split_at(len);
            match held {
                Some(held) => held[..len].copy_from_slice(part),
                None => self.write_through(offset, part)?,
            }
            offset += len as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// Makes the image durable, its first bytes last.
    pub(super) fn finish(mut self) -> Result<()> {
        if self.state == State::Untouched {
            self.mark()?;
        }
        if let Some(Resumable { checkpoints, .. }) = self.resumable.take() {
            checkpoints.end().1?;
        }
        self.sync()?;
        let first = MARK_LEN.min(self.head.len());
        self.write_through(self.tail_start, &self.tail)?;
        self.write_through(first as u64, &self.head[first..])?;
        self.sync()?;
        self.write_through(0, &self.head[..first])?;
        self.sync()?;
        self.state = State::Whole;
        Ok(())
    }

    /// The memory that holds the image from `offset` on, and how many bytes follow there before the
    /// image goes on elsewhere; `None` for bytes that the device gets at once.
    fn held_at(&mut self, offset: u64) -> (Option<&mut [u8]>, u64) {
        let tail_end = self.tail_start + self.tail.len() as u64;
        let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        if let Some(held) = self.head.get_mut(index(offset)..).filter(|held| !held.is_empty()) {
            let room = held.len() as u64;
            (Some(held), room)
        } else if offset < self.tail_start {
            (None, self.tail_start - offset)
        } else if offset < tail_end {
            let held = &mut self.tail[index(offset - self.tail_start)..];
            let room = held.len() as u64;
            (Some(held), room)
        } else {
            (None, u64::MAX)
        }
    }

    /// Marks the device, durably, before anything else of it changes.
    fn mark(&mut self) -> Result<()> {
        self.state = State::Half;
        self.write_through(0, &marked(self.head.len()))?;
        self.write_through(self.tail_start, &vec![0; self.tail.len()])?;
        self.sync()
    }

    fn write_through(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        write_all_at(&self.file, bytes, offset).map_err(Error::file("write", &self.path))
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(Error::file("sync", &self.path))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if self.state == State::Half {
            log::warn!(
                "{} is half restored and marked as such: it begins with a text that says so, and \
                 no system finds a file system on it; restore to it again",
                self.path.display()
            );
        }
    }
}

/// The mark, as long as its sectors.
fn mark() -> Vec<u8> {
    let mut mark = MARK.as_bytes().to_vec();
    mark.resize(MARK_LEN, 0);
    mark
}

/// The first end of a half restored device, without slots.
fn marked(len: usize) -> Vec<u8> {
    let mut head = mark();
    head.resize(len.max(MARK_LEN), 0);
    head.truncate(len);
    head
}

/// What an interrupted restore has left on a device; `None` if there is nothing, or if a program
/// has written to one of its ends since.
///
/// # Errors
/// The device cannot be read.
pub(super) fn left(path: &Path) -> Result<Option<Unfinished>> {
    let mut file = File::open(path).map_err(Error::file("open", path))?;
    left_on(&mut file).map_err(Error::file("read", path))
}

fn left_on(file: &mut File) -> io::Result<Option<Unfinished>> {
    let have = file.seek(SeekFrom::End(0))?;
    let mut head = vec![0; usize::try_from(END_LEN).unwrap_or(0)];
    if have < 2 * END_LEN {
        return Ok(None);
    }
    read_exact_at(file, &mut head, 0)?;
    let Some(found) = control::read(file, CONTROL_AT as u64)? else { return Ok(None) };
    head[CONTROL_AT..CONTROL_AT + CONTROL_LEN].fill(0);
    let length = found.image.geometry.length();
    if head != marked(head.len()) || length > have || length <= 2 * END_LEN {
        return Ok(None);
    }
    let mut tail = head;
    read_exact_at(file, &mut tail, length - END_LEN)?;
    let is_clean = found.done > 0 && tail.iter().all(|&byte| byte == 0);
    Ok(Some(found).filter(|_| is_clean))
}

/// Takes the slots from a device, so that a restore begins anew.
///
/// # Errors
/// The device is in use, or cannot be written.
pub(super) fn discard(path: &Path) -> Result<()> {
    let mut file = open_unused(path).map_err(Error::file("open", path))?;
    if left_on(&mut file).map_err(Error::file("read", path))?.is_some() {
        let nothing = vec![0; CONTROL_LEN];
        write_all_at(&file, &nothing, CONTROL_AT as u64).map_err(Error::file("write", path))?;
        file.sync_all().map_err(Error::file("sync", path))?;
    }
    Ok(())
}

/// True if the file begins with the mark.
fn is_marked(file: &mut File) -> io::Result<bool> {
    let mut start = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    Read::by_ref(file).take(MARK.len() as u64).read_to_end(&mut start)?;
    Ok(start == MARK.as_bytes())
}

/// Opens a device that is not mounted and that no other restore has: Linux opens a device
/// exclusively once.
#[cfg(target_os = "linux")]
fn open_unused(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let exclusive = i32::try_from(rustix::fs::OFlags::EXCL.bits()).unwrap_or(0);
    OpenOptions::new().read(true).write(true).custom_flags(exclusive).open(path)
}

#[cfg(not(target_os = "linux"))]
fn open_unused(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Bytes of the device's logical sectors, where the system tells.
#[cfg(target_os = "linux")]
fn sector_size(file: &File) -> Option<u32> {
    rustix::fs::ioctl_blksszget(file).ok()
}

#[cfg(not(target_os = "linux"))]
fn sector_size(_: &File) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: u64 = 3 << 20;
    /// Bytes of the device past the volume.
    const MORE: usize = 5000;

    /// A file in the place of a device with old content, and what restores to it.
    fn device(length: u64) -> (tempfile::NamedTempFile, Device) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let old = vec![9; usize::try_from(length).unwrap() + MORE];
        std::fs::write(file.path(), old).unwrap();
        let opened = open_unused(file.path()).unwrap();
        let device = Device::over(opened, file.path(), length).unwrap();
        (file, device)
    }

    fn content(file: &tempfile::NamedTempFile) -> Vec<u8> {
        std::fs::read(file.path()).unwrap()
    }

    /// An image in which every stretch of 512 bytes differs from the ones beside it.
    fn image(length: u64) -> Vec<u8> {
        (0..length).map(|at| u8::try_from(at / 512 % 251).unwrap_or(0) + 1).collect()
    }

    #[test]
    fn an_image_is_whole_whatever_its_length_and_its_pieces() {
        for length in [1, 512, 4096, 5000, END_LEN, END_LEN + 1, 2 * END_LEN, LENGTH] {
            for piece in [700_000, usize::MAX] {
                let (file, mut device) = device(length);
                let image = image(length);
                for (part, index) in image.chunks(piece).zip(0..) {
                    device.write(index * piece as u64, part).unwrap();
                }
                device.finish().unwrap();
                let found = content(&file);
                assert!(found[..image.len()] == image, "{length} in pieces of {piece}");
                assert_eq!(found[image.len()..], [9; MORE], "what is past the volume stays");
            }
        }
    }

    #[test]
    fn a_half_restored_device_is_marked_at_both_ends() {
        let (file, mut device) = device(LENGTH);
        device.write(0, &[7; 512]).unwrap();
        device.write(END_LEN, &[7; 512]).unwrap();
        device.write(LENGTH - 512, &[7; 512]).unwrap();
        drop(device);
        let found = content(&file);
        let [end, length] = [END_LEN, LENGTH].map(|at| usize::try_from(at).unwrap());
        assert_eq!(found[..MARK_LEN], mark());
        assert!(found[MARK_LEN..end].iter().all(|&byte| byte == 0));
        assert_eq!(found[end..][..512], [7; 512]);
        assert!(found[length - end..length].iter().all(|&byte| byte == 0));
        assert!(is_marked(&mut File::open(file.path()).unwrap()).unwrap());
        // The next restore begins anew.
        let opened = open_unused(file.path()).unwrap();
        let mut again = Device::over(opened, file.path(), LENGTH).unwrap();
        again.write(0, &image(LENGTH)).unwrap();
        again.finish().unwrap();
        assert!(content(&file)[..length] == image(LENGTH));
        assert!(!is_marked(&mut File::open(file.path()).unwrap()).unwrap());
    }

    #[test]
    fn a_device_to_which_nothing_was_written_is_as_it_was() {
        let (file, device) = device(LENGTH);
        drop(device);
        assert!(content(&file).iter().all(|&byte| byte == 9));
    }

    #[test]
    fn a_device_that_is_too_short_is_refused_before_it_changes() {
        let (file, device) = device(512);
        drop(device);
        let need = 513 + MORE as u64;
        let refused = Device::over(open_unused(file.path()).unwrap(), file.path(), need);
        assert!(matches!(refused, Err(Error::TargetTooShort { have: 5512, .. })));
        assert!(content(&file).iter().all(|&byte| byte == 9));
    }
}
