//! The volume's file system: which sectors files have, and what the service was told of it.
//!
//! A file gets the sectors that it writes to, and may give sectors back, whose content then stays.
//! What a file had at any instant from when the service asked until t0, a file system may still
//! have at t0, however much of it is in memory only: the base image has to have that.

use crate::rng::Rng;
use crate::volume::{Sectors, Volume};

/// The file system.
#[derive(Debug)]
pub struct Files {
    /// It tells which sectors are free.
    tells: bool,
    /// The sectors of files now.
    owned: Vec<bool>,
    /// The sectors of files when the service asked.
    told: Option<Vec<bool>>,
    /// The sectors that a file has had since then.
    since: Vec<bool>,
}

impl Files {
    /// A file system with some free sectors, if it tells of them.
    pub fn new(volume: &Volume, tells: bool, rng: &mut Rng) -> Self {
        let mut owned = vec![true; volume.sectors];
        let mut sector = 0;
        while tells && sector < volume.sectors {
            let end = (sector + 1 + rng.index(4 * volume.block_sectors)).min(volume.sectors);
            let is_free = rng.once_in(2);
            owned[sector..end].fill(!is_free);
            sector = end;
        }
        let [start, end] = volume.paging;
        owned[start..end].fill(true);
        Self { tells, since: owned.clone(), owned, told: None }
    }

    /// True if it tells which sectors are free.
    pub fn tells(&self) -> bool {
        self.tells
    }

    /// The service asks.
    pub fn ask(&mut self) {
        self.told = Some(self.owned.clone());
        self.since.clone_from(&self.owned);
    }

    /// A file gets these sectors, as far as the volume has them.
    pub fn get(&mut self, sectors: &Sectors) {
        let end = sectors.end.min(self.owned.len());
        let sectors = sectors.start.min(end)..end;
        self.owned[sectors.clone()].fill(true);
        self.since[sectors].fill(true);
    }

    /// A file gives these sectors back.
    pub fn give_back(&mut self, sectors: Sectors) {
        self.owned[sectors].fill(false);
    }

    /// The sectors that no file has had since the service asked: a don't-care at t0.
    pub fn never_owned(&self) -> impl Iterator<Item = usize> + '_ {
        let asked = self.told.is_some();
        (0..self.since.len()).filter(move |sector| asked && !self.since[*sector])
    }

    /// The blocks that no file had when the service asked, or that none has now if it `asks` anew.
    pub fn unused_blocks(&self, volume: &Volume, asks_anew: bool) -> Vec<usize> {
        let Some(told) = &self.told else { return Vec::new() };
        let owned = if asks_anew { &self.owned } else { told };
        let is_whole = |block: &usize| (block + 1) * volume.block_sectors <= volume.sectors;
        let is_free = |block: &usize| {
            let start = block * volume.block_sectors;
            owned[start..start + volume.block_sectors].iter().all(|owned| !owned)
        };
        (0..volume.blocks()).filter(|block| is_whole(block) && is_free(block)).collect()
    }
}
