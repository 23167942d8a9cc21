//! Runs of content and of zeros in what is written.

use std::ops::Range;

use crate::bytes::is_zero;
use crate::error::Result;

/// Zeros are searched in pieces of this many bytes, the unit in which file systems allocate.
const PIECE: usize = 4 << 10;
/// Zeros are written from a buffer of this many bytes.
const ZEROS: usize = 1 << 20;

/// Calls `write` with zeros for all of a run of bytes.
pub(super) fn zeros(
    mut offset: u64,
    mut len: u64,
    mut write: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let zeros = vec![0; ZEROS.min(usize::try_from(len).unwrap_or(ZEROS))];
    while len > 0 {
        let step = len.min(zeros.len() as u64);
        let part = &zeros[..usize::try_from(step).unwrap_or(zeros.len())];
        write(offset, part)?;
        offset += step;
        len -= step;
    }
    Ok(())
}

/// The runs of whole pieces that hold a byte other than zero.
pub(super) fn of_content(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (piece, index) in bytes.chunks(PIECE).zip(0..) {
        if is_zero(piece) {
            continue;
        }
        let start = index * PIECE;
        let end = start + piece.len();
        match runs.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => runs.push(start..end),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_inside_a_block_are_left_out() {
        let mut bytes = vec![0; 5 * PIECE + 100];
        bytes[PIECE] = 1;
        bytes[3 * PIECE - 1] = 1;
        bytes[5 * PIECE + 99] = 1;
        assert_eq!(of_content(&bytes), [PIECE..3 * PIECE, 5 * PIECE..5 * PIECE + 100]);
        assert!(of_content(&[0; 12_345]).is_empty());
    }

    #[test]
    fn a_long_run_of_zeros_is_written_whole_and_in_order() {
        let len = 2 * ZEROS as u64 + 5;
        let mut at = 7;
        zeros(7, len, |offset, part| {
            assert_eq!(offset, at);
            at += part.len() as u64;
            Ok(())
        })
        .unwrap();
        assert_eq!(at, 7 + len);
    }
}
