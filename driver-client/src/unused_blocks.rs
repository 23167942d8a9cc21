//! Which blocks of a volume no file has, as its file system says: `FSCTL_GET_VOLUME_BITMAP` has a
//! bit for each cluster, some of them in each reply.
//!
//! Only NTFS is asked: its clusters are counted from the volume's first byte, and all that it keeps
//! on the volume is in files. FAT counts from behind its tables; `ReFS` has clusters in containers,
//! which it moves, and nothing public says of which places its bitmap is.
//!
//! Rule: what a reply does not say to be free is used. To leave out less is always sound.

use snapless_types::{BlockIndex, BlockRange};

use crate::file_layout::u64_at;

/// Bytes of a request (`STARTING_LCN_INPUT_BUFFER`).
pub const REQUEST_LEN: usize = 8;
/// Bytes ahead of a reply's bits (`VOLUME_BITMAP_BUFFER`).
const HEADER_LEN: usize = 16;
/// Most blocks of a volume of which it is noted: 128 MiB of bits.
const BLOCKS_MAX: u64 = 1 << 30;

/// The blocks of a volume that no file has.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct UnusedBlocks {
    /// A bit for each block.
    words: Vec<u64>,
}

impl UnusedBlocks {
    /// These blocks.
    pub fn new(runs: impl IntoIterator<Item = BlockRange>) -> Self {
        let mut blocks = Self::default();
        for run in runs {
            blocks.add(run);
        }
        blocks
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// The block behind the last one that is known.
    pub fn end(&self) -> BlockIndex {
        BlockIndex(self.words.len() as u64 * u64::from(u64::BITS))
    }

    /// True if no file has this block.
    pub fn has(&self, block: BlockIndex) -> bool {
        let word = usize::try_from(block.0 / 64).ok().and_then(|index| self.words.get(index));
        word.is_some_and(|word| word >> (block.0 % 64) & 1 == 1)
    }

    fn add(&mut self, run: BlockRange) {
        for block in run.iter().take_while(|block| block.0 < BLOCKS_MAX) {
            let Ok(index) = usize::try_from(block.0 / 64) else { return };
            if index >= self.words.len() {
                self.words.resize(index + 1, 0);
            }
            self.words[index] |= 1 << (block.0 % 64);
        }
    }
}

impl std::fmt::Debug for UnusedBlocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} unused blocks", self.count())
    }
}

/// The replies of a file system, put together.
#[derive(Debug)]
pub struct ClusterMap {
    /// Bytes of a cluster.
    cluster: u64,
    /// Bytes of a block.
    block: u64,
    /// The cluster to ask for next.
    next: u64,
    /// Where the free clusters begin that end with that one.
    free_since: Option<u64>,
    is_over: bool,
    unused: UnusedBlocks,
}

/// A reply that is not understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAMap;

impl ClusterMap {
    /// Of clusters and blocks of so many bytes; `None` if one of them cannot be.
    pub fn new(cluster: u32, block: u32) -> Option<Self> {
        let may_be = cluster.is_power_of_two() && block.is_power_of_two();
        may_be.then(|| Self {
            cluster: cluster.into(),
            block: block.into(),
            next: 0,
            free_since: None,
            is_over: false,
            unused: UnusedBlocks::default(),
        })
    }

    /// The next request; `None` when all was said.
    pub fn request(&self) -> Option<[u8; REQUEST_LEN]> {
        (!self.is_over).then(|| self.next.to_le_bytes())
    }

    /// Takes a reply.
    ///
    /// # Errors
    /// [`NotAMap`] if it does not go on where the last one ended.
    pub fn take(&mut self, reply: &[u8]) -> Result<(), NotAMap> {
        let bits = reply.get(HEADER_LEN..).ok_or(NotAMap)?;
        let (start, len) = Option::zip(u64_at(reply, 0), u64_at(reply, 8)).ok_or(NotAMap)?;
        let end = start.checked_add(len).ok_or(NotAMap)?;
        let said = end.min(start.saturating_add(8 * bits.len() as u64));
        if start > self.next || end.checked_mul(self.cluster).is_none() {
            return Err(NotAMap);
        }
        if said <= self.next && said < end {
            return Err(NotAMap);
        }
        while self.next < said {
            let place = self.next - start;
            let byte = usize::try_from(place / 8).ok().and_then(|at| bits.get(at));
            let byte = *byte.ok_or(NotAMap)?;
            // As a rule eight clusters at once are alike.
            let alike = byte == 0 || byte == 0xff;
            let is_whole = place.is_multiple_of(8) && self.next + 8 <= said && alike;
            let (is_free, count) =
                if is_whole { (byte == 0, 8) } else { (byte >> (place % 8) & 1 == 0, 1) };
            match (is_free, self.free_since) {
                (true, None) => self.free_since = Some(self.next),
                (false, Some(since)) => self.add(since, self.next),
                _ => {}
            }
            self.next += count;
        }
        if self.next >= end {
            if let Some(since) = self.free_since {
                self.add(since, end);
            }
            self.is_over = true;
        }
        Ok(())
    }

