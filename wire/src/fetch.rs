//! Fetching a point: a machine asks for the content of an image, window after window, and says by
//! hash what its disk has already; the server sends what differs.
//!
//! ```text
//! machine                                server
//!   Question ───────────────────────────▶  opens the point
//!   ◀────────────────────────────── Reply
//!   Fetch ──────────────────────────────▶  the content of a window, if it differs from this
//!   ◀──────────────────── Fetched, Packed  of each tile: the same, zeros, or the content
//! ```
//!
//! A window has tiles of [`FETCH_TILE`] bytes from its start on, the last one maybe shorter. The
//! hashes go to the server and not from it, as with [`crate::compare`].

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::compare::ContentHash;
use crate::frame::FrameError;
use crate::record::RECORD_GRANULE;

/// Bytes of a tile.
pub const FETCH_TILE: u64 = 64 << 10;
/// The longest window, in bytes.
pub const FETCH_BYTES_MAX: u64 = 4 << 20;
/// The most tiles of a window.
pub const FETCH_TILES_MAX: usize = (FETCH_BYTES_MAX / FETCH_TILE) as usize;

const SAME: u8 = 0;
const ZEROS: u8 = 1;
const BYTES: u8 = 2;

/// A part of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    offset: u64,
    len: u64,
}

/// The content of a window is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetch {
    window: Window,
    hashes: Vec<ContentHash>,
}

/// The answer to a [`Fetch`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetched<'a> {
    window: Window,
    tiles: Vec<Tile<'a>>,
}

/// What a tile of the image is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tile<'a> {
    /// What has the hash of the request.
    Same,
    /// Zeros.
    Zeros,
    /// These bytes.
    Bytes(&'a [u8]),
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Head {
    offset: U64,
    len: U64,
}

const _: () = assert!(size_of::<Head>() == 16);

impl Window {
    /// `None` for a window that is empty, too long, or not in whole sectors, or that does not begin
    /// with a tile of the image.
    pub fn new(offset: u64, len: u64) -> Option<Self> {
        let is_window = (1..=FETCH_BYTES_MAX).contains(&len)
            && len.is_multiple_of(RECORD_GRANULE)
            && offset.is_multiple_of(FETCH_TILE)
            && offset.checked_add(len).is_some();
        is_window.then_some(Self { offset, len })
    }

    /// Its first byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Its bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Never: a window has a byte at least.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The byte behind its last one.
    pub fn end(&self) -> u64 {
        // Does not overflow: `new` has looked.
        self.offset + self.len
    }

    /// How many tiles it has.
    pub fn tile_count(&self) -> usize {
        // At most FETCH_TILES_MAX.
        usize::try_from(self.len.div_ceil(FETCH_TILE)).unwrap_or(FETCH_TILES_MAX)
    }

    /// Bytes of a tile of it.
    fn tile_len(&self, index: usize) -> usize {
        let before = FETCH_TILE * index as u64;
        usize::try_from(self.len.saturating_sub(before).min(FETCH_TILE)).unwrap_or(0)
    }

    fn head(&self) -> Head {
        Head { offset: U64::new(self.offset), len: U64::new(self.len) }
    }

    fn read(payload: &[u8], bad: FrameError) -> Result<(Self, &[u8]), FrameError> {
        let (head, rest) = Head::read_from_prefix(payload).map_err(|_| bad)?;
        let window = Self::new(head.offset.get(), head.len.get()).ok_or(bad)?;
        Ok((window, rest))
    }
}

impl Fetch {
    /// Asks for a window, with the hash of each tile that the disk has, or with none.
    ///
    /// # Errors
    /// [`FrameError::Payload`] for another number of hashes.
    pub fn new(window: Window, hashes: Vec<ContentHash>) -> Result<Self, FrameError> {
        let fits = hashes.is_empty() || hashes.len() == window.tile_count();
        fits.then_some(Self { window, hashes }).ok_or(FrameError::Payload("Fetch"))
    }

    /// Reads and checks a payload.
    ///
    /// # Errors
    /// [`FrameError::Payload`] for an impossible window, or another number of hashes.
    pub fn read(payload: &[u8]) -> Result<Self, FrameError> {
        let bad = FrameError::Payload("Fetch");
        let (window, rest) = Window::read(payload, bad)?;
        let hashes = <[ContentHash]>::ref_from_bytes(rest).map_err(|_| bad)?;
        Self::new(window, hashes.to_vec())
    }

    /// The payload's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.window.head().as_bytes(), self.hashes.as_flattened()].concat()
    }

    /// What is wanted.
    pub fn window(&self) -> Window {
        self.window
    }

    /// The hash of what the disk has of a tile, if that was said.
    pub fn hash(&self, tile: usize) -> Option<&ContentHash> {
        self.hashes.get(tile)
    }
}

impl<'a> Fetched<'a> {
    /// Answers with the tiles of a window.
    ///
    /// # Errors
    /// [`FrameError::Payload`] for another number of tiles, or other lengths.
    pub fn new(window: Window, tiles: Vec<Tile<'a>>) -> Result<Self, FrameError> {
        let fits = |(index, tile): (usize, &Tile<'_>)| match tile {
            Tile::Same | Tile::Zeros => true,
            Tile::Bytes(bytes) => bytes.len() == window.tile_len(index),
        };
        let is_whole = tiles.len() == window.tile_count() && tiles.iter().enumerate().all(fits);
        is_whole.then_some(Self { window, tiles }).ok_or(FrameError::Payload("Fetched"))
    }

