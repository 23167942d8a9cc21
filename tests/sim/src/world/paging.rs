//! What happens to the paging file: the memory manager writes to it, it grows and shrinks, and the
//! service says which extents it has.
//!
//! In the model, what the file's bytes are is a don't-care from t0 on, and from each write on that
//! goes past the session. Another file has the sectors that it gives back, and what that writes
//! counts as ever.

use snapless_types::Extent;

use super::verbs::Verb;
use super::{Stage, World};
use crate::failure::{Broken, Rule, ensure};
use crate::options::Sabotage;
use crate::paging::Paging;
use crate::volume::{Content, Sectors, WriteId, overlap};

impl World {
    /// Tells the new session which extents the file had.
    pub(super) fn give_excluded(&mut self) {
        let extents: Vec<Extent> = if self.paging.given.is_empty() {
            Vec::new()
        } else {
            vec![self.plan.volume.extent(&self.paging.given)]
        };
        if let Some(session) = &self.session {
            session.exclude(extents);
        }
    }

    /// After t0: tells the session whether the file still has them.
    pub(super) fn review_excluded(&mut self) -> Result<(), Broken> {
        if self.paging.reviewed || self.stage != Stage::Running {
            return Ok(());
        }
        let Paging { owned, given, .. } = &self.paging;
        let has_all = owned.start <= given.start && given.end <= owned.end;
        let are_still = has_all || self.options.sabotages(Sabotage::NoReview);
        let is_taken =
            self.verb(Verb::Review { are_still }, |session| session.review_excluded(are_still))?;
        ensure!(is_taken, Rule::T0, "after t0 it is too early to say what the paging file has");
        if !are_still {
            self.paging.given = 0..0;
        }
        self.paging.reviewed = true;
        Ok(())
    }

    /// The file grows into sectors that no other file writes to, or gives some back that nothing is
    /// written to. Before t0, whoever gets sectors has written to them.
    pub(super) fn resize_paging(&mut self) {
        let volume = self.plan.volume;
        let Sectors { start, end } = self.paging.owned;
        let len = self.rng.index(4 * volume.block_sectors) + 1;
        let grows = self.rng.once_in(2);
        let changed = if grows {
            end..(end + len).min(volume.sectors)
        } else {
            end - len.min(end - start)..end
        };
        let is_busy = |&id: &WriteId| self.meets(id, &changed);
        // What it gives back between the two looks of the service does not become its own again.
        let Paging { looked, reviewed, ref given, .. } = self.paging;
        let may_come_back = looked && !reviewed && given.end > end;
        if volume.paging == [0; 2] || self.ledger.open.iter().any(is_busy) || grows && may_come_back
        {
            return;
        }
        self.paging.owned.end = if grows { changed.end } else { changed.start };
        if self.ledger.base.is_none() {
            if grows {
                self.files.get(&changed);
            } else if !changed.is_empty() {
                self.note_write(&changed);
            }
            for sector in changed {
                let content = if grows { Content::PAGED } else { Content::of_a_file(sector) };
                self.disk.sectors[sector] = content;
                self.ledger.apply(sector, content, self.step);
            }
        }
    }

    /// True if a write goes past the session: it is the paging file's, and in an extent that the
    /// session was given.
    pub(super) fn pages_out(&mut self, id: WriteId) -> Result<bool, Broken> {
        let write = self.ledger.write(id);
        let (sectors, pages) = (write.sectors.clone(), self.writers[write.writer].pages());
        if self.session.is_none() {
            self.note_write(&sectors);
            self.ledger.write_mut(id).paged = pages;
            return Ok(true);
        }
        let is_taken_for_one = self.options.sabotages(Sabotage::ExclusionOutlivesFile);
        if !pages && !is_taken_for_one {
            return Ok(false);
        }
        let extent = self.plan.volume.extent(&sectors);
        let passes = self.verb(Verb::PageOut, |session| session.page_out(&extent))?;
        let given = &self.paging.given;
        let is_given = given.start <= sectors.start && sectors.end <= given.end;
        ensure!(
            passes == is_given || self.stage == Stage::Stopped,
            Rule::Gap,
            "write {id} to {sectors:?} goes past the session: {passes}; excluded are {given:?}"
        );
        self.ledger.write_mut(id).paged = passes && pages;
        Ok(passes)
    }

    /// True if a write touches these sectors.
    pub(super) fn meets(&self, id: WriteId, sectors: &Sectors) -> bool {
        overlap(&self.ledger.write(id).sectors, sectors)
    }

    /// What the file has at t0 is a don't-care.
    pub(super) fn forget_paged(&self, sectors: &mut [Content]) {
        let end = self.paging.owned.end.min(sectors.len());
        sectors[self.paging.owned.start.min(end)..end].fill(Content::PAGED);
    }
}