    /// What no file has.
    pub fn into_unused(self) -> UnusedBlocks {
        self.unused
    }

    /// These clusters are free: so are the blocks that are wholly in them.
    fn add(&mut self, since: u64, end: u64) {
        self.free_since = None;
        // The product with the last cluster of all was checked.
        let start = (since * self.cluster).div_ceil(self.block);
        let end = end * self.cluster / self.block;
        self.unused.add(BlockRange::new(BlockIndex(start), BlockIndex(end.max(start))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(start: u64, len: u64, bits: &[u8]) -> Vec<u8> {
        [&start.to_le_bytes(), &len.to_le_bytes(), bits].concat()
    }

    fn unused(map: ClusterMap) -> Vec<u64> {
        assert!(map.request().is_none(), "something is left to be asked for");
        let unused = map.into_unused();
        let all: Vec<_> =
            (0..unused.end().0).filter(|block| unused.has(BlockIndex(*block))).collect();
        assert_eq!(unused.count(), all.len() as u64);
        all
    }

    /// Blocks of four clusters.
    fn map() -> ClusterMap {
        ClusterMap::new(4096, 16 << 10).unwrap()
    }

    #[test]
    fn a_block_is_unused_if_each_of_its_clusters_is_free() {
        let mut map = map();
        // Clusters 4 to 10 are free, 16 to 31, and 33 to 36; the volume has 38.
        map.take(&reply(0, 38, &[0x0f, 0xf8, 0, 0, 0b1110_0001])).unwrap();
        assert_eq!(unused(map), [1, 4, 5, 6, 7]);
        let mut long = ClusterMap::new(64 << 10, 16 << 10).unwrap();
        long.take(&reply(0, 3, &[0b101])).unwrap();
        assert_eq!(unused(long), [4, 5, 6, 7]);
        assert!(ClusterMap::new(0, 16 << 10).is_none() && ClusterMap::new(4096, 3).is_none());
    }

    #[test]
    fn replies_are_put_together_wherever_the_file_system_cuts_them() {
        let bits: Vec<u8> = (0..64).map(|at| [0, 0xff, 0, 0, 0x10, 0][at * 7 % 6]).collect();
        let len = 8 * 64 - 3;
        let mut whole = map();
        whole.take(&reply(0, len, &bits)).unwrap();
        let whole = unused(whole);
        assert!(whole.len() > 20, "{whole:?}");
        for step in 1..17_u64 {
            let mut parts = map();
            while let Some(asked) = parts.request() {
                // Rounded down, as NTFS does.
                let start = u64::from_le_bytes(asked) / 8 * 8;
                let from = usize::try_from(start / 8).unwrap();
                let to = bits.len().min(from + usize::try_from(step).unwrap());
                parts.take(&reply(start, len - start, &bits[from..to])).unwrap();
            }
            assert_eq!(unused(parts), whole, "{step} bytes each");
        }
    }

    #[test]
    fn a_reply_that_cannot_be_is_refused_and_never_makes_a_block_unused() {
        let sound = reply(0, 24, &[0xff; 3]);
        for len in 0..HEADER_LEN {
            assert_eq!(map().take(&sound[..len]), Err(NotAMap));
        }
        assert_eq!(map().take(&reply(1, 24, &[0; 3])), Err(NotAMap), "one is missing");
        assert_eq!(map().take(&reply(0, 24, &[])), Err(NotAMap), "it says nothing");
        assert_eq!(map().take(&reply(0, u64::MAX, &[0])), Err(NotAMap));
        assert_eq!(map().take(&reply(u64::MAX, 1, &[0])), Err(NotAMap));
        let mut none = map();
        none.take(&reply(0, 0, &[])).unwrap();
        assert!(unused(none).is_empty());
        for at in 0..HEADER_LEN {
            let mut odd = sound.clone();
            odd[at] ^= 0xff;
            let mut map = map();
            let _ = map.take(&odd);
            assert_eq!(map.into_unused().count(), 0);
        }
    }
}
