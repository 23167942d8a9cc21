//! The volume's random numbers.
//!
//! The rule: everything random comes from the scenario's seed.

/// A SplitMix64 generator.
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// A generator that is fixed by its seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A number below a limit; 0 for the limit 0.
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        // The upper half of a 32 × 32 bit product is below the limit.
        (((mixed >> 32) * u64::from(limit)) >> 32) as u32
    }

    /// Whether something that happens in so many per cent of the cases happens now.
    pub(crate) fn percent(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }
}
