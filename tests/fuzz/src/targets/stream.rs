//! Whole streams to break, and what makes a broken one right again.

use snapless_types::{EpochId, RecordKind, Seq};
use snapless_wire::frame::{FRAME_HEADER_LEN, FrameHeader, FrameKind};
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};
use snapless_wire::record::{Position, RECORD_HEADER_LEN, RecordHeader, Records};

pub(super) const VOLUME: VolumeGuid = VolumeGuid([1; 16]);
pub(super) const SESSION: SessionId = SessionId([2; 16]);
pub(super) const SECTOR: u64 = 512;
pub(super) const BLOCK: u64 = 16 << 10;
/// Three whole blocks and a short one.
pub(super) const LENGTH: u64 = 3 * BLOCK + 2 * SECTOR;

/// The headers' fields: see `snapless_wire::record` and `snapless_wire::frame`.
const SEQ: usize = 8;
const EPOCH: usize = 24;
const FRAME_LEN: usize = 8;
const FRAME_CRC: usize = 12;

struct Writer {
    bytes: Vec<u8>,
    seq: u64,
    epoch: u64,
}

impl Writer {
    fn new() -> Self {
        Self { bytes: Vec::new(), seq: 0, epoch: 1 }
    }

    fn position(&mut self) -> Position {
        self.seq += 1;
        Position {
            seq: Seq::new(self.seq),
            time: FileTime::new(132_223_104_000_000_000 + self.seq),
            epoch: EpochId::new(self.epoch),
        }
    }

    fn marker(mut self, kind: RecordKind) -> Self {
        let header = RecordHeader::marker(kind, self.position()).expect("a marker");
        self.bytes.extend(header.to_bytes());
        self.epoch += u64::from(kind == RecordKind::EpochEnd);
        self
    }

    fn plain(mut self, kind: RecordKind, offset: u64, len: u64) -> Self {
        let header = RecordHeader::extent(kind, self.position(), offset, len).expect("an extent");
        let header = if kind.has_payload() { header.zeroed().expect("a payload") } else { header };
        self.bytes.extend(header.to_bytes());
        self
    }

    fn data(mut self, kind: RecordKind, offset: u64) -> Self {
        let header = RecordHeader::extent(kind, self.position(), offset, SECTOR);
        self.bytes.extend(header.expect("an extent").to_bytes());
        self.bytes.extend([0xA5; 512]);
        self
    }
}

/// A base image with writes, and its end.
pub(super) fn records() -> Vec<u8> {
    Writer::new()
        .marker(RecordKind::SessionStart)
        .plain(RecordKind::Block, 0, BLOCK)
        .data(RecordKind::Write, 3 * SECTOR)
        .plain(RecordKind::Unallocated, BLOCK, BLOCK)
        .marker(RecordKind::EpochEnd)
        .plain(RecordKind::Block, 2 * BLOCK, BLOCK + 2 * SECTOR)
        .plain(RecordKind::Unreadable, 2 * BLOCK + SECTOR, SECTOR)
        .marker(RecordKind::BaseComplete)
        .plain(RecordKind::Trim, BLOCK, BLOCK)
        .plain(RecordKind::Zero, 0, SECTOR)
        .marker(RecordKind::EpochEnd)
        .bytes
}

/// A gap and the way out of it.
pub(super) fn records_after_a_gap() -> Vec<u8> {
    Writer::new()
        .marker(RecordKind::SessionStart)
        .plain(RecordKind::Block, 0, LENGTH)
        .marker(RecordKind::BaseComplete)
        .marker(RecordKind::GapBegin)
        .plain(RecordKind::Resync, BLOCK, BLOCK)
        .marker(RecordKind::Consistent)
        .data(RecordKind::Write, 2 * BLOCK)
        .marker(RecordKind::EpochEnd)
        .bytes
}

/// A frame with this payload.
pub(super) fn frame(kind: FrameKind, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader::new(kind, payload).expect("a short payload");
    [&header.to_bytes(), payload].concat()
}

/// Frames of these records; each epoch ends one.
pub(super) fn frames(records: &[u8]) -> Vec<u8> {
    let (mut frames, mut payload) = (Vec::new(), Vec::new());
    for record in Records::new(records) {
        let record = record.expect("a whole record");
        payload.extend(record.header.to_bytes());
        payload.extend(record.payload);
        if record.header.kind() == RecordKind::EpochEnd {
            frames.extend(frame(FrameKind::Records, &payload));
            payload.clear();
        }
    }
    frames
}

/// Makes the checksum of each frame right, as far as `input` is frames.
pub(super) fn seal_frames(input: &mut [u8]) {
    let mut rest = input;
    while let Some((header, body)) = rest.split_at_mut_checked(FRAME_HEADER_LEN) {
        let len = u32::from_le_bytes(header[FRAME_LEN..FRAME_CRC].try_into().unwrap_or_default());
        let len = (len as usize).min(body.len());
        let (payload, after) = body.split_at_mut(len);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..FRAME_CRC]), payload);
        header[FRAME_CRC..].copy_from_slice(&crc.to_le_bytes());
        rest = after;
    }
}

/// Numbers the records of frames of records anew, from 1, with the epochs that follow.
pub(super) fn renumber(input: &mut [u8]) {
    let (mut seq, mut epoch) = (0_u64, 1_u64);
    let mut rest = input;
    while let Some((header, body)) = rest.split_at_mut_checked(FRAME_HEADER_LEN) {
        let len = u32::from_le_bytes(header[FRAME_LEN..FRAME_CRC].try_into().unwrap_or_default());
        let len = (len as usize).min(body.len());
        let (mut payload, after) = body.split_at_mut(len);
        if header[6] == FrameKind::Records as u8 {
            while let Ok(record) = RecordHeader::read(payload) {
                seq += 1;
                payload[SEQ..SEQ + 8].copy_from_slice(&seq.to_le_bytes());
                payload[EPOCH..EPOCH + 8].copy_from_slice(&epoch.to_le_bytes());
                epoch += u64::from(record.kind() == RecordKind::EpochEnd);
                let next = RECORD_HEADER_LEN + record.payload_len();
                let Some((_, following)) = payload.split_at_mut_checked(next) else { break };
                payload = following;
            }
        }
        rest = after;
    }
}
