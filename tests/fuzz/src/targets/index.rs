//! The index of a segment.

use snapless_server::crypto::BlobSeal;
use snapless_server::format::index::{
    CHUNK_HEADER_LEN, ChunkBuilder, ChunkHeader, EntryIndex, INDEX_HEADER_LEN, IndexIdentity,
};
use snapless_server::format::segment::SegmentNumber;

use super::{Target, repository, split};

pub(super) const TARGET: Target = Target {
    name: "index",
    repairs: &[seal],
    run,
    reached: &["index", "short", "magic", "version", "checksum", "content"],
};

/// The fields of a chunk's header: see `snapless_server::format::index`.
const LEN: usize = 0;
const CRC: usize = 24;

fn identity() -> IndexIdentity {
    repository::session().index_of(SegmentNumber::FIRST)
}

/// Makes the identity and the checksums right.
fn seal(input: &mut [u8]) {
    let Some((header, mut rest)) = input.split_at_mut_checked(INDEX_HEADER_LEN) else { return };
    header.copy_from_slice(&identity().to_bytes());
    while let Some((head, body)) = rest.split_at_mut_checked(CHUNK_HEADER_LEN) {
        let len = u32::from_le_bytes(head[LEN..LEN + 4].try_into().unwrap_or_default()) as usize;
        let len = len.min(body.len());
        let (body, after) = body.split_at_mut(len);
        head[CRC..CRC + 4].fill(0);
        let sum = crc32c::crc32c_append(crc32c::crc32c(&header[..INDEX_HEADER_LEN - 4]), head);
        let sum = crc32c::crc32c_append(sum, body);
        head[CRC..CRC + 4].copy_from_slice(&sum.to_le_bytes());
        rest = after;
    }
}

fn run(input: &[u8]) -> &'static str {
    let Some((header, mut rest)) = split::<INDEX_HEADER_LEN>(input) else { return "short" };
    if let Err(error) = identity().check(&header) {
        return repository::name(error);
    }
    while let Some((head, body)) = split::<CHUNK_HEADER_LEN>(rest) {
        let entries = ChunkHeader::read(&head).and_then(|chunk| {
            let body = body.get(..chunk.len).unwrap_or(body);
            chunk.verify(&identity(), body)?;
            rest = &rest[CHUNK_HEADER_LEN + chunk.len..];
            let entries = chunk.entries(body).collect::<Result<Vec<_>, _>>()?;
            Ok((chunk.is_sealed, entries))
        });
        match entries {
            Ok((is_sealed, entries)) => check(is_sealed, &entries),
            Err(error) => return repository::name(error),
        }
    }
    "index"
}

/// Entries that were taken keep their promises, and come back the same.
fn check(is_sealed: bool, entries: &[EntryIndex]) {
    let Some(first) = entries.first() else { return };
    let seal = is_sealed.then(BlobSeal::default);
    let mut builder = ChunkBuilder::new(identity(), first.offset).sealed(seal);
    for entry in entries {
        assert_eq!(entry.offset, builder.end(), "entries follow each other");
        for record in entry.records() {
            assert!(record.content + record.header.payload_len() <= entry.frame.payload_len());
        }
        builder.add(entry);
    }
    let again = builder.take().ok().flatten().expect("it has entries");
    let (head, body) = split::<CHUNK_HEADER_LEN>(&again).expect("it has a head");
    let chunk = ChunkHeader::read(&head).expect("it was made");
    assert_eq!(chunk.verify(&identity(), body), Ok(()));
    let found: Result<Vec<_>, _> = chunk.entries(body).collect();
    assert_eq!(found.as_deref(), Ok(entries));
}
