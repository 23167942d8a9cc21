//! Records and Fetched frames that are compressed on their way.
//!
//! The payload of a Packed frame is the header of the frame as it was made, then that frame's
//! payload, compressed by zstd. Rule: what is unpacked is the frame that was packed. Its
//! own checksum is looked at behind that of the link's frame, and its length before memory is
//! taken.

use std::fmt;
use std::io;

use snapless_wire::frame::{FRAME_HEADER_LEN, FrameError, FrameHeader, FrameKind};
use zstd::bulk;

/// The level: the fastest. The machine has other work than this.
pub const LEVEL: i32 = 1;
/// A shorter payload is sent as it is: a packet takes it in any case.
pub const PACKED_MIN: usize = 1 << 10;
/// A payload of at least so many bytes is tried first by samples.
const TRIED_BYTES: usize = 128 << 10;
/// Samples, spread over it,
const SAMPLES: usize = 8;
/// and bytes of each.
const SAMPLE_BYTES: usize = 4 << 10;
/// What is left of them, at most, if they lose an eighth.
const SAMPLES_LEFT: usize = SAMPLES * SAMPLE_BYTES / 8 * 7;

/// Packs frame after frame.
pub struct Packer {
    sampler: Sampler,
    packed: Vec<u8>,
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packer")
    }
}

impl Packer {
    /// With memory of its own.
    ///
    /// # Errors
    /// The system's, for want of memory.
    pub fn new() -> io::Result<Self> {
        Ok(Self { sampler: Sampler::new()?, packed: Vec::new() })
    }

    /// The payload of the Packed frame that stands for a Records frame with this one; `None` if it
    /// would hardly be shorter.
    pub fn pack(&mut self, payload: &[u8]) -> Option<&[u8]> {
        self.pack_as(FrameKind::Records, payload)
    }

    /// The same for a frame of another kind.
    pub fn pack_as(&mut self, kind: FrameKind, payload: &[u8]) -> Option<&[u8]> {
        if payload.len() < PACKED_MIN || !self.sampler.shrinks(payload) {
            return None;
        }
        let header = FrameHeader::new(kind, payload).ok()?;
        self.packed.clear();
        self.packed.extend_from_slice(&header.to_bytes());
        // The end of the room is the sign that it does not shrink by an eighth.
        self.packed.resize(payload.len() / 8 * 7, 0);
        let room = self.packed.get_mut(FRAME_HEADER_LEN..)?;
        let len = self.sampler.compressor.compress_to_buffer(payload, room).ok()?;
        self.packed.truncate(FRAME_HEADER_LEN + len);
        Some(&self.packed)
    }
}

/// Unpacks the payload of a Packed frame into `payload`; returns the header of the Records frame
/// that was packed, whose checksum holds.
///
/// # Errors
/// [`FrameError`].
pub fn unpack(packed: &[u8], payload: &mut Vec<u8>) -> Result<FrameHeader, FrameError> {
    unpack_as(FrameKind::Records, packed, payload)
}

/// The same for a frame of another kind.
///
/// # Errors
/// [`FrameError`].
pub fn unpack_as(
    kind: FrameKind,
    packed: &[u8],
    payload: &mut Vec<u8>,
) -> Result<FrameHeader, FrameError> {
    const BAD: FrameError = FrameError::Payload("Packed");
    let (header, packed) = packed.split_first_chunk().ok_or(BAD)?;
    let header = FrameHeader::read(header)?;
    if header.kind() != kind {
        return Err(BAD);
    }
    payload.clear();
    payload.resize(header.payload_len(), 0);
    let unpacked = bulk::decompress_to_buffer(packed, &mut payload[..]);
    if unpacked.ok() != Some(payload.len()) {
        return Err(BAD);
    }
    header.verify(payload)?;
    Ok(header)
}

/// Tells by samples which frames are worth being compressed.
pub struct Sampler {
    compressor: bulk::Compressor<'static>,
    samples: Vec<u8>,
    packed: Vec<u8>,
}

impl Sampler {
    /// With memory of its own.
    ///
    /// # Errors
    /// The system's, for want of memory.
    pub fn new() -> io::Result<Self> {
        let compressor = bulk::Compressor::new(LEVEL)?;
        let samples = Vec::with_capacity(SAMPLES * SAMPLE_BYTES);
        Ok(Self { compressor, samples, packed: vec![0; SAMPLES_LEFT] })
    }

