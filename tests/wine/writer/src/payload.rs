//! Content that names its own write: every sector carries the write's id and its own place.
//!
//! The rule: two writes never have the same content (zeros apart), a sector found anywhere tells
//! which write it came from, and a sector made of two writes is recognised.

use std::fmt;

use crate::extent::{Extent, SECTOR};

/// Bytes of a sector, as memory counts them.
pub const SECTOR_BYTES: usize = 512;

const _: () = assert!(SECTOR_BYTES as u64 == SECTOR);

/// Which write of the run: the thread in the upper 16 bits, its counter below. 0 is the content
/// that the volume's scratch files had before any write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WriteId(pub u64);

impl WriteId {
    /// The content before any write.
    pub const PRISTINE: Self = Self(0);

    /// The `counter`-th write of `thread`, both counted from 1.
    pub fn new(thread: u16, counter: u64) -> Self {
        assert!(thread > 0 && counter > 0 && counter < 1 << 48, "write ids start at 1");
        Self(u64::from(thread) << 48 | counter)
    }
}

impl fmt::Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> 48, self.0 & ((1 << 48) - 1))
    }
}

/// Makes and recognises the content of one run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Payload {
    seed: u64,
}

impl Payload {
    /// The payloads of the run with this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Fills `bytes`, which lie at `offset` of the volume, with the content of `id`.
    pub fn fill(self, id: WriteId, offset: u64, bytes: &mut [u8]) {
        assert_eq!(bytes.len() % SECTOR_BYTES, 0, "payloads are whole sectors");
        for (sector, bytes) in (offset / SECTOR..).zip(bytes.chunks_exact_mut(SECTOR_BYTES)) {
            self.fill_sector(id, sector, bytes);
        }
    }

    /// Checks that each sector of `bytes`, read at `extent`, is whole: all zeros, or one write's
    /// own.
    ///
    /// # Errors
    /// The first sector that is neither.
    pub fn check(self, extent: Extent, bytes: &[u8]) -> Result<(), BadSector> {
        assert_eq!(bytes.len(), extent.size(), "a read fills its extent");
        let mut want = [0; SECTOR_BYTES];
        for (sector, found) in extent.sectors().zip(bytes.chunks_exact(SECTOR_BYTES)) {
            if let Some(id) = claimed_id(found) {
                self.fill_sector(id, sector, &mut want);
                if found != want {
                    return Err(BadSector { sector, claims: id });
                }
            }
        }
        Ok(())
    }

    fn fill_sector(self, id: WriteId, sector: u64, bytes: &mut [u8]) {
        let (head, body) = bytes.split_at_mut(16);
        head[..8].copy_from_slice(&id.0.to_le_bytes());
        head[8..].copy_from_slice(&sector.to_le_bytes());
        fastrand::Rng::with_seed(mix(self.seed, id.0, sector)).fill(body);
    }
}

/// The write that a sector names; `None` for a sector of zeros.
pub fn claimed_id(sector: &[u8]) -> Option<WriteId> {
    let head = sector.first_chunk::<8>()?;
    let id = u64::from_le_bytes(*head);
    let zero = id == 0 && sector.iter().all(|&byte| byte == 0);
    (!zero).then_some(WriteId(id))
}

/// A sector that differs from the content of the write that it names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("sector {sector:#x} claims to be of write {claims} but is not")]
pub struct BadSector {
    /// Its number.
    pub sector: u64,
    /// The id in its first bytes.
    pub claims: WriteId,
}

/// Three numbers into one, each bit of them spread over the whole (the finaliser of `SplitMix64`).
fn mix(a: u64, b: u64, c: u64) -> u64 {
    let mut state = a;
    for word in [b, c] {
        state = (state ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^= state >> 31;
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(id: WriteId, extent: Extent) -> Vec<u8> {
        let mut bytes = vec![0; extent.size()];
        Payload::new(7).fill(id, extent.offset(), &mut bytes);
        bytes
    }

    #[test]
    fn sectors_name_their_write_and_pass_the_check() {
        let extent = Extent::new(4096, 2048).unwrap();
        let id = WriteId::new(3, 9);
        let mut bytes = filled(id, extent);
        assert_eq!(claimed_id(&bytes), Some(id));
        assert_eq!(Payload::new(7).check(extent, &bytes), Ok(()));
        bytes[512..1024].fill(0);
        assert_eq!(Payload::new(7).check(extent, &bytes), Ok(()));
    }

    #[test]
    fn a_torn_or_misplaced_sector_is_found() {
        let extent = Extent::new(4096, 1024).unwrap();
        let payload = Payload::new(7);
        let mut torn = filled(WriteId::new(1, 1), extent);
        let other = filled(WriteId::new(1, 2), extent);
        torn[700..1024].copy_from_slice(&other[700..]);
        assert_eq!(payload.check(extent, &torn).unwrap_err().sector, 9);
        let moved = filled(WriteId::new(1, 1), Extent::new(8192, 1024).unwrap());
        assert_eq!(payload.check(extent, &moved).unwrap_err().sector, 8);
        assert!(Payload::new(8).check(extent, &other).is_err());
    }

    #[test]
    fn ids_keep_thread_and_counter_apart() {
        assert_eq!(WriteId::new(2, 5).to_string(), "2.5");
        assert_ne!(WriteId::new(2, 1), WriteId::new(1, 2));
    }
}
