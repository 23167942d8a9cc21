//! Records in a packed buffer: what the driver drains into, what a frame carries, what a segment
//! holds.

use snapless_types::RecordKind;
use snapless_wire::check::hashes_len;
use snapless_wire::record::{
    RECORD_GRANULE, RECORD_HEADER_LEN, RECORD_PAYLOAD_MAX, Record, RecordError, RecordHeader,
    Records, SEED_HASH_LEN,
};

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "records",
    repairs: &[],
    run,
    reached: &[
        "all",
        "none",
        "truncated",
        "magic",
        "kind",
        "flags",
        "extent",
        "payload length",
        "gap reason",
    ],
};

fn run(input: &[u8]) -> &'static str {
    let mut used = 0;
    for record in Records::new(input) {
        match record {
            Ok(record) => used += check(&record),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return match error {
                    RecordError::Truncated => "truncated",
                    RecordError::Magic(_) => "magic",
                    RecordError::Kind(_) => "kind",
                    RecordError::Flags(_) => "flags",
                    RecordError::Extent { .. } => "extent",
                    RecordError::PayloadLen(_) => "payload length",
                    RecordError::GapReason(_) => "gap reason",
                };
            }
        }
    }
    assert_eq!(used, input.len(), "records fill their buffer");
    if used == 0 { "none" } else { "all" }
}

/// Checks what a parsed record promises; returns its length.
pub(super) fn check(record: &Record<'_>) -> usize {
    let header = &record.header;
    assert_eq!(RecordHeader::read(&header.to_bytes()), Ok(*header), "it comes back the same");
    assert_eq!(record.payload.len(), header.payload_len());
    assert!(header.payload_len() <= RECORD_PAYLOAD_MAX);
    let (offset, len) = (header.extent_offset(), header.extent_len());
    assert!(offset.checked_add(len).is_some());
    assert_eq!(len == 0, !header.kind().has_extent());
    assert_eq!(header.gap_reason().is_some(), header.kind() == RecordKind::GapBegin);
    assert!(offset.is_multiple_of(RECORD_GRANULE) && len.is_multiple_of(RECORD_GRANULE));
    let carries = header.kind().has_payload() && !header.is_zero();
    let payload_len = match (header.is_seeded(), header.is_hashed()) {
        (true, _) => SEED_HASH_LEN as u64,
        (false, true) => hashes_len(len) as u64,
        (false, false) => len,
    };
    assert_eq!(header.payload_len() as u64, if carries { payload_len } else { 0 });
    assert!(!header.is_hashed() || header.is_seeded() || header.kind() == RecordKind::Check);
    RECORD_HEADER_LEN + record.payload.len()
}
