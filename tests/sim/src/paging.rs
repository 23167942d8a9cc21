//! The volume's paging file: where it is, and where the session was told that it is.

use crate::volume::{Sectors, overlap};

/// The paging file.
#[derive(Debug, Default)]
pub struct Paging {
    /// Its sectors now.
    pub owned: Sectors,
    /// Those that the session was given, while they count.
    pub given: Sectors,
    /// The service has looked for the first time.
    pub looked: bool,
    /// The service has said whether it has them still.
    pub reviewed: bool,
}

impl Paging {
    /// A file with these sectors.
    pub fn new([start, end]: [usize; 2]) -> Self {
        Self { owned: start..end, ..Self::default() }
    }

    /// The sectors that a writer of another file gets of those that it is about to write to.
    pub fn left_for_others(&self, sectors: &Sectors) -> Option<Sectors> {
        if !overlap(&self.owned, sectors) {
            Some(sectors.clone())
        } else if sectors.start < self.owned.start {
            Some(sectors.start..self.owned.start)
        } else {
            (self.owned.end < sectors.end).then_some(self.owned.end..sectors.end)
        }
    }

    /// The sectors of it that the memory manager writes to, if it is as long as that.
    pub fn place(&self, at: usize, len: usize) -> Option<Sectors> {
        let len = len.min(self.owned.len());
        let start = self.owned.start + at.checked_rem(self.owned.len() - len + 1)?;
        (len > 0).then(|| start..start + len)
    }

    /// The service looks where it is, to tell the session that it begins next.
    pub fn look(&mut self) {
        self.given = self.owned.clone();
        self.looked = true;
    }

    /// The service has gone, perhaps before the extents were confirmed.
    pub fn left(&mut self) {
        if !self.reviewed {
            self.given = 0..0;
            self.reviewed = true;
        }
    }
}
