//! The entries of a damaged segment, as far as they can be told apart.
//!
//! An entry whose checksum does not match is followed by the next one if its header is right. If
//! one bit of it was flipped, the checksum tells which, and it is put right. Where the header is
//! not right, the next entry is searched for: a whole frame with the right checksum, behind which
//! another one begins or the segment ends. A volume may hold such frames as data, as a server's own
//! disk does; what follows tells the two apart, and so does [`super::stream`] by the records'
//! numbers.
//!
//! The same is done with sealed entries as they are stored. Nothing is given of one that does not
//! open.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use snapless_wire::frame::{FRAME_HEADER_LEN, FrameHeader, FrameKind};
use snapless_wire::id::{SessionId, VolumeGuid};
use snapless_wire::record::Records;

use crate::error::{Damage, Error, Result};
use crate::format::claim::CLAIMED_HEADER_LEN;
use crate::format::sealed::{SEALED_HEADER_LEN, SEALED_MAGIC, SealedHeader};
use crate::format::segment::{SEGMENT_HEADER_LEN, SegmentHeader, SegmentNumber};
use crate::seal::EntrySeal;
use crate::storage::StoredFile;

use super::report::{Place, place};

/// The first bytes of a frame.
const FRAME_MAGIC: &[u8; 4] = b"SLFR";
/// Bytes that are searched at a time.
const WINDOW: usize = 1 << 20;

/// The header of an entry.
#[derive(Clone, Copy, Debug)]
enum Head {
    Frame(FrameHeader),
    Sealed(SealedHeader),
}

impl Head {
    /// Its bytes.
    fn len(&self) -> usize {
        match self {
            Self::Frame(_) => FRAME_HEADER_LEN,
            Self::Sealed(_) => SEALED_HEADER_LEN,
        }
    }

    /// Bytes behind it.
    fn payload_len(&self) -> usize {
        match self {
            Self::Frame(frame) => frame.payload_len(),
            Self::Sealed(header) => header.stored_len,
        }
    }

    fn entry_len(&self) -> u64 {
        (self.len() + self.payload_len()) as u64
    }
}

/// True for the kinds of frames that are entries.
fn is_entry(frame: &FrameHeader) -> bool {
    matches!(frame.kind(), FrameKind::Records | FrameKind::Watermark)
}

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
    /// A whole segment is missing.
    Gone,
}

/// A segment that is walked through.
pub(super) struct Segment {
    file: StoredFile,
    /// `None` if the entries are plain frames.
    seal: Option<EntrySeal>,
    /// Where the entries end: at the acknowledged end, or at the file's.
    end: u64,
    /// Where it ended, if that lies past the file's end.
    missing_to: Option<u64>,
    at: u64,
    payload: Vec<u8>,
}

impl Segment {
    pub(super) fn open(
        file: StoredFile,
        seal: Option<EntrySeal>,
        end: Option<u64>,
    ) -> Result<Self> {
        let len = file.len()?;
        let missing_to = end.filter(|end| *end > len);
        let end = end.unwrap_or(len).min(len);
        let at = SEGMENT_HEADER_LEN as u64;
        Ok(Self { file, seal, end, missing_to, at, payload: Vec::new() })
    }

