//! The fixed structures of a repository's files. The first byte of an input says which.

use snapless_server::format::FormatError;
use snapless_server::format::acknowledged::{Acknowledged, SLOT_LEN};
use snapless_server::format::floor::FloorHeader;
use snapless_server::format::repository::RepositoryHeader;
use snapless_server::format::segment::{SegmentHeader, SegmentNumber};
use snapless_server::format::session::SessionHeader;
use snapless_server::format::slots::{SLOT_STRIDE, SLOTS_FILE_LEN};
use snapless_types::Geometry;
use snapless_wire::id::FileTime;

use super::{Target, split, stream};

pub(super) const TARGET: Target = Target {
    name: "repository",
    repairs: &[repair],
    run,
    reached: &[
        "repository",
        "floor",
        "session",
        "segment",
        "acknowledged",
        "acknowledged, older slot torn",
        "short",
        "magic",
        "version",
        "checksum",
        "content",
    ],
};

const REPOSITORY: u8 = 0;
const SESSION: u8 = 1;
const SEGMENT: u8 = 2;
const ACKNOWLEDGED: u8 = 3;

/// An acknowledgement without the stretch between its slots, which is not read.
const SLOTS_LEN: usize = 2 * SLOT_LEN;

pub(super) fn session() -> SessionHeader {
    SessionHeader {
        volume: stream::VOLUME,
        session: stream::SESSION,
        geometry: Geometry::new(stream::LENGTH, 512, 16 << 10).expect("a small volume"),
        created: FileTime::new(5),
    }
}

/// Makes the checksums right.
fn repair(input: &mut [u8]) {
    let Some((kind, bytes)) = input.split_first_mut() else { return };
    let kind = *kind & 3;
    if kind == ACKNOWLEDGED {
        bytes.chunks_exact_mut(SLOT_LEN).for_each(seal);
    } else {
        let len = bytes.len().min(if kind == SESSION { 128 } else { 64 });
        seal(&mut bytes[..len]);
    }
}

pub(super) fn seal(bytes: &mut [u8]) {
    if let Some((body, crc)) = bytes.split_last_chunk_mut::<4>() {
        *crc = crc32c::crc32c(body).to_le_bytes();
    }
}

fn run(input: &[u8]) -> &'static str {
    let Some((kind, bytes)) = input.split_first() else { return "short" };
    let outcome = match kind & 3 {
        REPOSITORY if bytes.starts_with(b"SLFLOOR") => FloorHeader::read(bytes).map(|header| {
            assert_eq!(FloorHeader::read(&header.to_bytes()), Ok(header));
            assert!(header.percent <= 100);
            "floor"
        }),
        REPOSITORY => RepositoryHeader::read(bytes).map(|header| {
            assert_eq!(RepositoryHeader::read(&header.to_bytes()), Ok(header));
            "repository"
        }),
        SESSION => SessionHeader::read(bytes).map(|header| {
            assert_eq!(SessionHeader::read(&header.to_bytes()), Ok(header));
            assert!(!header.volume.is_nil() && !header.session.is_nil());
            "session"
        }),
        SEGMENT => split(bytes).ok_or(FormatError::Short).and_then(|(header, _)| {
            let header = SegmentHeader::read(&header)?;
            assert_eq!(SegmentHeader::read(&header.to_bytes()), Ok(header));
            let name = header.number.file_name();
            let of_log = SegmentNumber::from_file_name(&name);
            let found = of_log.or_else(|| SegmentNumber::from_compacted_name(&name));
            let is_none = header.number.compacted_index() == 0;
            assert!(found == Some(header.number) || is_none, "{name}");
            Ok("segment")
        }),
        _ => acknowledged(bytes),
    };
    outcome.unwrap_or_else(name)
}

fn acknowledged(slots: &[u8]) -> Result<&'static str, FormatError> {
    let mut file = vec![0; SLOTS_FILE_LEN];
    let slots = slots.get(..SLOTS_LEN).unwrap_or(slots);
    let (first, second) = slots.split_at(slots.len().min(SLOT_LEN));
    file[..first.len()].copy_from_slice(first);
    file[SLOT_STRIDE..SLOT_STRIDE + second.len()].copy_from_slice(second);
    let newest = Acknowledged::read(&file)?;
    let mut again = Acknowledged::new_file();
    let start = newest.slot_offset();
    again[start..start + SLOT_LEN].copy_from_slice(&newest.to_slot());
    if newest.generation > 1 {
        assert_eq!(Acknowledged::read(&again), Ok(newest), "the newest slot counts");
    }
    Ok(match newest.check_older(&file) {
        Ok(()) => "acknowledged",
        Err(_) => "acknowledged, older slot torn",
    })
}

/// What became of a structure that is refused.
pub(super) fn name(error: FormatError) -> &'static str {
    assert!(!error.to_string().is_empty());
    match error {
        FormatError::Short => "short",
        FormatError::Magic => "magic",
        FormatError::Version { .. } => "version",
        FormatError::Checksum => "checksum",
        FormatError::Sealed => "sealed",
        FormatError::Content(_) => "content",
    }
}
