//! Monotonic time.

/// Monotonic time in 100 ns ticks, from any origin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Tick(pub u64);

impl Tick {
    /// Ticks in a microsecond.
    pub const PER_US: u64 = 10;
    /// Ticks in a millisecond.
    pub const PER_MS: u64 = 10_000;

    /// The instant `ticks` later.
    #[must_use]
    pub fn after(self, ticks: u64) -> Self {
        Self(self.0.saturating_add(ticks))
    }

    /// Ticks since `earlier`; 0 if that is later.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
