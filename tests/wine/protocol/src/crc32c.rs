//! CRC-32C (Castagnoli), by the processor's instruction where it has one.
//!
//! The rule: both ways give the same number; the journal is written by a driver and checked by the host.

const POLYNOMIAL: u32 = 0x82F6_3B78;

/// The checksum of some bytes.
pub fn checksum(bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if has_instruction() {
        // SAFETY: the processor has the instruction.
        return !unsafe { by_instruction(!0, bytes) };
    }
    !by_table(!0, bytes)
}

fn by_table(start: u32, bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(start, |crc, &byte| (crc >> 8) ^ TABLE[((crc ^ u32::from(byte)) & 0xff) as usize])
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "the index is below 256")]
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(target_arch = "x86_64")]
fn has_instruction() -> bool {
    const SSE4_2: u32 = 1 << 20;
    core::arch::x86_64::__cpuid(1).ecx & SSE4_2 != 0
}

/// # Safety
/// The processor has SSE 4.2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
unsafe fn by_instruction(start: u32, bytes: &[u8]) -> u32 {
    use core::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u64};

    let (words, rest) = bytes.as_chunks::<8>();
    let crc = words
        .iter()
        .fold(u64::from(start), |crc, word| _mm_crc32_u64(crc, u64::from_le_bytes(*word)));
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the instruction leaves the upper half zero"
    )]
    let crc = crc as u32;
    rest.iter().fold(crc, |crc, &byte| _mm_crc32_u8(crc, byte))
}

#[cfg(test)]
mod tests {
    use super::{by_table, checksum};

    #[test]
    fn the_published_check_value_comes_out() {
        assert_eq!(checksum(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn both_ways_agree_at_every_length() {
        let mut bytes = [0_u8; 67];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::try_from(index * 37 % 251).unwrap_or(0);
        }
        for length in 0..bytes.len() {
            assert_eq!(checksum(&bytes[..length]), !by_table(!0, &bytes[..length]));
        }
    }
}
