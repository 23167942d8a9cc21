//! The checksum of a Windows image: its 16-bit words added with end-around carry, the field itself
//! left out, plus the file's length. The rule: computed from the bytes alone, independently of the
//! linker that wrote it.

/// Computes the checksum of an image whose checksum field lies at `field_offset`.
#[must_use]
pub fn compute(bytes: &[u8], field_offset: usize) -> u32 {
    let field = field_offset..field_offset + size_of::<u32>();
    let byte_at = |offset: usize| {
        if field.contains(&offset) { 0 } else { bytes.get(offset).copied().unwrap_or(0) }
    };
    let mut sum = 0u32;
    for offset in (0..bytes.len()).step_by(2) {
        sum += u32::from(u16::from_le_bytes([byte_at(offset), byte_at(offset + 1)]));
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    sum.wrapping_add(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_added_with_end_around_carry_and_the_length_on_top() {
        // 0xFFFF + 0x0002 = 0x10001, carried around: 0x0002; the field's four bytes count as zero.
        let bytes = [0xFF, 0xFF, 0x02, 0x00, 9, 9, 9, 9];
        assert_eq!(compute(&bytes, 4), 0x0002 + 8);
    }

    #[test]
    fn an_odd_length_ends_in_a_word_of_one_byte() {
        assert_eq!(compute(&[0, 0, 0, 0, 5], 0), 5 + 5);
    }
}