    /// An entry of it ended here.
    pub(super) fn went_on_to(&mut self, end: u64) {
        self.missing_to = self.missing_to.max(Some(end).filter(|end| *end > self.end));
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
        let why: Damage = match self
            .read(0, &mut bytes)?
            .then(|| SegmentHeader::read_of(self.seal.is_some(), &bytes))
        {
            Some(Ok(found)) => {
                let is_other = of.is_some_and(|of| of != (found.volume, found.session));
                if !is_other && found.number == number {
                    if SegmentHeader::has_claim(&bytes) {
                        self.at = CLAIMED_HEADER_LEN as u64;
                    }
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

    /// Goes on at an entry behind the present one.
    pub(super) fn skip_to(&mut self, offset: u64) {
        self.at = self.at.max(offset);
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
        if let Some((head, next)) = unsound
            && self.begins_at(next)?
        {
            self.at = next;
            let damage = |why| place(&path, start, why);
            visit(match head {
                Head::Sealed(header) => {
                    if repair_sealed(&header, &mut self.payload) && self.open_sealed(&header, start)
                    {
                        let place = damage("a bit was flipped, and is put right");
                        Piece::Repaired(&self.payload, place)
                    } else {
                        Piece::Lost(damage("an entry is damaged, or is not of this place"))
                    }
                }
                Head::Frame(frame) if frame.kind() == FrameKind::Watermark => {
                    Piece::Lost(damage("a watermark is damaged: no record is missing for it"))
                }
                Head::Frame(frame) => {
                    if repair(&frame, &mut self.payload) {
                        let place = damage("a bit was flipped, and is put right");
                        Piece::Repaired(&self.payload, place)
                    } else if Records::new(&self.payload).all(|record| record.is_ok()) {
                        let place = damage("an entry's checksum does not match");
                        Piece::Doubtful(&self.payload, place)
                    } else {
                        Piece::Lost(damage("an entry has no records"))
                    }
                }
            })?;
            return Ok(Some(next));
        }
        let found = self.search(start + 1)?;
        self.at = found;
        let why = format!("{} bytes are no entries", found - start);
        visit(Piece::Lost(place(&path, start, why)))?;
        Ok(Some(found))
    }

    /// Loads the entry at a place; returns where the next one begins. Of one that is not sound the
    /// same, if its header is right.
    fn load(&mut self, at: u64) -> Result<std::result::Result<u64, Option<(Head, u64)>>> {
        let Some(head) = self.header(at)? else { return Ok(Err(None)) };
        let next = at + head.entry_len();
        let mut payload = std::mem::take(&mut self.payload);
        payload.resize(head.payload_len(), 0);
        let is_read = self.read(at + head.len() as u64, &mut payload)?;
        self.payload = payload;
        let is_sound = is_read
            && match &head {
                Head::Sealed(header) => self.open_sealed(header, at),
                Head::Frame(frame) => frame.verify(&self.payload).is_ok(),
            };
        if let Head::Frame(frame) = &head
            && frame.kind() == FrameKind::Watermark
        {
            // It has no records: instants are counted by the records that are there.
            self.payload.clear();
        }
        Ok(if is_sound { Ok(next) } else { Err(is_read.then_some((head, next))) })
    }

    /// Opens the sealed entry whose body is in the buffer, which is left alone if it is not sound;
    /// the records of its frame are there then.
    fn open_sealed(&mut self, header: &SealedHeader, at: u64) -> bool {
        let Some(seal) = &self.seal else { return false };
        let opened = seal.open(header, at, &mut self.payload);
        let Ok(mut frame) = opened else { return false };
        let head = frame.first_chunk().and_then(|bytes| FrameHeader::read(bytes).ok());
        let Some(head) = head.filter(is_entry) else { return false };
        frame.drain(..FRAME_HEADER_LEN);
        if head.verify(&frame).is_err() {
            return false;
        }
        if head.kind() == FrameKind::Watermark {
            frame.clear();
        }
        self.payload = frame;
        true
    }

    /// The header at a place, if it is one of an entry inside the segment.
    fn header(&mut self, at: u64) -> Result<Option<Head>> {
        let head = if self.seal.is_some() {
            let mut bytes = [0; SEALED_HEADER_LEN];
            let is_read = at <= self.end && self.read(at, &mut bytes)?;
            is_read.then(|| SealedHeader::read(&bytes).ok()).flatten().map(Head::Sealed)
        } else {
            let mut bytes = [0; FRAME_HEADER_LEN];
            let is_read = at <= self.end && self.read(at, &mut bytes)?;
            let frame = is_read.then(|| FrameHeader::read(&bytes).ok()).flatten();
            frame.filter(is_entry).map(Head::Frame)
        };
        Ok(head.filter(|head| at + head.entry_len() <= self.end))
    }

    /// True if an entry begins at a place, or the segment ends there.
    fn begins_at(&mut self, at: u64) -> Result<bool> {
        Ok(at == self.end || self.header(at)?.is_some())
    }

    /// Where the next sound entry begins, from a place on; the segment's end if there is none.
    fn search(&mut self, from: u64) -> Result<u64> {
        let magic = if self.seal.is_some() { SEALED_MAGIC } else { FRAME_MAGIC };
        let mut window = vec![0; WINDOW];
        let mut base = from;
        while base < self.end {
            let len = usize::try_from(self.end - base).unwrap_or(WINDOW).min(WINDOW);
            if !self.read(base, &mut window[..len])? {
                return Ok(self.end);
            }
            let starts: Vec<_> = window[..len]
                .windows(magic.len())
                .zip(base..)
                .filter_map(|(bytes, at)| (bytes == magic).then_some(at))
                .collect();
            for at in starts {
                if let Ok(next) = self.load(at)?
                    && self.begins_at(next)?
                {
                    return Ok(at);
                }
            }
            // The windows overlap by less than a magic.
            base += len.saturating_sub(magic.len() - 1).max(1) as u64;
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
fn repair(frame: &FrameHeader, payload: &mut [u8]) -> bool {
    repair_bit(&frame.to_bytes(), payload, |payload| frame.verify(payload).is_ok())
}

/// Puts a flipped bit of a sealed entry's body right.
fn repair_sealed(header: &SealedHeader, body: &mut [u8]) -> bool {
    repair_bit(&header.to_bytes(), body, |body| header.verify(body).is_ok())
}

/// Puts a flipped bit right behind a header that ends with the checksum of both.
///
/// The checksums with and without the flip differ by a value that follows from the bit's distance
/// to the end alone.
fn repair_bit(header: &[u8], payload: &mut [u8], is_sound: impl FnOnce(&[u8]) -> bool) -> bool {
    /// CRC-32C's polynomial, its lowest power in the highest bit.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let Some((covered, stored)) = header.split_last_chunk::<4>() else { return false };
    let found = crc32c::crc32c_append(crc32c::crc32c(covered), payload);
    let difference = found ^ u32::from_le_bytes(*stored);
    let mut of_bit = POLYNOMIAL;
    for at in (0..payload.len()).rev() {
        for bit in (0..8).rev() {
            if of_bit == difference {
                payload[at] ^= 1 << bit;
                return is_sound(payload);
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
