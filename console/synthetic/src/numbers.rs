//! Units, and numbers that look like chance.

/// A mebibyte.
pub(crate) const MIB: u64 = 1 << 20;
/// A tebibyte.
pub(crate) const TIB: u64 = 1 << 40;

/// A number that looks like chance and is not.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let mut x = a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.wrapping_add(0x2545_f491_4f6c_dd1d);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
