//! Repairs of broken streams, and the volume that they are of.

use snapless_types::RecordKind;
use snapless_wire::frame::{FRAME_HEADER_LEN, FrameKind};
use snapless_wire::id::{SessionId, VolumeGuid};
use snapless_wire::record::{RECORD_HEADER_LEN, RecordHeader};

pub(super) const VOLUME: VolumeGuid = VolumeGuid([1; 16]);
pub(super) const SESSION: SessionId = SessionId([2; 16]);
const BLOCK: u64 = 16 << 10;
/// Three whole blocks and a short one.
pub(super) const LENGTH: u64 = 3 * BLOCK + 2 * 512;

/// The headers' fields: see `snapless_wire::record` and `snapless_wire::frame`.
const SEQ: usize = 8;
const EPOCH: usize = 24;
const FRAME_LEN: usize = 8;
const FRAME_CRC: usize = 12;

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

/// Numbers the records of frames of records anew, from 1, with the epochs that follow, lets each
/// watermark name the last record, and makes the checksums right.
pub(super) fn renumber(input: &mut [u8]) {
    let (mut seq, mut epoch) = (0_u64, 1_u64);
    let mut rest = &mut *input;
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
        } else if header[6] == FrameKind::Watermark as u8
            && let Some(place) = payload.first_chunk_mut()
        {
            *place = seq.to_le_bytes();
        }
        rest = after;
    }
    seal_frames(input);
}
