//! Runs of bits in words.

/// Bits in a word.
pub const PER_WORD: u64 = u64::BITS as u64;

/// The words of bits `start` to `end` (exclusive): each word's index, and a mask of those bits in
/// it.
#[inline]
pub fn words(start: u64, end: u64) -> impl Iterator<Item = (usize, u64)> {
    (start / PER_WORD..end.div_ceil(PER_WORD)).map(move |word| {
        let first = start.saturating_sub(word * PER_WORD);
        let after = (end - word * PER_WORD).min(PER_WORD);
        let index = usize::try_from(word).unwrap_or(usize::MAX);
        (index, u64::MAX << first & u64::MAX >> (PER_WORD - after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_a_run_is_in_its_word_and_no_other_is_at_every_boundary() {
        for start in 0..=200 {
            for end in start..=200 {
                let mut bits = [0_u64; 4];
                words(start, end).for_each(|(index, mask)| bits[index] |= mask);
                for bit in 0..256 {
                    let is_set = bits[usize::try_from(bit / 64).unwrap()] >> (bit % 64) & 1 == 1;
                    assert_eq!(is_set, (start..end).contains(&bit), "{bit} of {start}..{end}");
                }
            }
        }
    }
}
