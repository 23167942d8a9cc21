//! The engine's records as they stand on the wire.

use snapless_engine::Record;
use snapless_wire::id::FileTime;
use snapless_wire::record::{Position, RecordError, RecordHeader};

/// The header of a record.
pub fn header(record: &Record) -> Result<RecordHeader, RecordError> {
    let position =
        Position { seq: record.seq, time: FileTime::new(record.time), epoch: record.epoch };
    match (record.extent, record.gap_reason) {
        (Some(extent), _) => {
            RecordHeader::extent(record.kind, position, extent.offset(), extent.len())
        }
        (None, Some(reason)) => Ok(RecordHeader::gap_begin(position, reason)),
        (None, None) => RecordHeader::marker(record.kind, position),
    }
}
