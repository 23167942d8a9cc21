//! The trace hash: everything that a run does, in order, in 64 bits. The same seed gives the same
//! hash.

/// A running hash (FNV-1a over 64-bit words, mixed).
#[derive(Clone, Copy, Debug)]
pub struct Trace(pub u64);

impl Trace {
    /// The hash of nothing.
    pub const START: Self = Self(0xCBF2_9CE4_8422_2325);

    /// Adds one value.
    pub fn add(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(23);
    }
}