    /// True for a short frame, and for a longer one if some bytes of each part lose an eighth.
    pub fn shrinks(&mut self, frame: &[u8]) -> bool {
        if frame.len() < TRIED_BYTES {
            return true;
        }
        let step = frame.len() / SAMPLES;
        self.samples.clear();
        for index in 0..SAMPLES {
            self.samples.extend_from_slice(&frame[index * step..][..SAMPLE_BYTES]);
        }
        // The end of the room is the sign that they do not.
        self.compressor.compress_to_buffer(&self.samples, &mut self.packed[..]).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_wire::frame::FRAME_PAYLOAD_MAX;

    fn text(len: usize) -> Vec<u8> {
        (0..=255_u8).flat_map(|byte| [byte; 50]).cycle().take(len).collect()
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut rng = fastrand::Rng::with_seed(1);
        std::iter::repeat_with(|| rng.u8(..)).take(len).collect()
    }

    #[test]
    fn a_frame_comes_back_as_it_was() {
        let mut packer = Packer::new().unwrap();
        for len in [PACKED_MIN, 5_000, TRIED_BYTES, 1 << 20, FRAME_PAYLOAD_MAX] {
            let payload = text(len);
            let sent = packer.pack(&payload).unwrap();
            assert!(sent.len() < len / 4, "{len}: {}", sent.len());
            let mut unpacked = vec![7; 10];
            let header = unpack(sent, &mut unpacked).unwrap();
            assert_eq!(header, FrameHeader::new(FrameKind::Records, &payload).unwrap());
            assert!(unpacked == payload, "{len}");
        }
    }

    #[test]
    fn what_hardly_shrinks_stays_as_it_is() {
        let mut packer = Packer::new().unwrap();
        for len in [0, 1, PACKED_MIN, 100_000, 1 << 20] {
            assert!(packer.pack(&noise(len)).is_none(), "{len}");
        }
        assert!(packer.pack(&text(PACKED_MIN - 1)).is_none());
        // Its samples shrink, but not the rest.
        let mut mixed = noise(1 << 20);
        for index in 0..SAMPLES {
            mixed[index * (1 << 17)..][..SAMPLE_BYTES].fill(0);
        }
        assert!(packer.pack(&mixed).is_none());
    }

    #[test]
    fn every_flipped_bit_is_found_and_no_length_takes_memory_that_is_not_there() {
        let payload = text(5_000);
        let packed = Packer::new().unwrap().pack(&payload).unwrap().to_vec();
        let mut unpacked = Vec::new();
        for bit in 0..packed.len() * 8 {
            let mut bytes = packed.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // A bit of zstd's own frame may mean nothing; then the content is the same.
            let same = unpack(&bytes, &mut unpacked).is_ok_and(|_| unpacked == payload);
            assert!(same || unpack(&bytes, &mut unpacked).is_err(), "bit {bit}");
        }
        for cut in [0, FRAME_HEADER_LEN - 1, FRAME_HEADER_LEN, packed.len() - 1] {
            assert!(unpack(&packed[..cut], &mut unpacked).is_err(), "{cut}");
        }
        let mut long = packed.clone();
        long[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(unpack(&long, &mut unpacked), Err(FrameError::TooLong(_))));
        assert!(unpacked.capacity() <= FRAME_PAYLOAD_MAX);
        // Another length than what is packed has.
        for len in [4_999_u32, 5_001] {
            let mut other = packed.clone();
            other[8..12].copy_from_slice(&len.to_le_bytes());
            assert!(unpack(&other, &mut unpacked).is_err());
        }
        assert!(unpack_as(FrameKind::Fetched, &packed, &mut unpacked).is_err());
        let mut of_content = Packer::new().unwrap();
        let fetched = of_content.pack_as(FrameKind::Fetched, &payload).unwrap();
        let header = unpack_as(FrameKind::Fetched, fetched, &mut unpacked).unwrap();
        assert!(header.kind() == FrameKind::Fetched && unpacked == payload);
        let other = FrameHeader::new(FrameKind::Watermark, &payload).unwrap().to_bytes();
        let other = [&other[..], &packed[FRAME_HEADER_LEN..]].concat();
        assert_eq!(unpack(&other, &mut unpacked), Err(FrameError::Payload("Packed")));
    }
}
