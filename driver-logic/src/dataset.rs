//! Data set management requests: trim and writes of zeros.
//!
//! The input is a `DEVICE_MANAGE_DATA_SET_ATTRIBUTES` and a list of ranges. A request of one piece
//! goes down as it came; one of several is carried out piece by piece, each in a request of our own
//! ([`Pieces`], [`piece_request`]): the engine orders extents, and a request that waited for one
//! extent while others of it are in flight could wait for itself.
//!
//! Rule: sizes, offsets, alignment and ends are checked against the buffer and the sector size
//! before they are used.

use snapless_types::Clearing;

/// Bytes of a `DEVICE_MANAGE_DATA_SET_ATTRIBUTES`: seven 32-bit fields.
const HEADER_LEN: usize = 28;
/// Bytes of a `DEVICE_DATA_SET_RANGE`: offset and length, 64 bits each.
const RANGE_LEN: usize = 16;
/// Offset of the one range in [`piece_request`]: ranges are aligned to 8 bytes.
const PIECE_RANGE_AT: usize = 32;
/// Bytes of [`piece_request`].
pub const PIECE_REQUEST_LEN: usize = PIECE_RANGE_AT + RANGE_LEN;

/// Bytes of a piece, at most. While a piece is held until its blocks are captured, writes to the
/// same bytes are held with it (rule ORDER, rules.md#order).
pub const PIECE_MAX: u64 = 16 << 20;
/// Ranges of a request, at most.
pub const RANGES_MAX: usize = 4096;

/// Bit of an action that does not change data (docs: `DEVICE_DATA_MANAGEMENT_SET_ACTION`).
const ACTION_NON_DESTRUCTIVE: u32 = 0x8000_0000;
/// `DeviceDsmAction_Trim`
const ACTION_TRIM: u32 = 1;
/// `DeviceDsmAction_WriteZeroes`
const ACTION_WRITE_ZEROES: u32 = 0x19;
/// `DEVICE_DSM_FLAG_ENTIRE_DATA_SET_RANGE`: the whole volume, at its length at that time.
const FLAG_ENTIRE_RANGE: u32 = 1;

/// What a request does to the volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judgement<'a> {
    /// It does not change data, or is too short to have an action: pass down.
    Harmless,
    /// It changes data in a way that no record describes.
    Unrecordable,
    /// A trim or a write of zeros with an invalid input.
    Malformed,
    /// A trim or a write of zeros.
    Clearing(CheckedClearing<'a>),
}

/// A checked trim or write of zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckedClearing<'a> {
    /// What it does.
    pub action: Clearing,
    /// The request's flags.
    pub flags: u32,
    ranges: &'a [u8],
}

/// Bytes of the volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
}

/// Reads the input of `IOCTL_STORAGE_MANAGE_DATA_SET_ATTRIBUTES`. Ranges have to be whole sectors
/// of `sector_size` bytes.
pub fn judge(input: &[u8], sector_size: u32) -> Judgement<'_> {
    let Some(header) = Header::read(input) else { return Judgement::Harmless };
    if header.action & ACTION_NON_DESTRUCTIVE != 0 {
        return Judgement::Harmless;
    }
    let action = match header.action {
        ACTION_TRIM => Clearing::Trim,
        ACTION_WRITE_ZEROES => Clearing::Zero,
        _ => return Judgement::Unrecordable,
    };
    if header.flags & FLAG_ENTIRE_RANGE != 0 || header.parameters_len != 0 {
        return Judgement::Unrecordable;
    }
    let Some(ranges) = header.ranges(input) else { return Judgement::Malformed };
    let clearing = CheckedClearing { action, flags: header.flags, ranges };
    let sound = clearing.ranges().all(|range| is_sound(range, sector_size));
    if sound && clearing.ranges().any(|range| range.len > 0) {
        Judgement::Clearing(clearing)
    } else {
        Judgement::Malformed
    }
}

impl<'a> CheckedClearing<'a> {
    /// The ranges, in the order of the request.
    pub fn ranges(&self) -> impl Iterator<Item = Range> + use<'a> {
        self.ranges.chunks_exact(RANGE_LEN).map(|range| {
            let word = |at: usize| {
                let bytes = range.get(at..).and_then(|rest| rest.first_chunk());
                bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
            };
            Range { offset: word(0), len: word(8) }
        })
    }

    /// The only piece, if there is only one: then the request goes down as it came.
    pub fn only_piece(&self) -> Option<Range> {
        let mut pieces = self.ranges().filter(|range| range.len > 0);
        let first = pieces.next()?;
        (pieces.next().is_none() && first.len <= PIECE_MAX).then_some(first)
    }
}

