//! A writer: an application that keeps some writes outstanding, to places of its pattern.

use snapless_engine::Urgency;
use snapless_types::Clearing;

use crate::plan::{LONG_MAX, Pattern, WriterPlan};
use crate::rng::Rng;
use crate::volume::{Sectors, Volume};

/// A writer at work.
#[derive(Debug)]
pub struct Writer {
    plan: WriterPlan,
    /// Its writes whose outcome it does not know yet.
    pub under_way: usize,
    /// When it submits next, in ticks.
    pub next: u64,
    /// Where a sequential writer goes on.
    cursor: usize,
}

impl Writer {
    /// A writer that begins at once.
    pub fn new(plan: WriterPlan) -> Self {
        Self { plan, under_way: 0, next: 0, cursor: 0 }
    }

    /// True if it may submit another write.
    pub fn has_room(&self) -> bool {
        self.under_way < self.plan.queue_depth
    }

    /// True for the memory manager, which writes to the paging file.
    pub fn pages(&self) -> bool {
        self.plan.pages
    }

    /// Its next write: where, whether it may wait, and what it is if not data. `longest` is what
    /// the session captures.
    pub fn submit(
        &mut self,
        rng: &mut Rng,
        volume: &Volume,
        longest: usize,
        now: u64,
    ) -> (Sectors, Urgency, Option<Clearing>) {
        self.under_way += 1;
        self.next = now + rng.below(self.plan.think);
        let urgency = if self.plan.pages {
            Urgency::MustNotWait
        } else if rng.once_in(self.plan.urgent_once_in) {
            rng.pick(&[Urgency::MustNotWait, Urgency::PayloadUnavailable])
        } else {
            Urgency::MayWait
        };
        let sectors = if rng.once_in(self.plan.beyond_once_in) {
            let start = volume.sectors - rng.index(volume.block_sectors.min(volume.sectors));
            start..volume.sectors + rng.index(volume.beyond) + 1
        } else {
            self.inside(rng, volume, longest)
        };
        let clears = rng.once_in(self.plan.clearing_once_in);
        let clearing = clears.then(|| rng.pick(&[Clearing::Trim, Clearing::Zero]));
        (sectors, urgency, clearing)
    }

    fn inside(&mut self, rng: &mut Rng, volume: &Volume, longest: usize) -> Sectors {
        let len = if rng.once_in(self.plan.long_once_in) {
            longest + 1 + rng.index((LONG_MAX - 1) * longest)
        } else {
            rng.index(self.plan.sectors_max) + 1
        };
        let len = len.min(volume.sectors);
        let start = match self.plan.pattern {
            Pattern::Anywhere => rng.index(volume.sectors),
            Pattern::HotSpot(sector) => sector + rng.index(volume.block_sectors),
            Pattern::Sequential => self.cursor,
        };
        let start = start.min(volume.sectors - len);
        self.cursor = if start + len < volume.sectors { start + len } else { 0 };
        start..start + len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use crate::plan::Plan;

    /// How long a write may be held depends on it.
    #[test]
    fn no_write_is_longer_than_its_plan_says() {
        for seed in 1..=500 {
            let Plan { writers, volume, config, .. } = Plan::new(&Options::new(seed));
            let captured = volume.count(config.write_bytes);
            for plan in writers {
                let longest = plan.longest(captured);
                let (mut writer, mut rng) = (Writer::new(plan), Rng::new(seed, 2));
                let mut write = || writer.inside(&mut rng, &volume, captured).len();
                let found = (0..1_000).map(|_| write()).max();
                assert!(found <= Some(longest), "seed {seed}: {found:?}, {longest}");
            }
        }
    }
}
