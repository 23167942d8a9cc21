//! Compares restored images with the truth: the t0 image must be the pristine image plus a prefix
//! of the journal, the latest image the pristine image plus all of it.
//!
//! A model of the volume is rolled forward from the pristine image, entry by entry. The comparison
//! at t0 keeps the set of sectors in which model and image differ: after each entry only the
//! entry's own sectors can change sides, so all prefixes of the window are tried in one pass.

use std::collections::BTreeSet;
use std::fs::File;
use std::ops::{Range, RangeInclusive};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use snapless_writer::extent::SECTOR;

use crate::difference::{Difference, Origin};
use crate::error::E2eError;
use crate::journal::{Applied, Journal};

/// Bytes compared at a time.
const CHUNK: usize = 1 << 20;
const SECTOR_BYTES: usize = 512;

/// The journal together with a model of the volume that follows it.
#[derive(Debug)]
pub struct Truth<'a> {
    journal: &'a Journal,
    pristine: PathBuf,
    model: File,
    model_path: PathBuf,
    applied: usize,
    /// Bytes that an image may have anything in.
    dont_care: Vec<Range<u64>>,
}

impl<'a> Truth<'a> {
    /// Starts from a copy of the pristine image, made at `model_path`.
    pub fn new(journal: &'a Journal, pristine: &Path, model_path: &Path) -> Result<Self, E2eError> {
        std::fs::copy(pristine, model_path).map_err(E2eError::file("copy to", model_path))?;
        let model = File::options().read(true).write(true).open(model_path);
        let model = model.map_err(E2eError::file("open", model_path))?;
        let (pristine, model_path) = (pristine.into(), model_path.into());
        Ok(Self { journal, pristine, model, model_path, applied: 0, dont_care: Vec::new() })
    }

    /// Lets an image have anything in these bytes, which are whole sectors.
    #[must_use]
    pub fn without(mut self, dont_care: Range<u64>) -> Self {
        self.dont_care.push(dont_care);
        self
    }

    fn counts(&self, sector: u64) -> bool {
        !self.dont_care.iter().any(|bytes| bytes.contains(&(sector * SECTOR)))
    }

    /// The prefixes of the journal, with lengths in `window`, that make the pristine image into
    /// `image`.
    ///
    /// Several do when a write changes nothing (zeros over zeros). Rolls the model to the window's
    /// end.
    pub fn matching_prefixes(
        &mut self,
        image: &Path,
        window: RangeInclusive<usize>,
    ) -> Result<Result<Vec<usize>, Difference>, E2eError> {
        let (first, last) = (*window.start(), *window.end());
        assert!(self.applied <= first && first <= last, "prefixes are tried in order");
        let restored = File::open(image).map_err(E2eError::file("open", image))?;
        let len = |file: &File, path| {
            file.metadata().map(|data| data.len()).map_err(E2eError::file("examine", path))
        };
        let (want, found) = (len(&self.model, &self.model_path)?, len(&restored, image)?);
        if want != found {
            return Ok(Err(Difference::Length { want, found }));
        }
        let mut data = Vec::new();
        while self.applied < first {
            self.roll_one(&mut data)?;
        }
        let mut differing = self.differing_sectors(&restored, image, want)?;
        let mut matching = Vec::new();
        let mut best = Closest::new(first, &differing);
        loop {
            if differing.is_empty() {
                matching.push(self.applied);
            }
            best.offer(self.applied, &differing);
            if self.applied == last {
                break;
            }
            let entry = self.roll_one(&mut data)?;
            let found = read(&restored, image, entry.extent.offset(), data.len())?;
            let sectors = data.chunks_exact(SECTOR_BYTES).zip(found.chunks_exact(SECTOR_BYTES));
            for (sector, (model, image)) in entry.extent.sectors().zip(sectors) {
                if model == image || !self.counts(sector) {
                    differing.remove(&sector);
                } else {
                    differing.insert(sector);
                }
            }
        }
        if matching.is_empty() {
            return self.explain(best, &restored, image).map(Err);
        }
        Ok(Ok(matching))
    }

    /// How an image differs from one of an instant between two prefixes of the journal: each sector
    /// must hold what the first `from` entries made of it, or what one of those up to `to` wrote.
    ///
    /// Rolls the model to `to`.
    pub fn differs_between(
        &mut self,
        image: &Path,
        from: usize,
        to: usize,
    ) -> Result<Option<Difference>, E2eError> {
        assert!(self.applied <= from && from <= to, "prefixes are tried in order");
        let restored = File::open(image).map_err(E2eError::file("open", image))?;
        let mut data = Vec::new();
        while self.applied < from {
            self.roll_one(&mut data)?;
        }
        let len = restored.metadata().map_err(E2eError::file("examine", image))?.len();
        let mut differing = self.differing_sectors(&restored, image, len)?;
        while self.applied < to {
            let entry = self.roll_one(&mut data)?;
            let written = entry.extent.sectors().zip(data.chunks_exact(SECTOR_BYTES));
            for (sector, content) in written {
                if differing.contains(&sector)
                    && read(&restored, image, sector * SECTOR, SECTOR_BYTES)? == content
                {
                    differing.remove(&sector);
                }
            }
        }
        if differing.is_empty() {
            return Ok(None);
        }
        self.explain(Closest::new(from, &differing), &restored, image).map(Some)
    }

