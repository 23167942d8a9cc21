//! A disk whose both ends are written last.
//!
//! Boot sectors and superblocks stand at the ends of a volume. Both ends are kept in memory, and
//! the first [`MARK_LEN`] bytes are written at the very end. Before anything else is written the
//! disk begins with a text that says what it is and ends with zeros: no system finds a file system
//! on it, neither the new one nor the one that was there. A disk that has the image already is not
//! written at all.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::disk::Disk;
use crate::place::to_index;

/// Bytes at each end that are written last, as `snapless-server restore` does.
pub const END_LEN: u64 = 1 << 20;
/// Bytes of the mark. The sectors that it takes are written after everything else.
pub const MARK_LEN: usize = 4096;
/// How a half restored disk begins.
pub const MARK: &str = "SNAPLESS: HALF RESTORED\n\
    This disk holds a part of a restored volume and is of no use as it is.\n\
    Run `snapless restore` to it again, with --force.\n";

/// A disk that is written in place.
pub struct Guarded<'a> {
    disk: &'a dyn Disk,
    /// Protects both ends, and the order of the mark and the first write.
    ends: Mutex<Ends>,
}

struct Ends {
    head: Vec<u8>,
    tail: Vec<u8>,
    tail_start: u64,
    /// The ends are not what the disk has.
    are_changed: bool,
    is_marked: bool,
    /// Bytes that were written, ends and mark included.
    written: u64,
}

impl<'a> Guarded<'a> {
    /// Over a disk that has so many bytes at least. Reads both ends.
    pub fn new(disk: &'a dyn Disk, length: u64) -> Self {
        let tail_start = length.saturating_sub(END_LEN).max(END_LEN.min(length));
        let mut are_changed = false;
        let mut end = |offset: u64, len: u64| {
            let mut bytes = vec![0; to_index(len)];
            if !disk.is_blank() && disk.read(offset, &mut bytes).is_err() {
                // Whatever the disk has there, it is written anew.
                are_changed = true;
            }
            bytes
        };
        let head = end(0, END_LEN.min(length));
        let tail = end(tail_start, length - tail_start);
        let ends = Ends { head, tail, tail_start, are_changed, is_marked: false, written: 0 };
        Self { disk, ends: Mutex::new(ends) }
    }

    /// Bytes that were written.
    pub fn written(&self) -> u64 {
        self.ends().written
    }

