//! What happens to files before the session, and what the service says of free space: the driver
//! notes what is changed, the service asks the file system, and after t0 the session is told which
//! blocks are unused.
//!
//! In the model, what no file has had since the service asked is a don't-care from t0 on, until it
//! is written to.

use snapless_driver_logic::tracker::Arrival;
use snapless_engine::{BlockState, RegionMap};
use snapless_types::{BlockIndex, BlockRange, Regions};

use super::verbs::Verb;
use super::{Stage, World};
use crate::failure::{Broken, Rule, ensure};
use crate::options::Sabotage;
use crate::volume::{Content, Sectors, WriteId};

impl World {
    /// The driver notes what is changed from now on, and the service asks the file system.
    pub(super) fn ask_for_unused(&mut self) {
        if !self.files.tells() {
            return;
        }
        let noted = RegionMap::new(Regions::of(&self.plan.volume.geometry()));
        let begun = self.tracker.begin_noting(noted.expect("there is memory for a small map"));
        assert!(begun, "nothing else is noted");
        self.files.ask();
    }

    /// A write goes to the disk without a session.
    pub(super) fn note_write(&mut self, sectors: &Sectors) {
        self.files.get(sectors);
        let extent = self.plan.volume.extent(sectors);
        let arrival = self.tracker.writes(|| std::iter::once(extent));
        assert_eq!(arrival, Arrival::Goes, "nothing waits to be noted");
    }

    /// A file gives up some sectors that nothing is written to.
    pub(super) fn perhaps_give_back(&mut self) {
        if !self.files.tells() || !self.rng.once_in(self.plan.frees_once_in) {
            return;
        }
        let volume = self.plan.volume;
        let start = self.rng.index(volume.sectors);
        let len = 1 + self.rng.index(3 * volume.block_sectors);
        let sectors = start..(start + len).min(volume.sectors);
        let is_busy = |&id: &WriteId| self.meets(id, &sectors);
        let is_paged = crate::volume::overlap(&self.paging.owned, &sectors);
        if !is_paged && !self.ledger.open.iter().any(is_busy) {
            self.files.give_back(sectors);
        }
    }

    /// At t0: the session gets what was noted, and what no file has is a don't-care.
    pub(super) fn forget_unused(&mut self) {
        let Some(noted) = self.tracker.take_noted() else { return };
        let Some(session) = &self.session else { return };
        session.expect_unused(noted);
        let volume = self.plan.volume;
        let asks_anew = self.options.sabotages(Sabotage::LateClusters);
        let mut unused: Vec<BlockRange> = Vec::new();
        for block in self.files.unused_blocks(&volume, asks_anew) {
            let (start, end) = (BlockIndex(block as u64), BlockIndex(block as u64 + 1));
            match unused.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => unused.push(BlockRange::new(start, end)),
            }
        }
        self.unused = Some(unused);
        for sector in self.files.never_owned() {
            // An urgent write may have been issued since interception is on.
            let block = BlockIndex((sector / volume.block_sectors) as u64);
            if session.block_state(block) != BlockState::Unsynced {
                continue;
            }
            self.disk.sectors[sector] = Content::PAGED;
            self.ledger.apply(sector, Content::PAGED, self.step);
        }
    }

    /// After t0: tells the session of some unused blocks, or that these were all.
    pub(super) fn say_unused(&mut self) -> Result<(), Broken> {
        if self.stage != Stage::Running {
            return Ok(());
        }
        let Some(mut unused) = self.unused.take() else { return Ok(()) };
        let Some(run) = unused.pop() else {
            return self.verb(Verb::Unused { blocks: 0 }, |session| session.end_unused());
        };
        let blocks = run.iter().count();
        let reached = self.verb(Verb::Unused { blocks }, |session| session.unused(run))?;
        // The service may have gone that had asked.
        let Some(reached) = reached else { return Ok(()) };
        ensure!(
            run.start <= reached && reached <= run.end,
            Rule::T0,
            "of the unused blocks {run:?} the session is at {reached:?}"
        );
        if reached < run.end {
            unused.push(BlockRange::new(reached, run.end));
        }
        self.unused = Some(unused);
        Ok(())
    }
}
