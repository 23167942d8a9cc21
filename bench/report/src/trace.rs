//! Writes of a volume as they are in practice: most go to few places, and most are short.

use fastrand::Rng;

/// Bytes of a region.
const REGION: u64 = 4 << 20;
/// Lengths of writes, and how many of a hundred have them.
const LENGTHS: [(u64, u32); 5] =
    [(4 << 10, 50), (8 << 10, 20), (16 << 10, 15), (32 << 10, 10), (64 << 10, 5)];
/// Places are multiples of this.
const ALIGN: u64 = 4 << 10;

/// Bytes of a write, on average.
pub const LEN_MEAN: u64 = (4 * 50 + 8 * 20 + 16 * 15 + 32 * 10 + 64 * 5) * 1024 / 100;

/// A write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Write {
    /// Its first byte in the volume.
    pub offset: u64,
    /// Its bytes.
    pub len: u64,
}

/// The writes, without an end. The same each time.
///
/// The regions of the volume are written as Zipf says: the *n*-th most frequent one 1/*n* times as
/// often as the first. Which one that is, is random.
pub struct Trace {
    random: Rng,
    /// The begins of the regions, the most frequent one first.
    regions: Vec<u64>,
    /// The sum of the weights up to each region.
    sums: Vec<f64>,
}

impl Trace {
    /// Writes of a volume of `length` bytes, at least one region.
    pub fn new(length: u64) -> Self {
        let mut random = Rng::with_seed(length);
        let mut regions: Vec<u64> = (0..length / REGION).map(|index| index * REGION).collect();
        random.shuffle(&mut regions);
        let weights = (1..=regions.len()).scan(0.0, |sum, rank| {
            #[allow(clippy::cast_precision_loss)]
            let weight = 1.0 / rank as f64;
            *sum += weight;
            Some(*sum)
        });
        let sums = weights.collect();
        Self { random, regions, sums }
    }
}

impl Iterator for Trace {
    type Item = Write;

    fn next(&mut self) -> Option<Write> {
        let at = self.random.f64() * self.sums.last()?;
        let region = *self.regions.get(self.sums.partition_point(|sum| *sum <= at))?;
        let mut percent = self.random.u32(0..100);
        let (len, _) = LENGTHS.into_iter().find(|(_, share)| {
            let is_this = percent < *share;
            percent = percent.saturating_sub(*share);
            is_this
        })?;
        let offset = region + self.random.u64(0..=(REGION - len) / ALIGN) * ALIGN;
        Some(Write { offset, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_regions_have_most_of_the_writes_and_the_mean_is_right() {
        let length = 128 * REGION;
        let mut counts = vec![0_u64; 128];
        let mut bytes = 0;
        for write in Trace::new(length).take(100_000) {
            assert!(write.offset % ALIGN == 0 && write.offset + write.len <= length, "{write:?}");
            assert_eq!(write.offset / REGION, (write.offset + write.len - 1) / REGION);
            counts[usize::try_from(write.offset / REGION).unwrap()] += 1;
            bytes += write.len;
        }
        counts.sort_unstable_by(|one, other| other.cmp(one));
        // 1 / (1 + 1/2 + … + 1/128) of all, and half of that.
        assert!((18_000..19_000).contains(&counts[0]), "{counts:?}");
        assert!((8_900..9_700).contains(&counts[1]), "{counts:?}");
        assert!(counts[127] > 0, "{counts:?}");
        assert!((bytes / 100_000).abs_diff(LEN_MEAN) < LEN_MEAN / 50, "{bytes}");
        assert!(Trace::new(length).take(50).eq(Trace::new(length).take(50)));
    }
}