    /// Reads what the disk has, or will have at its ends.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let ends = self.ends();
        let [head_end, tail_start] = [ends.head.len() as u64, ends.tail_start];
        let (first, middle, last) = split(offset, bytes.len(), head_end, tail_start);
        let (start, rest) = bytes.split_at_mut(first);
        let (between, end) = rest.split_at_mut(middle);
        if first > 0 {
            start.copy_from_slice(&ends.head[to_index(offset)..][..first]);
        }
        if last > 0 {
            let at = offset + (first + middle) as u64 - tail_start;
            end.copy_from_slice(&ends.tail[to_index(at)..][..last]);
        }
        drop(ends);
        if middle == 0 { Ok(()) } else { self.disk.read(offset + first as u64, between) }
    }

    /// Writes; what belongs to the ends is kept.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut ends = self.ends();
        let [head_end, tail_start] = [ends.head.len() as u64, ends.tail_start];
        let (first, middle, last) = split(offset, bytes.len(), head_end, tail_start);
        let (start, rest) = bytes.split_at(first);
        let (between, end) = rest.split_at(middle);
        if first > 0 {
            ends.head[to_index(offset)..][..first].copy_from_slice(start);
            ends.are_changed = true;
        }
        if last > 0 {
            let at = offset + (first + middle) as u64 - tail_start;
            ends.tail[to_index(at)..][..last].copy_from_slice(end);
            ends.are_changed = true;
        }
        if middle == 0 {
            return Ok(());
        }
        self.mark(&mut ends)?;
        ends.written += middle as u64;
        drop(ends);
        self.disk.write(offset + first as u64, between)
    }

    /// Makes zeros.
    pub fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        if self.disk.is_blank() {
            let ends = self.ends();
            let middle =
                offset >= ends.head.len() as u64 && offset.saturating_add(len) <= ends.tail_start;
            if middle {
                return Ok(());
            }
        }
        self.write(offset, &vec![0; to_index(len)])
    }

    /// Writes both ends, if the disk was changed; durable when it returns.
    pub fn finish(&self) -> io::Result<()> {
        let mut ends = self.ends();
        if !ends.are_changed && !ends.is_marked {
            return Ok(());
        }
        self.mark(&mut ends)?;
        self.disk.sync()?;
        let (mark, rest) = ends.head.split_at(MARK_LEN.min(ends.head.len()));
        if !ends.tail.is_empty() {
            self.disk.write(ends.tail_start, &ends.tail)?;
        }
        if !rest.is_empty() {
            self.disk.write(mark.len() as u64, rest)?;
        }
        self.disk.sync()?;
        self.disk.write(0, mark)?;
        self.disk.sync()?;
        ends.written += (ends.head.len() + ends.tail.len()) as u64;
        (ends.are_changed, ends.is_marked) = (false, false);
        Ok(())
    }

    /// Has the disk say again that it is half restored.
    pub fn spoil(&self) -> io::Result<()> {
        self.mark(&mut self.ends())
    }

    fn mark(&self, ends: &mut Ends) -> io::Result<()> {
        if ends.is_marked {
            return Ok(());
        }
        let mut mark = vec![0; ends.head.len()];
        let len = MARK.len().min(mark.len());
        mark[..len].copy_from_slice(&MARK.as_bytes()[..len]);
        self.disk.write(0, &mark)?;
        ends.written += mark.len() as u64;
        if !ends.tail.is_empty() && !self.disk.is_blank() {
            self.disk.write(ends.tail_start, &vec![0; ends.tail.len()])?;
            ends.written += ends.tail.len() as u64;
        }
        // No write behind it may reach the disk first.
        self.disk.sync()?;
        ends.is_marked = true;
        Ok(())
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        // After a panic of another thread nothing more is written but by this one, which ends too.
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many bytes at `offset` belong to the head, to what is between, and to the tail.
fn split(offset: u64, len: usize, head_end: u64, tail_start: u64) -> (usize, usize, usize) {
    let first = to_index(head_end.saturating_sub(offset)).min(len);
    let until_tail = to_index(tail_start.saturating_sub(offset)).min(len);
    let middle = until_tail.saturating_sub(first);
    (first, middle, len - first - middle)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: u64 = 3 << 20;

    /// A disk in memory that fails after some writes.
    struct Memory {
        bytes: Mutex<Vec<u8>>,
        left: Mutex<usize>,
    }

    impl Memory {
        fn new(bytes: Vec<u8>, writes: usize) -> Self {
            Self { bytes: Mutex::new(bytes), left: Mutex::new(writes) }
        }

        fn bytes(&self) -> Vec<u8> {
            self.bytes.lock().unwrap().clone()
        }
    }

    impl Disk for Memory {
        fn name(&self) -> &'static str {
            "memory"
        }

        fn is_blank(&self) -> bool {
            false
        }

        fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
            bytes.copy_from_slice(&self.bytes()[to_index(offset)..][..bytes.len()]);
            Ok(())
        }

        fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            let mut left = self.left.lock().unwrap();
            *left = left.checked_sub(1).ok_or_else(|| io::Error::other("the power is cut"))?;
            let mut all = self.bytes.lock().unwrap();
            all[to_index(offset)..][..bytes.len()].copy_from_slice(bytes);
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Writes a whole image in pieces that cross both ends.
    fn write_all(disk: &Guarded<'_>, image: &[u8]) -> io::Result<()> {
        let step = 700 << 10;
        for (index, piece) in image.chunks(step).enumerate() {
            disk.write((index * step) as u64, piece)?;
        }
        disk.finish()
    }

    #[test]
    fn wherever_the_power_is_cut_the_disk_does_not_begin_as_the_image() {
        let (old, image) = (vec![1; to_index(LENGTH)], vec![2; to_index(LENGTH)]);
        for writes in 0.. {
            let memory = Memory::new(old.clone(), writes);
            let written = write_all(&Guarded::new(&memory, LENGTH), &image);
            let bytes = memory.bytes();
            if written.is_ok() {
                assert!(bytes == image && writes > 4);
                break;
            }
            let is_marked = bytes.starts_with(MARK.as_bytes());
            assert!(is_marked || (writes == 0 && bytes == old), "after {writes} writes");
            // The copies of boot sectors that stood at the other end are gone as well.
            let has_old_tail = bytes[to_index(LENGTH - END_LEN)..].contains(&1);
            assert!(writes < 2 || !has_old_tail, "after {writes} writes");
        }
    }

    #[test]
    fn what_is_the_same_is_read_and_nothing_is_written() {
        let mut image: Vec<u8> = (0..=255).cycle().take(to_index(LENGTH)).collect();
        let memory = Memory::new(image.clone(), 0);
        let disk = Guarded::new(&memory, LENGTH);
        let mut read = vec![0; to_index(LENGTH)];
        disk.read(0, &mut read).unwrap();
        assert!(read == image);
        disk.finish().unwrap();
        assert_eq!(disk.written(), 0);
        // The ends alone.
        let memory = Memory::new(image.clone(), 100);
        let disk = Guarded::new(&memory, LENGTH);
        image[0] = 9;
        *image.last_mut().unwrap() = 9;
        disk.write(0, &image[..512]).unwrap();
        disk.zero(LENGTH - 512, 512).unwrap();
        disk.write(LENGTH - 512, &image[image.len() - 512..]).unwrap();
        disk.read(0, &mut read).unwrap();
        assert!(read == image && memory.bytes() != image);
        disk.finish().unwrap();
        assert!(memory.bytes() == image);
    }

    #[test]
    fn a_short_disk_is_all_ends() {
        for length in [512, 1 << 20, (1 << 20) + 512, 2 << 20] {
            let image = vec![3; to_index(length)];
            let memory = Memory::new(vec![0; to_index(length)], 100);
            write_all(&Guarded::new(&memory, length), &image).unwrap();
            assert!(memory.bytes() == image, "{length}");
        }
    }
}
