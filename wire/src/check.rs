//! Checks: records that verify the copy of a volume, by hashes.
//!
//! The driver reads blocks that the stream describes already and appends a
//! [`RecordKind::Check`](snapless_types::RecordKind::Check) with their bytes: at this place of the
//! stream, the volume has this content. The service replaces the bytes by the hashes of their
//! tiles, so that a verification costs the network next to nothing; the server stores those and
//! compares them with what the stream gives.

/// Bytes of the volume that have a hash of their own, from the begin of the record's extent on; of
/// the last one, what is left.
pub const CHECK_TILE: usize = 64 << 10;
/// Bytes of a hash.
pub const CHECK_HASH_LEN: usize = 16;

/// The first bytes of the BLAKE3 hash of a tile.
pub type CheckHash = [u8; CHECK_HASH_LEN];

/// Bytes of the hashes of an extent of this length.
pub fn hashes_len(extent_len: u64) -> usize {
    let tiles = extent_len.div_ceil(CHECK_TILE as u64);
    usize::try_from(tiles).unwrap_or(usize::MAX).saturating_mul(CHECK_HASH_LEN)
}

/// The tile hash of a BLAKE3 hash.
pub fn tile_hash(blake3: &[u8; 32]) -> CheckHash {
    let mut hash = CheckHash::default();
    hash.iter_mut().zip(blake3).for_each(|(to, from)| *to = *from);
    hash
}

/// The tiles of a record with hashes: where in the volume each begins, its bytes, and its hash.
pub fn tiles(
    offset: u64,
    len: u64,
    hashes: &[u8],
) -> impl Iterator<Item = (u64, u64, CheckHash)> + '_ {
    let (hashes, _) = hashes.as_chunks::<CHECK_HASH_LEN>();
    let starts = (0..len).step_by(CHECK_TILE);
    starts.zip(hashes).map(move |(start, hash)| {
        (offset.saturating_add(start), (len - start).min(CHECK_TILE as u64), *hash)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extent_has_a_hash_for_each_tile_the_last_of_which_may_be_short() {
        assert_eq!([0, 1, 65_536, 65_537].map(hashes_len), [0, 16, 16, 32]);
        let hashes = [[1; 16], [2; 16], [3; 16]].concat();
        let found: Vec<_> = tiles(512, 2 * 65_536 + 1024, &hashes).collect();
        let want = [
            (512, 65_536, [1; 16]),
            (512 + 65_536, 65_536, [2; 16]),
            (512 + 2 * 65_536, 1024, [3; 16]),
        ];
        assert_eq!(found, want);
        assert_eq!(tiles(0, 512, &[]).count(), 0);
        assert_eq!(tile_hash(&core::array::from_fn(|at| u8::try_from(at).unwrap()))[15], 15);
    }
}
