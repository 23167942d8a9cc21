//! The entries of a damaged segment, as far as they can be told apart.
//!
//! An entry whose checksum does not match is followed by the next one if its header is right. If
//! one bit of it was flipped, the checksum tells which, and it is put right. Where the header is
//! not right, the next entry is searched for: a whole frame with the right checksum, behind which
//! another one begins or the segment ends. A volume may hold such frames as data, as a server's own
//! disk does; what follows tells the two apart, and so does [`super::stream`] by the records'
//! numbers.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use snapless_wire::frame::{FRAME_HEADER_LEN, FrameHeader, FrameKind};
use snapless_wire::id::{SessionId, VolumeGuid};
use snapless_wire::record::Records;

use crate::error::{Damage, Error, Result};
use crate::format::segment::{SEGMENT_HEADER_LEN, SegmentHeader, SegmentNumber};
use crate::storage::StoredFile;

use super::report::{Place, place};

/// The first bytes of a frame.
const MAGIC: &[u8] = b"SLFR";
/// Bytes that are searched at a time.
const WINDOW: usize = 1 << 20;

/// What is found at a place of a segment.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    /// The records of an entry whose checksum matches.
    Sound(&'a [u8]),
    /// The same of an entry of which one bit was put right.
    Repaired(&'a [u8], Place),
    /// Whole records of an entry whose checksum does not match.
    Doubtful(&'a [u8], Place),
    /// Nothing that can be read.
    Lost(Place),
}

/// A segment that is walked through.
pub(super) struct Segment {
    file: StoredFile,
    /// Where the entries end: at the acknowledged end, or at the file's.
    end: u64,
    /// The acknowledged end, if it lies past the file's.
    missing_to: Option<u64>,
    at: u64,
    payload: Vec<u8>,
}

impl Segment {
    pub(super) fn open(file: StoredFile, end: Option<u64>) -> Result<Self> {
        let len = file.len()?;
        let missing_to = end.filter(|end| *end > len);
        let end = end.unwrap_or(len).min(len);
        Ok(Self { file, end, missing_to, at: SEGMENT_HEADER_LEN as u64, payload: Vec::new() })
    }

    /// Bytes that are walked through.
    pub(super) fn len(&self) -> u64 {
        self.end
    }

    /// Tells if the segment's header is damaged; its entries may be sound.
    pub(super) fn check_header(
        &mut self,
        of: Option<(VolumeGuid, SessionId)>,
        number: SegmentNumber,
        visit: &mut impl FnMut(Piece<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut bytes = [0; SEGMENT_HEADER_LEN];
        let why: Damage = match self.read(0, &mut bytes)?.then(|| SegmentHeader::read(&bytes)) {
            Some(Ok(found)) => {
                let is_other = of.is_some_and(|of| of != (found.volume, found.session));
                if !is_other && found.number == number {
                    return Ok(());
                }
                // Nothing of another stream belongs into the image.
                self.at = self.end;
                Damage::Foreign(if is_other { "session" } else { "place in the stream" })
            }
            Some(Err(why)) => why.into(),
            None => Damage::Truncated(self.end),
        };
        visit(Piece::Lost(place(self.file.path(), 0, why)))
    }

    /// Visits the next piece; returns how far that goes, `None` at the end.
    pub(super) fn step(
        &mut self,
        visit: &mut impl FnMut(Piece<'_>) -> Result<()>,
    ) -> Result<Option<u64>> {
        let start = self.at;
        if start >= self.end {
            if let Some(to) = self.missing_to.take() {
                let why = Damage::Truncated(to);
                visit(Piece::Lost(place(self.file.path(), self.end, why)))?;
            }
            return Ok(None);
        }
        let unsound = match self.load(start)? {
            Ok(next) => {
                self.at = next;
                visit(Piece::Sound(&self.payload))?;
                return Ok(Some(next));
            }
            Err(unsound) => unsound,
        };
        let path = self.file.path().to_owned();
        if let Some((frame, next)) = unsound
            && self.begins_at(next)?
        {
            self.at = next;
            let damage = |why| place(&path, start, why);
            let is_watermark = frame.kind() == FrameKind::Watermark;
            let is_repaired = !is_watermark && repair(&frame, &mut self.payload);
            visit(if is_watermark {
                Piece::Lost(damage("a watermark is damaged: no record is missing for it"))
            } else if is_repaired {
                Piece::Repaired(&self.payload, damage("a bit was flipped, and is put right"))
            } else if Records::new(&self.payload).all(|record| record.is_ok()) {
                Piece::Doubtful(&self.payload, damage("an entry's checksum does not match"))
            } else {
                Piece::Lost(damage("an entry has no records"))
            })?;
            return Ok(Some(next));
        }
        let found = self.search(start + 1)?;
        self.at = found;
        let why = format!("{} bytes are no entries", found - start);
        visit(Piece::Lost(place(&path, start, why)))?;
        Ok(Some(found))
    }

    /// Loads the frame at a place; returns where the next one begins. Of one that is not sound the
    /// same, if its header is right.
    fn load(&mut self, at: u64) -> Result<std::result::Result<u64, Option<(FrameHeader, u64)>>> {
        let Some(frame) = self.header(at)? else { return Ok(Err(None)) };
        let next = at + (FRAME_HEADER_LEN + frame.payload_len()) as u64;
        let mut payload = std::mem::take(&mut self.payload);
        payload.resize(frame.payload_len(), 0);
        let is_read = self.read(at + FRAME_HEADER_LEN as u64, &mut payload)?;
        self.payload = payload;
        let is_sound = is_read && frame.verify(&self.payload).is_ok();
        if frame.kind() == FrameKind::Watermark {
            // It has no records: instants are counted by the records that are there.
            self.payload.clear();
        }
        Ok(if is_sound { Ok(next) } else { Err(is_read.then_some((frame, next))) })
    }

    /// The header at a place, if it is one of an entry inside the segment.
    fn header(&mut self, at: u64) -> Result<Option<FrameHeader>> {
        let mut bytes = [0; FRAME_HEADER_LEN];
        if at > self.end || !self.read(at, &mut bytes)? {
            return Ok(None);
        }
        let frame = FrameHeader::read(&bytes).ok();
        let is_entry = |kind: FrameKind| matches!(kind, FrameKind::Records | FrameKind::Watermark);
        let frame = frame.filter(|frame| is_entry(frame.kind()));
        Ok(frame.filter(|frame| at + (FRAME_HEADER_LEN + frame.payload_len()) as u64 <= self.end))
    }

    /// True if an entry begins at a place, or the segment ends there.
    fn begins_at(&mut self, at: u64) -> Result<bool> {
        Ok(at == self.end || self.header(at)?.is_some())
    }

    /// Where the next sound entry begins, from a place on; the segment's end if there is none.
    fn search(&mut self, from: u64) -> Result<u64> {
        let mut window = vec![0; WINDOW];
        let mut base = from;
        while base < self.end {
            let len = usize::try_from(self.end - base).unwrap_or(WINDOW).min(WINDOW);
            if !self.read(base, &mut window[..len])? {
                return Ok(self.end);
            }
            let starts: Vec<_> = window[..len]
                .windows(MAGIC.len())
                .zip(base..)
                .filter_map(|(bytes, at)| (bytes == MAGIC).then_some(at))
                .collect();
            for at in starts {
                if let Ok(next) = self.load(at)?
                    && self.begins_at(next)?
                {
                    return Ok(at);
                }
            }
            // The windows overlap by less than a magic.
            base += len.saturating_sub(MAGIC.len() - 1).max(1) as u64;
        }
        Ok(self.end)
    }

    /// Fills `bytes` from a place; false if the file ends before.
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<bool> {
        let read = self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.read_exact(bytes));
        match read {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(Error::file("read", self.path())(error)),
        }
    }

    fn path(&self) -> &Path {
        self.file.path()
    }
}

/// Puts a flipped bit of a payload right; false if the checksum does not tell of a single one.
///
/// The checksums with and without the flip differ by a value that follows from the bit's distance
/// to the end alone.
fn repair(frame: &FrameHeader, payload: &mut [u8]) -> bool {
    /// CRC-32C's polynomial, its lowest power in the highest bit.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let header = frame.to_bytes();
    let Some((covered, stored)) = header.split_last_chunk::<4>() else { return false };
    let found = crc32c::crc32c_append(crc32c::crc32c(covered), payload);
    let difference = found ^ u32::from_le_bytes(*stored);
    let mut of_bit = POLYNOMIAL;
    for byte in payload.iter_mut().rev() {
        for bit in (0..8).rev() {
            if of_bit == difference {
                *byte ^= 1 << bit;
                return frame.verify(payload).is_ok();
            }
            of_bit = (of_bit >> 1) ^ if of_bit & 1 == 0 { 0 } else { POLYNOMIAL };
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_single_bit_is_put_right_and_two_are_not() {
        let payload: Vec<u8> = (0..=255).cycle().take(600).collect();
        let frame = FrameHeader::new(FrameKind::Records, &payload).unwrap();
        let mut damaged = payload.clone();
        for bit in 0..payload.len() * 8 {
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(repair(&frame, &mut damaged), "bit {bit}");
            assert!(damaged == payload, "bit {bit}");
        }
        for bit in 1..payload.len() * 8 {
            damaged.clone_from(&payload);
            damaged[0] ^= 1;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!repair(&frame, &mut damaged), "bit {bit}");
        }
    }
}