    /// Applies the next entry; leaves its bytes in `data`.
    fn roll_one(&mut self, data: &mut Vec<u8>) -> Result<Applied, E2eError> {
        let entry = self.journal.entries()[self.applied];
        self.journal.read(&entry, data)?;
        let written = self.model.write_all_at(data, entry.extent.offset());
        written.map_err(E2eError::file("write", &self.model_path))?;
        self.applied += 1;
        Ok(entry)
    }

    fn differing_sectors(
        &self,
        image: &File,
        path: &Path,
        len: u64,
    ) -> Result<BTreeSet<u64>, E2eError> {
        let mut differing = BTreeSet::new();
        for offset in (0..len).step_by(CHUNK) {
            let size = usize::try_from(len - offset).map_or(CHUNK, |left| left.min(CHUNK));
            let want = read(&self.model, &self.model_path, offset, size)?;
            let found = read(image, path, offset, size)?;
            if want != found {
                let sectors = want.chunks(SECTOR_BYTES).zip(found.chunks(SECTOR_BYTES));
                let numbered = (offset / SECTOR..).zip(sectors);
                let other = numbered.filter(|(_, (a, b))| a != b).map(|(sector, _)| sector);
                differing.extend(other.filter(|sector| self.counts(*sector)));
            }
        }
        Ok(differing)
    }

    /// Describes the first differing sector of the closest prefix.
    fn explain(&self, best: Closest, image: &File, path: &Path) -> Result<Difference, E2eError> {
        let found = read(image, path, best.first * SECTOR, SECTOR_BYTES)?;
        let touching: Vec<usize> = self.touching(best.first).collect();
        let mut origins = Vec::new();
        for &index in &touching {
            let entry = &self.journal.entries()[index];
            if self.journal.read_sector(entry, best.first)? == found[..] {
                origins.push(Origin::Entry(index));
            }
        }
        let before = File::open(&self.pristine).map_err(E2eError::file("open", &self.pristine))?;
        if read(&before, &self.pristine, best.first * SECTOR, SECTOR_BYTES)? == found {
            origins.push(Origin::Pristine);
        }
        if found == [0; SECTOR_BYTES] {
            origins.push(Origin::Zeros);
        }
        let wanted = touching.iter().rev().find(|&&index| index < best.prefix);
        Ok(Difference::Content {
            prefix: best.prefix,
            sectors: best.count,
            first: best.first,
            wanted: wanted.map_or(Origin::Pristine, |&index| Origin::Entry(index)),
            found: origins,
            touching,
        })
    }

    fn touching(&self, sector: u64) -> impl Iterator<Item = usize> + '_ {
        let entries = self.journal.entries().iter().enumerate();
        entries
            .filter(move |(_, entry)| entry.extent.sectors().contains(&sector))
            .map(|(index, _)| index)
    }
}

/// The prefix whose image came closest.
struct Closest {
    prefix: usize,
    count: usize,
    first: u64,
}

impl Closest {
    fn new(prefix: usize, differing: &BTreeSet<u64>) -> Self {
        let first = differing.first().copied().unwrap_or_default();
        Self { prefix, count: differing.len(), first }
    }

    fn offer(&mut self, prefix: usize, differing: &BTreeSet<u64>) {
        if differing.len() < self.count {
            *self = Self::new(prefix, differing);
        }
    }
}