    /// Reads and checks a payload.
    ///
    /// # Errors
    /// [`FrameError::Payload`] for an impossible window, an unknown kind of tile, or another length
    /// than the tiles have.
    pub fn read(payload: &'a [u8]) -> Result<Self, FrameError> {
        let bad = FrameError::Payload("Fetched");
        let (window, rest) = Window::read(payload, bad)?;
        let (kinds, mut rest) = rest.split_at_checked(window.tile_count()).ok_or(bad)?;
        let mut tiles = Vec::with_capacity(kinds.len());
        for (index, kind) in kinds.iter().enumerate() {
            tiles.push(match *kind {
                SAME => Tile::Same,
                ZEROS => Tile::Zeros,
                BYTES => {
                    let (bytes, others) =
                        rest.split_at_checked(window.tile_len(index)).ok_or(bad)?;
                    rest = others;
                    Tile::Bytes(bytes)
                }
                _ => return Err(bad),
            });
        }
        if rest.is_empty() { Ok(Self { window, tiles }) } else { Err(bad) }
    }

    /// The payload's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let kind = |tile: &Tile<'_>| match tile {
            Tile::Same => SAME,
            Tile::Zeros => ZEROS,
            Tile::Bytes(_) => BYTES,
        };
        let mut payload = self.window.head().as_bytes().to_vec();
        payload.extend(self.tiles.iter().map(kind));
        for tile in &self.tiles {
            if let Tile::Bytes(bytes) = tile {
                payload.extend_from_slice(bytes);
            }
        }
        payload
    }

    /// What it is about.
    pub fn window(&self) -> Window {
        self.window
    }

    /// The tiles, each with its offset in the image and its length.
    pub fn tiles(&self) -> impl Iterator<Item = (u64, u64, Tile<'a>)> {
        let place = |index| self.window.offset + FETCH_TILE * index as u64;
        let of = move |(index, tile): (usize, &Tile<'a>)| {
            (place(index), self.window.tile_len(index) as u64, *tile)
        };
        self.tiles.iter().enumerate().map(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::FRAME_PAYLOAD_MAX;

    fn window(offset: u64, len: u64) -> Window {
        Window::new(offset, len).unwrap()
    }

    fn numbers(all: [u64; 2]) -> Vec<u8> {
        all.map(u64::to_le_bytes).concat()
    }

    #[test]
    fn both_frames_are_pinned_byte_for_byte() {
        let window = window(0x10000, 0x10000 + 512);
        let fetch = Fetch::new(window, vec![[0xab; 32], [0xcd; 32]]).unwrap();
        let want = [&numbers([0x10000, 0x10200])[..], &[0xab; 32], &[0xcd; 32]].concat();
        assert_eq!(fetch.to_bytes(), want);
        assert_eq!(Fetch::read(&want), Ok(fetch));
        let unknown = Fetch::new(window, Vec::new()).unwrap();
        assert_eq!(unknown.to_bytes(), want[..16]);
        assert_eq!(Fetch::read(&want[..16]).unwrap().hash(0), None);
        let end = [7; 512];
        let fetched = Fetched::new(window, vec![Tile::Zeros, Tile::Bytes(&end)]).unwrap();
        let want = [&numbers([0x10000, 0x10200])[..], &[1, 2], &end].concat();
        assert_eq!(fetched.to_bytes(), want);
        assert_eq!(Fetched::read(&want), Ok(fetched.clone()));
        let tiles: Vec<_> = fetched.tiles().collect();
        let want = [(0x10000, 0x10000, Tile::Zeros), (0x20000, 512, Tile::Bytes(&end))];
        assert_eq!(tiles, want);
        let same = Fetched::new(window, vec![Tile::Same; 2]).unwrap().to_bytes();
        assert_eq!(same[16..], [0, 0]);
    }

    #[test]
    fn what_a_request_costs_is_bounded_before_it_is_looked_at() {
        assert_eq!(window(0, FETCH_BYTES_MAX).tile_count(), FETCH_TILES_MAX);
        for (offset, len) in
            [(0, 0), (0, FETCH_BYTES_MAX + 512), (0, 511), (512, 512), (u64::MAX - 0xffff, 0x10000)]
        {
            assert!(Window::new(offset, len).is_none(), "{len} bytes at {offset}");
            let bytes = numbers([offset, len]);
            assert!(Fetch::read(&bytes).is_err() && Fetched::read(&bytes).is_err());
        }
        let whole = Fetch::new(window(0, 0x20000), vec![[1; 32]; 2]).unwrap().to_bytes();
        for len in 0..=whole.len() {
            let is_whole = len == 16 || len == 16 + 64;
            assert_eq!(Fetch::read(&whole[..len]).is_ok(), is_whole, "{len} bytes");
        }
        assert!(Fetch::new(window(0, 512), vec![[1; 32]; 2]).is_err());
        let tile = vec![1; 0x10000];
        let longest = vec![Tile::Bytes(&tile); FETCH_TILES_MAX];
        let longest = Fetched::new(window(0, FETCH_BYTES_MAX), longest).unwrap();
        assert!(longest.to_bytes().len() < FRAME_PAYLOAD_MAX);
    }

    #[test]
    fn an_answer_that_is_none_is_refused() {
        let bytes = [1; 512];
        let fetched = Fetched::new(window(0, 512), vec![Tile::Bytes(&bytes)]).unwrap().to_bytes();
        for len in 0..fetched.len() {
            assert!(Fetched::read(&fetched[..len]).is_err(), "{len} bytes");
        }
        assert!(Fetched::read(&[&fetched[..], &[0]].concat()).is_err());
        let mut unknown = fetched;
        unknown[16] = 3;
        assert!(Fetched::read(&unknown).is_err());
        assert!(Fetched::new(window(0, 512), vec![Tile::Bytes(&bytes[1..])]).is_err());
        assert!(Fetched::new(window(0, 512), vec![Tile::Same; 2]).is_err());
    }
}
