//! Compression of entries with zstd: the setting of a repository, and the work.

use std::fmt;
use std::io;
use std::str::FromStr;

use snapless_link::packing::Sampler;
use zstd::bulk;

/// The level without a wish: ingest stays faster than a disk.
pub const LEVEL_DEFAULT: u8 = 3;
/// The highest level: those above take far more memory.
pub const LEVEL_MAX: u8 = 19;

/// What a repository does about size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    /// Nothing.
    #[default]
    None,
    /// zstd of this level, 1 to [`LEVEL_MAX`].
    Zstd(u8),
}

impl FromStr for Compression {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "expected none, zstd, or zstd=LEVEL with a level from 1 to 19";
        match text {
            "none" => return Ok(Self::None),
            "zstd" => return Ok(Self::Zstd(LEVEL_DEFAULT)),
            _ => {}
        }
        let level = text.strip_prefix("zstd=").and_then(|level| level.parse().ok());
        let level = level.filter(|level| (1..=LEVEL_MAX).contains(level)).ok_or(WANTED)?;
        Ok(Self::Zstd(level))
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Zstd(level) => write!(f, "zstd={level}"),
        }
    }
}

/// Compresses frame after frame.
#[derive(Default)]
pub(crate) struct Compressor {
    /// `None` if frames stay as they are.
    frames: Option<(Sampler, bulk::Compressor<'static>)>,
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compressor")
    }
}

impl Compressor {
    /// One that compresses in this way.
    ///
    /// # Errors
    /// The system's, for want of memory.
    pub(crate) fn new(compression: Compression) -> io::Result<Self> {
        let frames = match compression {
            Compression::None => None,
            Compression::Zstd(level) => {
                Some((Sampler::new()?, bulk::Compressor::new(level.into())?))
            }
        };
        Ok(Self { frames })
    }

    /// Compresses a frame to the end of `out`; false, and nothing is added, if it does not shrink.
    pub(crate) fn pack(&mut self, frame: &[u8], out: &mut Vec<u8>) -> bool {
        let Some((sampler, compressor)) = &mut self.frames else { return false };
        if !sampler.shrinks(frame) {
            return false;
        }
        let start = out.len();
        // One byte less than the frame: the end of the room is the sign that it does not shrink.
        out.resize(start + frame.len().saturating_sub(1), 0);
        let packed = compressor.compress_to_buffer(frame, &mut out[start..]);
        out.truncate(start + packed.as_ref().map_or(0, |len| *len));
        packed.is_ok()
    }
}

/// Unpacks a frame of this length; `None` for bytes that are none. Takes no more memory than that.
pub(crate) fn unpack(packed: &[u8], frame_len: usize) -> Option<Vec<u8>> {
    let mut frame = vec![0; frame_len];
    let len = bulk::decompress_to_buffer(packed, &mut frame[..]).ok()?;
    (len == frame_len).then_some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_shown() {
        for (text, want) in [
            ("none", Compression::None),
            ("zstd=3", Compression::Zstd(3)),
            ("zstd=19", Compression::Zstd(19)),
        ] {
            assert_eq!(text.parse(), Ok(want));
            assert_eq!(want.to_string(), text);
        }
        assert_eq!("zstd".parse(), Ok(Compression::Zstd(LEVEL_DEFAULT)));
        for bad in ["", "zstd=0", "zstd=20", "zstd=", "lz4"] {
            let refused = bad.parse::<Compression>().unwrap_err();
            assert!(refused.contains("zstd=LEVEL"), "{bad}");
        }
    }

    #[test]
    fn what_does_not_shrink_is_left_as_it_is() {
        let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(1 << 20).collect();
        let mut out = vec![1];
        for len in [0, 1, 16, 1000, 200_000, noise.len()] {
            let mut compressor = Compressor::new(Compression::Zstd(3)).unwrap();
            assert!(!compressor.pack(&noise[..len], &mut out), "{len}");
            assert_eq!(out, [1]);
        }
        let mut compressor = Compressor::new(Compression::None).unwrap();
        assert!(!compressor.pack(&[0; 1000], &mut out));
    }

    #[test]
    fn what_shrinks_comes_back() {
        let mut compressor = Compressor::new(Compression::Zstd(1)).unwrap();
        for len in [100, 1000, 200_000, 1 << 20] {
            let frame: Vec<u8> = (0..=255).flat_map(|byte| [byte; 50]).cycle().take(len).collect();
            let mut packed = Vec::new();
            assert!(compressor.pack(&frame, &mut packed), "{len}");
            assert!(packed.len() < frame.len());
            assert_eq!(unpack(&packed, len).as_deref(), Some(&frame[..]));
            for other in [len - 1, len + 1] {
                assert_eq!(unpack(&packed, other), None, "{other} of {len}");
            }
        }
    }
}