fn read(file: &File, path: &Path, at: u64, len: usize) -> Result<Vec<u8>, E2eError> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, at).map_err(E2eError::file("read", path))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use snapless_writer::extent::Extent;
    use tempfile::TempDir;

    use super::*;

    const VOLUME: usize = (3 << 20) + 512;

    struct Case {
        dir: TempDir,
        journal: Journal,
    }

    /// A journal of single-colour writes over a pristine image of 0xee.
    fn case(writes: &[(u64, u64, u8)]) -> Case {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("pristine"), vec![0xee; VOLUME]).unwrap();
        let (mut data, mut entries) = (Vec::new(), Vec::new());
        for &(offset, len, colour) in writes {
            let extent = Extent::new(offset, len).unwrap();
            entries.push(Applied { extent, data_at: data.len() as u64 });
            data.resize(data.len() + extent.size(), colour);
        }
        let path = dir.path().join("journal");
        std::fs::write(&path, data).unwrap();
        Case { journal: Journal::from_entries(&path, entries).unwrap(), dir }
    }

    impl Case {
        fn image(&self, prefix: usize) -> Vec<u8> {
            let mut image = vec![0xee; VOLUME];
            let mut data = Vec::new();
            for entry in &self.journal.entries()[..prefix] {
                self.journal.read(entry, &mut data).unwrap();
                let at = usize::try_from(entry.extent.offset()).unwrap();
                image[at..at + data.len()].copy_from_slice(&data);
            }
            image
        }

        fn compare(
            &self,
            image: &[u8],
            window: RangeInclusive<usize>,
        ) -> Result<Vec<usize>, Difference> {
            let path = self.dir.path().join("restored");
            std::fs::write(&path, image).unwrap();
            let pristine = self.dir.path().join("pristine");
            let model = self.dir.path().join("model");
            let mut truth = Truth::new(&self.journal, &pristine, &model).unwrap();
            truth.matching_prefixes(&path, window).unwrap()
        }
    }

    const WRITES: [(u64, u64, u8); 5] =
        [(0, 4096, 1), (2048, 1 << 20, 2), (3 << 20, 512, 3), (1024, 2048, 4), (0, 2 << 20, 5)];

    #[test]
    fn between_two_prefixes_each_sector_may_be_older_or_newer_and_nothing_else() {
        let case = case(&[(0, 1024, 1), (512, 512, 2), (4096, 512, 3), (0, 512, 4)]);
        let differs = |from: usize, to: usize, image: &[u8]| {
            let path = case.dir.path().join("image");
            std::fs::write(&path, image).unwrap();
            let dir = case.dir.path();
            let truth = Truth::new(&case.journal, &dir.join("pristine"), &dir.join("model"));
            truth.unwrap().differs_between(&path, from, to).unwrap().is_some()
        };
        let mut mixed = case.image(4);
        mixed[4096..4608].fill(0xee);
        assert!(!differs(2, 4, &mixed), "the third write is not in it, the fourth is");
        assert!(differs(3, 4, &mixed), "the third write was before");
        assert!(differs(2, 3, &mixed), "the fourth write was after");
        mixed[512] = 9;
        assert!(differs(0, 4, &mixed), "no write had that");
    }

    #[test]
    fn each_prefix_is_recognised_and_no_other() {
        let case = case(&WRITES);
        for prefix in 0..=WRITES.len() {
            assert_eq!(case.compare(&case.image(prefix), 0..=5), Ok(vec![prefix]));
        }
    }

    #[test]
    fn a_prefix_outside_the_window_is_different() {
        let case = case(&WRITES);
        assert!(case.compare(&case.image(1), 2..=5).is_err());
        assert!(case.compare(&case.image(4), 0..=3).is_err());
        assert_eq!(case.compare(&case.image(5), 5..=5), Ok(vec![5]));
    }

    #[test]
    fn writes_that_change_nothing_leave_several_answers() {
        let case = case(&[(0, 512, 1), (0, 512, 1), (512, 512, 0xee), (0, 512, 2)]);
        assert_eq!(case.compare(&case.image(1), 0..=4), Ok(vec![1, 2, 3]));
    }

    #[test]
    fn a_lost_write_is_named_with_its_place_and_entries() {
        let case = case(&WRITES);
        let mut image = case.image(3);
        image[3 << 20..].fill(0xee);
        let difference = case.compare(&image, 3..=4).unwrap_err();
        assert_eq!(
            difference,
            Difference::Content {
                prefix: 3,
                sectors: 1,
                first: 6144,
                wanted: Origin::Entry(2),
                found: vec![Origin::Pristine],
                touching: vec![2],
            }
        );
        let text = difference.to_string();
        assert!(text.contains("first differing byte: 0x300000"), "{text}");
    }

    #[test]
    fn a_write_after_t0_is_found_by_its_content() {
        let case = case(&WRITES);
        let mut image = case.image(3);
        image[1024..1536].fill(4);
        match case.compare(&image, 2..=3).unwrap_err() {
            Difference::Content { prefix: 3, sectors: 1, first: 2, wanted, found, touching } => {
                assert_eq!(wanted, Origin::Entry(0));
                assert_eq!(found, [Origin::Entry(3)]);
                assert_eq!(touching, [0, 3, 4]);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn two_prefixes_mixed_match_none() {
        let case = case(&WRITES);
        let mut image = case.image(1);
        image[3 << 20..].fill(3);
        assert!(case.compare(&image, 0..=5).is_err());
    }

    #[test]
    fn a_shorter_image_is_different() {
        let case = case(&WRITES);
        let image = case.image(5);
        let want = Difference::Length { want: VOLUME as u64, found: VOLUME as u64 - 512 };
        assert_eq!(case.compare(&image[..VOLUME - 512], 0..=5), Err(want));
    }

    #[test]
    fn the_whole_journal_follows_a_prefix() {
        let case = case(&WRITES);
        let dir = case.dir.path();
        std::fs::write(dir.join("t0"), case.image(2)).unwrap();
        std::fs::write(dir.join("latest"), case.image(5)).unwrap();
        let mut truth =
            Truth::new(&case.journal, &dir.join("pristine"), &dir.join("model")).unwrap();
        assert_eq!(truth.matching_prefixes(&dir.join("t0"), 1..=3).unwrap(), Ok(vec![2]));
        assert_eq!(truth.matching_prefixes(&dir.join("latest"), 5..=5).unwrap(), Ok(vec![5]));
    }
}
