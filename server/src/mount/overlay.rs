//! A throw-away overlay: what clients write goes into a file without a name and covers the image.
//!
//! The file has the image's offsets. A piece of [`PIECE_BYTES`] is copied into it as a whole before
//! a part of it is written.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::{PoisonError, RwLock};

use roaring::RoaringTreemap;
use snapless_nbd::{Disk, Errno};

use super::image::Image;
use crate::storage::local::{read_exact_at, write_all_at};

/// Bytes of a piece: many file systems store holes in units of this size or smaller.
const PIECE_BYTES: u64 = 64 << 10;

/// An image that can be written.
pub(super) struct Overlay<'a> {
    image: Image<'a>,
    length: u64,
    file: File,
    /// Protects which pieces are covered, and the file: a piece is read while nothing is written.
    pieces: RwLock<Pieces>,
}

/// The pieces of the image that something covers. No piece is in both sets.
#[derive(Default)]
struct Pieces {
    /// In the file.
    written: RoaringTreemap,
    /// Zeros, whatever is in the file.
    zeroed: RoaringTreemap,
}

/// Where a piece is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Image,
    File,
    Zeros,
}

impl<'a> Overlay<'a> {
    /// Covers an image of `length` bytes with an empty file.
    pub(super) fn new(image: Image<'a>, length: u64, file: File) -> Self {
        Self { image, length, file, pieces: RwLock::default() }
    }

    fn bytes_of(&self, piece: u64) -> Range<u64> {
        let start = piece * PIECE_BYTES;
        start..(start + PIECE_BYTES).min(self.length)
    }

    /// Brings a piece into the file, since a part of it is about to be written.
    fn bring(&self, pieces: &mut Pieces, piece: u64) -> Result<(), Errno> {
        let bytes = self.bytes_of(piece);
        let mut content = vec![0; to_len(&bytes)];
        match pieces.place(piece) {
            Place::File => return Ok(()),
            Place::Zeros => {}
            Place::Image => self.image.read(bytes.start, &mut content)?,
        }
        write_all_at(&self.file, &content, bytes.start).map_err(|error| errno(&error))?;
        pieces.note(piece..piece + 1, Place::File);
        Ok(())
    }

    /// Brings the first and the last piece of an extent into the file, if it has only a part of
    /// them.
    fn bring_ends(&self, pieces: &mut Pieces, extent: &Range<u64>) -> Result<(), Errno> {
        for piece in [extent.start / PIECE_BYTES, (extent.end - 1) / PIECE_BYTES] {
            let bytes = self.bytes_of(piece);
            if bytes.start < extent.start || extent.end < bytes.end {
                self.bring(pieces, piece)?;
            }
        }
        Ok(())
    }
}

impl Disk for Overlay<'_> {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        let pieces = self.pieces.read().unwrap_or_else(PoisonError::into_inner);
        let end = offset + buffer.len() as u64;
        let (mut at, mut rest) = (offset, buffer);
        while at < end {
            let place = pieces.place(at / PIECE_BYTES);
            let mut to = end.min(self.bytes_of(at / PIECE_BYTES).end);
            while to < end && pieces.place(to / PIECE_BYTES) == place {
                to = end.min(self.bytes_of(to / PIECE_BYTES).end);
            }
            let now;
            (now, rest) = rest.split_at_mut(to_len(&(at..to)));
            match place {
                Place::Image => self.image.read(at, now)?,
                Place::File => read_exact_at(&self.file, now, at).map_err(|error| errno(&error))?,
                Place::Zeros => now.fill(0),
            }
            at = to;
        }
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        // Failures leave each piece as it was or with a part of the write, as a disk would.
        let mut pieces = self.pieces.write().unwrap_or_else(PoisonError::into_inner);
        let extent = offset..offset + bytes.len() as u64;
        self.bring_ends(&mut pieces, &extent)?;
        write_all_at(&self.file, bytes, offset).map_err(|error| errno(&error))?;
        pieces.note(offset / PIECE_BYTES..extent.end.div_ceil(PIECE_BYTES), Place::File);
        Ok(())
    }

    fn zero(&self, offset: u64, len: u32) -> Result<(), Errno> {
        let mut pieces = self.pieces.write().unwrap_or_else(PoisonError::into_inner);
        let extent = offset..offset + u64::from(len);
        self.bring_ends(&mut pieces, &extent)?;
        for piece in [extent.start / PIECE_BYTES, (extent.end - 1) / PIECE_BYTES] {
            let bytes = self.bytes_of(piece);
            let part = bytes.start.max(extent.start)..bytes.end.min(extent.end);
            if part != bytes {
                let zeros = vec![0; to_len(&part)];
                write_all_at(&self.file, &zeros, part.start).map_err(|error| errno(&error))?;
            }
        }
        let is_last = extent.end == self.length;
        let first = extent.start.div_ceil(PIECE_BYTES);
        let end = if is_last { extent.end.div_ceil(PIECE_BYTES) } else { extent.end / PIECE_BYTES };
        if first < end {
            pieces.note(first..end, Place::Zeros);
        }
        Ok(())
    }
}

impl Pieces {
    fn place(&self, piece: u64) -> Place {
        if self.written.contains(piece) {
            Place::File
        } else if self.zeroed.contains(piece) {
            Place::Zeros
        } else {
            Place::Image
        }
    }

    fn note(&mut self, pieces: Range<u64>, place: Place) {
        let [to, from] = match place {
            Place::File => [&mut self.written, &mut self.zeroed],
            Place::Zeros => [&mut self.zeroed, &mut self.written],
            Place::Image => return,
        };
        from.remove_range(pieces.clone());
        to.insert_range(pieces);
    }
}

/// The length of a part of a request or of a piece, which is in memory.
fn to_len(range: &Range<u64>) -> usize {
    usize::try_from(range.end - range.start).unwrap_or(usize::MAX)
}

fn errno(error: &io::Error) -> Errno {
    log::error!("the overlay's file: {error}");
    if error.kind() == ErrorKind::StorageFull { Errno::NoSpace } else { Errno::Io }
}
