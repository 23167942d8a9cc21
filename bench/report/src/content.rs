//! Content of volumes: what it compresses to decides what a repository takes.

use fastrand::Rng;

/// A piece of content that is half compressible: its first half is random.
const PIECE: usize = 512;
/// What the other half repeats.
const PATTERN: &[u8; 8] = b"pattern ";

/// How content compresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// To half of its length, as fio makes it with `buffer_compress_percentage=50`.
    Half,
    /// Not at all.
    Random,
}

impl Content {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Half, Self::Random];

    /// The name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Half => "half compressible",
            Self::Random => "incompressible",
        }
    }

    /// Fills bytes with content that is nowhere else.
    pub fn fill(self, random: &mut Rng, bytes: &mut [u8]) {
        if self == Self::Random {
            return random.fill(bytes);
        }
        for piece in bytes.chunks_mut(PIECE) {
            let (first, second) = piece.split_at_mut(piece.len() / 2);
            random.fill(first);
            for repeated in second.chunks_mut(PATTERN.len()) {
                repeated.copy_from_slice(&PATTERN[..repeated.len()]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_content_can_be_compressed_or_none() {
        let mut bytes = vec![0; 1 << 20];
        for (content, percent) in [(Content::Half, 50..55), (Content::Random, 100..101)] {
            content.fill(&mut Rng::with_seed(3), &mut bytes);
            let compressed = zstd::bulk::compress(&bytes, 1).unwrap();
            let found = compressed.len() * 100 / bytes.len();
            assert!(percent.contains(&found), "{content:?}: {found} %");
        }
    }
}
