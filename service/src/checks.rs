//! Hashes in the place of content, in records that verify the copy ([`snapless_wire::check`]).

use snapless_wire::check::{CHECK_TILE, hashes_len, tile_hash};
use snapless_wire::record::RecordHeader;

/// Replaces the content of a check by the hashes of its tiles, which are then the first bytes of
/// `content`; the record's header, and how many bytes they are. `None` for another record, or one
/// that has hashes already.
pub fn hash(header: &RecordHeader, content: &mut [u8]) -> Option<(RecordHeader, usize)> {
    let header = header.hashed().ok().filter(|_| !header.is_hashed())?;
    let hashes: Vec<_> =
        content.chunks(CHECK_TILE).map(|tile| tile_hash(blake3::hash(tile).as_bytes())).collect();
    let hashes = hashes.as_flattened();
    debug_assert_eq!(hashes.len(), hashes_len(header.extent_len()));
    // A tile is no shorter than a sector.
    content.get_mut(..hashes.len())?.copy_from_slice(hashes);
    Some((header, hashes.len()))
}