/// A cursor over the pieces of a list of ranges.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Pieces {
    range: usize,
    done: u64,
}

impl Pieces {
    /// The next piece of `ranges`, at most [`PIECE_MAX`] long; `None` when there are no more.
    pub fn next(&mut self, ranges: &[Range]) -> Option<Range> {
        loop {
            let range = ranges.get(self.range)?;
            let left = range.len.saturating_sub(self.done);
            if left > 0 {
                let piece = Range {
                    offset: range.offset.saturating_add(self.done),
                    len: left.min(PIECE_MAX),
                };
                self.done = self.done.saturating_add(piece.len);
                return Some(piece);
            }
            self.range = self.range.saturating_add(1);
            self.done = 0;
        }
    }
}

/// The input of a request for one piece.
pub fn piece_request(action: Clearing, flags: u32, piece: Range) -> [u8; PIECE_REQUEST_LEN] {
    let action = match action {
        Clearing::Trim => ACTION_TRIM,
        Clearing::Zero => ACTION_WRITE_ZEROES,
    };
    let header = [28, action, flags, 0, 0, 32, 16, 0].map(u32::to_le_bytes);
    let range = [piece.offset, piece.len].map(u64::to_le_bytes);
    let bytes = header.as_flattened().iter().chain(range.as_flattened());
    let mut request = [0; PIECE_REQUEST_LEN];
    for (to, from) in request.iter_mut().zip(bytes) {
        *to = *from;
    }
    request
}

/// Whole sectors that end below 2^63: Windows' offsets are signed.
fn is_sound(range: Range, sector_size: u32) -> bool {
    let sector = u64::from(sector_size);
    let end = range.offset.checked_add(range.len);
    range.offset.is_multiple_of(sector)
        && range.len.is_multiple_of(sector)
        && end.is_some_and(|end| i64::try_from(end).is_ok())
}

/// The fields of a `DEVICE_MANAGE_DATA_SET_ATTRIBUTES` that are used.
struct Header {
    action: u32,
    flags: u32,
    parameters_len: u32,
    ranges_at: u32,
    ranges_len: u32,
}

impl Header {
    /// `None` if the input is too short, or its size field says that it is another structure.
    fn read(input: &[u8]) -> Option<Self> {
        let fields: &[u8; HEADER_LEN] = input.first_chunk()?;
        let field = |index: usize| {
            let bytes = fields.as_chunks::<4>().0.get(index);
            bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        (usize::try_from(field(0)).ok()? >= HEADER_LEN).then(|| Self {
            action: field(1),
            flags: field(2),
            parameters_len: field(4),
            ranges_at: field(5),
            ranges_len: field(6),
        })
    }

    /// The bytes of the ranges: one or more whole ranges, inside the input, after the header.
    fn ranges<'a>(&self, input: &'a [u8]) -> Option<&'a [u8]> {
        let (start, len) =
            (usize::try_from(self.ranges_at).ok()?, usize::try_from(self.ranges_len).ok()?);
        let ranges = input.get(start..start.checked_add(len)?)?;
        let whole = len.is_multiple_of(RANGE_LEN) && (1..=RANGES_MAX).contains(&(len / RANGE_LEN));
        (whole && start >= HEADER_LEN).then_some(ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const SECTOR: u32 = 512;

    fn request(action: u32, flags: u32, ranges: &[(u64, u64)]) -> Vec<u8> {
        let len = u32::try_from(ranges.len() * RANGE_LEN).unwrap();
        let mut input: Vec<u8> =
            [28, action, flags, 0, 0, 32, len, 0].into_iter().flat_map(u32::to_le_bytes).collect();
        input.extend(ranges.iter().flat_map(|&(a, b)| [a, b]).flat_map(u64::to_le_bytes));
        input
    }

    fn clearing(input: &[u8]) -> CheckedClearing<'_> {
        match judge(input, SECTOR) {
            Judgement::Clearing(clearing) => clearing,
            other => panic!("{other:?}"),
        }
    }

    fn range(offset: u64, len: u64) -> Range {
        Range { offset, len }
    }

