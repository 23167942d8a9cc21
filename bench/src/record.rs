//! The engine's records as they stand on the wire.

use snapless_engine::Record;
use snapless_wire::id::{EpochId, FileTime, Seq};
use snapless_wire::record::{Position, RecordError, RecordHeader, RecordKind};

/// The header of a record.
pub fn header(record: &Record) -> Result<RecordHeader, RecordError> {
    let position = Position {
        seq: Seq::new(record.seq),
        time: FileTime::new(record.time),
        epoch: EpochId::new(record.epoch),
    };
    let kind = kind(record.kind);
    match record.extent {
        Some(extent) => RecordHeader::extent(kind, position, extent.offset(), extent.len()),
        None => RecordHeader::marker(kind, position),
    }
}

fn kind(kind: snapless_engine::RecordKind) -> RecordKind {
    use snapless_engine::RecordKind as Engine;
    match kind {
        Engine::Block => RecordKind::Block,
        Engine::Write => RecordKind::Write,
        Engine::Resync => RecordKind::Resync,
        Engine::Unreadable => RecordKind::Unreadable,
        Engine::Unallocated => RecordKind::Unallocated,
        Engine::Trim => RecordKind::Trim,
        Engine::Zero => RecordKind::Zero,
        Engine::SessionStart => RecordKind::SessionStart,
        Engine::EpochEnd => RecordKind::EpochEnd,
        Engine::BaseComplete => RecordKind::BaseComplete,
        Engine::GapBegin => RecordKind::GapBegin,
        Engine::Consistent => RecordKind::Consistent,
    }
}
