//! The time in which some thread was preempted: rule HANG does not count it.

/// Stretches of simulated time, which may overlap.
#[derive(Debug, Default)]
pub struct Preempted {
    /// Ticks of all stretches together, each tick counted once.
    total: u64,
    /// When the last one ends.
    end: u64,
}

impl Preempted {
    /// Adds a stretch that begins now.
    pub fn add(&mut self, now: u64, ticks: u64) {
        self.total += (now + ticks).saturating_sub(self.end.max(now));
        self.end = self.end.max(now + ticks);
    }

    /// The ticks up to this instant that lie in a stretch.
    pub fn until(&self, now: u64) -> u64 {
        self.total - self.end.saturating_sub(now)
    }
}