    #[test]
    fn ranges_of_a_trim_and_of_a_write_of_zeros_are_read() {
        let input = request(ACTION_TRIM, 0x8000_0000, &[(512, 1024), (8192, 512)]);
        let trim = clearing(&input);
        assert_eq!((trim.action, trim.flags), (Clearing::Trim, 0x8000_0000));
        let ranges: Vec<_> = trim.ranges().collect();
        assert_eq!(ranges, [range(512, 1024), range(8192, 512)]);
        assert_eq!(trim.only_piece(), None);
        let input = request(ACTION_WRITE_ZEROES, 0, &[(512, 1024), (0, 0)]);
        let zero = clearing(&input);
        assert_eq!((zero.action, zero.only_piece()), (Clearing::Zero, Some(range(512, 1024))));
    }

    #[test]
    fn actions_that_keep_data_are_harmless_and_other_unknown_actions_are_unrecordable() {
        for action in [2, 3, 5, 0x18].map(|action| action | ACTION_NON_DESTRUCTIVE) {
            assert_eq!(judge(&request(action, 0, &[(0, 512)]), SECTOR), Judgement::Harmless);
        }
        // Offloaded write, reset write pointer, and an action that does not exist yet.
        for action in [4, 0x17, 0x7f] {
            assert_eq!(judge(&request(action, 0, &[(0, 512)]), SECTOR), Judgement::Unrecordable);
        }
        let whole_volume = request(ACTION_TRIM, FLAG_ENTIRE_RANGE, &[]);
        assert_eq!(judge(&whole_volume, SECTOR), Judgement::Unrecordable);
        let mut with_parameters = request(ACTION_TRIM, 0, &[(0, 512)]);
        with_parameters[16] = 8;
        assert_eq!(judge(&with_parameters, SECTOR), Judgement::Unrecordable);
    }

    #[test]
    fn each_wrong_size_offset_and_end_is_malformed() {
        let good = request(ACTION_TRIM, 0, &[(4096, 4096)]);
        assert!(matches!(judge(&good, SECTOR), Judgement::Clearing(_)));
        for len in 0..HEADER_LEN {
            assert_eq!(judge(&good[..len], SECTOR), Judgement::Harmless);
        }
        for len in HEADER_LEN..good.len() {
            assert_eq!(judge(&good[..len], SECTOR), Judgement::Malformed, "{len} bytes");
        }
        // Index and new value of a byte of the header.
        for (index, value) in [(20, 0), (20, 27), (20, 33), (23, 0xff), (24, 0), (24, 15), (27, 1)]
        {
            let mut bad = good.clone();
            bad[index] = value;
            assert_eq!(judge(&bad, SECTOR), Judgement::Malformed, "byte {index} = {value}");
        }
        for bad in [(1, 512), (512, 511), (u64::MAX - 511, 512), (1 << 63, 512), (512, 1 << 63)] {
            assert_eq!(judge(&request(ACTION_TRIM, 0, &[bad]), SECTOR), Judgement::Malformed);
        }
        assert_eq!(judge(&request(ACTION_TRIM, 0, &[(0, 0)]), SECTOR), Judgement::Malformed);
        assert_eq!(judge(&request(ACTION_TRIM, 0, &[(512, 512)]), 4096), Judgement::Malformed);
        let many = std::vec![(0, 512); RANGES_MAX + 1];
        assert_eq!(judge(&request(ACTION_TRIM, 0, &many), SECTOR), Judgement::Malformed);
    }

    #[test]
    fn pieces_are_at_most_the_limit_long_and_cover_the_ranges() {
        let ranges = [range(512, PIECE_MAX + 512), range(0, 0), range(1 << 40, 1024)];
        let mut pieces = Pieces::default();
        assert_eq!(pieces.next(&ranges), Some(range(512, PIECE_MAX)));
        assert_eq!(pieces.next(&ranges), Some(range(512 + PIECE_MAX, 512)));
        assert_eq!(pieces.next(&ranges), Some(range(1 << 40, 1024)));
        assert_eq!(pieces.next(&ranges), None);
        assert_eq!(pieces.next(&ranges), None);
    }

    #[test]
    fn the_request_of_a_piece_is_a_valid_request() {
        let piece = range(1 << 33, 4096);
        for action in [Clearing::Trim, Clearing::Zero] {
            let input = piece_request(action, 0x8000_0000, piece);
            let read = clearing(&input);
            assert_eq!((read.action, read.flags), (action, 0x8000_0000));
            assert_eq!(read.only_piece(), Some(piece));
        }
    }
}
