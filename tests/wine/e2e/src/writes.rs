//! The writer's log against the volume's journal: completions against applied writes.
//!
//! The rule: every completed write was applied exactly once, whole, and within its life; nothing
//! else was applied. With that, the log's times bound the prefix of the journal at t0.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use snapless_writer::extent::Extent;
use snapless_writer::log::{Instant100, Logged};
use snapless_writer::payload::{Payload, WriteId, claimed_id};

use crate::error::{E2eError, ensure};
use crate::journal::Journal;

/// The completed writes in the order in which the volume applied them: one for each journal entry.
#[derive(Debug)]
pub struct Matched {
    writes: Vec<Logged>,
}

impl Matched {
    /// Finds each logged write in the journal, and each entry in the log.
    pub fn new(journal: &Journal, log: &[Logged], payload: Payload) -> Result<Self, E2eError> {
        let mut pending = Pending::new(log);
        let mut writes = Vec::with_capacity(log.len());
        let mut data = Vec::new();
        for (index, entry) in journal.entries().iter().enumerate() {
            journal.read(entry, &mut data)?;
            let wrong = |why: &str| {
                E2eError::Contradiction(format!("journal entry {index} ({}) {why}", entry.extent))
            };
            let id = claimed_id(&data[..512]);
            let write = pending
                .take(id, entry.extent)
                .ok_or_else(|| wrong("is a write without a completion, or was applied twice"))?;
            let whole = match id {
                Some(id) => {
                    let mut want = vec![0; data.len()];
                    payload.fill(id, entry.extent.offset(), &mut want);
                    want == data
                }
                None => data.iter().all(|&byte| byte == 0),
            };
            if write.extent != entry.extent || !whole {
                return Err(wrong(&format!("is not what write {} asked for", write.id)));
            }
            writes.push(write);
        }
        let left = pending.left();
        if let Some(lost) = left.first() {
            return Err(E2eError::Contradiction(format!(
                "write {} ({}) was reported as done and never reached the disk; {} such in all",
                lost.id,
                lost.extent,
                left.len()
            )));
        }
        let matched = Self { writes };
        matched.check_order()?;
        Ok(matched)
    }

    /// The writes, in the order of application.
    pub fn writes(&self) -> &[Logged] {
        &self.writes
    }

    /// The possible lengths of the journal's prefix at an instant between `asked` and `started`:
    /// all writes completed before `asked` are in, none submitted after `started` is.
    ///
    /// # Errors
    /// No length does both.
    pub fn prefixes_between(
        &self,
        asked: Instant100,
        started: Instant100,
    ) -> Result<RangeInclusive<usize>, E2eError> {
        let least = self.writes.iter().rposition(|write| write.completed < asked);
        let least = least.map_or(0, |index| index + 1);
        let most = self.writes.iter().position(|write| write.submitted > started);
        let most = most.unwrap_or(self.writes.len());
        ensure!(
            least <= most,
            Contradiction,
            "entry {} was done before the session was asked for, entry {most} begun after it \
             had started, and yet applied earlier",
            least - 1
        );
        Ok(least..=most)
    }

    /// How many writes were under way together with an earlier one that they overlap.
    pub fn overlaps_under_way(&self) -> usize {
        let mut by_submission: Vec<&Logged> = self.writes.iter().collect();
        by_submission.sort_by_key(|write| write.submitted);
        let mut under_way: Vec<&Logged> = Vec::new();
        let mut overlaps = 0;
        for write in by_submission {
            under_way.retain(|earlier| earlier.completed > write.submitted);
            let hit = under_way.iter().any(|earlier| earlier.extent.overlaps(write.extent));
            overlaps += usize::from(hit);
            under_way.push(write);
        }
        overlaps
    }

    /// How many writes were under way at `instant`.
    pub fn under_way_at(&self, instant: Instant100) -> usize {
        let lives = self.writes.iter().map(|write| write.submitted..write.completed);
        lives.filter(|life| life.contains(&instant)).count()
    }

    /// A write that was submitted after another one completed was applied after it.
    fn check_order(&self) -> Result<(), E2eError> {
        let mut latest: Option<&Logged> = None;
        for (index, write) in self.writes.iter().enumerate() {
            if let Some(latest) = latest.filter(|latest| latest.submitted > write.completed) {
                return Err(E2eError::Contradiction(format!(
                    "write {} (journal entry {index}) had completed before write {} was submitted, \
                     and was applied after it",
                    write.id, latest.id
                )));
            }
            if latest.is_none_or(|latest| write.submitted > latest.submitted) {
                latest = Some(write);
            }
        }
        Ok(())
    }
}

/// Logged writes that were not yet seen in the journal.
struct Pending<'a> {
    by_id: HashMap<WriteId, &'a Logged>,
    /// Writes of zeros carry no id: by place and length, the first submitted last.
    zeros: HashMap<(u64, u64), Vec<Logged>>,
}

impl<'a> Pending<'a> {
    fn new(log: &'a [Logged]) -> Self {
        let mut pending = Self { by_id: HashMap::new(), zeros: HashMap::new() };
        for write in log {
            if write.zeros {
                let place = (write.extent.offset(), write.extent.len());
                pending.zeros.entry(place).or_default().push(*write);
            } else {
                pending.by_id.insert(write.id, write);
            }
        }
        for same in pending.zeros.values_mut() {
            same.sort_by_key(|write| write.submitted);
            blur(same);
            same.reverse();
        }
        pending
    }

    fn take(&mut self, id: Option<WriteId>, extent: Extent) -> Option<Logged> {
        match id {
            Some(id) => self.by_id.remove(&id).copied(),
            None => self.zeros.get_mut(&(extent.offset(), extent.len()))?.pop(),
        }
    }

    fn left(&self) -> Vec<Logged> {
        self.by_id.values().copied().chain(self.zeros.values().flatten()).copied().collect()
    }
}

/// Equal writes that were in flight together cannot be told apart in the journal: each gets the
/// life of all, so that no check assumes an order. `same` is sorted by submission.
fn blur(same: &mut [Logged]) {
    let mut begin = 0;
    while begin < same.len() {
        let submitted = same[begin].submitted;
        let mut completed = same[begin].completed;
        let mut end = begin + 1;
        while end < same.len() && same[end].submitted <= completed {
            completed = completed.max(same[end].completed);
            end += 1;
        }
        for write in &mut same[begin..end] {
            (write.submitted, write.completed) = (submitted, completed);
        }
        begin = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Applied;

    const SEED: u64 = 4;

    /// A write of thread 1: counter, offset, zeros, submitted, completed.
    fn write(counter: u64, offset: u64, zeros: bool, submitted: u64, completed: u64) -> Logged {
        Logged {
            id: WriteId::new(1, counter),
            extent: Extent::new(offset, 1024).unwrap(),
            zeros,
            submitted: Instant100(submitted),
            completed: Instant100(completed),
        }
    }

    fn journal(dir: &tempfile::TempDir, writes: &[Logged]) -> Journal {
        let (mut data, mut entries) = (Vec::new(), Vec::new());
        for write in writes {
            entries.push(Applied { extent: write.extent, data_at: data.len() as u64 });
            let mut bytes = vec![0; write.extent.size()];
            if !write.zeros {
                Payload::new(SEED).fill(write.id, write.extent.offset(), &mut bytes);
            }
            data.extend(bytes);
        }
        let path = dir.path().join("journal");
        std::fs::write(&path, data).unwrap();
        Journal::from_entries(&path, entries).unwrap()
    }

    fn matched(applied: &[Logged], log: &[Logged]) -> Result<Matched, E2eError> {
        let dir = tempfile::tempdir().unwrap();
        Matched::new(&journal(&dir, applied), log, Payload::new(SEED))
    }

    fn run() -> Vec<Logged> {
        vec![
            write(1, 0, false, 10, 20),
            write(3, 512, false, 14, 40),
            write(2, 4096, true, 12, 22),
            write(4, 4096, true, 45, 50),
            write(5, 8192, false, 46, 60),
        ]
    }

    #[test]
    fn entries_and_log_find_each_other() {
        let mut log = run();
        log.reverse();
        let matched = matched(&run(), &log).unwrap();
        assert_eq!(matched.writes(), run());
        assert_eq!(matched.overlaps_under_way(), 1);
        assert_eq!(matched.under_way_at(Instant100(15)), 3);
        assert_eq!(matched.under_way_at(Instant100(43)), 0);
    }

    #[test]
    fn a_lost_write_is_found() {
        for lost in 0..run().len() {
            let mut applied = run();
            let lost = applied.remove(lost);
            let error = matched(&applied, &run()).unwrap_err().to_string();
            assert!(error.contains("never reached the disk"), "{error}");
            assert!(error.contains(&lost.extent.to_string()), "{error}");
        }
    }

    #[test]
    fn a_write_applied_twice_is_found() {
        let mut applied = run();
        applied.push(applied[1]);
        assert!(matched(&applied, &run()).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn a_write_with_other_content_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let journal = journal(&dir, &run());
        let mut bytes = std::fs::read(dir.path().join("journal")).unwrap();
        bytes[1024 + 600] ^= 1;
        std::fs::write(dir.path().join("journal"), bytes).unwrap();
        let error = Matched::new(&journal, &run(), Payload::new(SEED)).unwrap_err().to_string();
        assert!(error.contains("entry 1") && error.contains("write 1.3"), "{error}");
    }

    #[test]
    fn application_before_submission_is_found() {
        let mut applied = run();
        applied.swap(1, 4);
        let error = matched(&applied, &run()).unwrap_err().to_string();
        assert!(error.contains("was applied after it"), "{error}");
    }

    #[test]
    fn equal_writes_of_zeros_that_met_may_have_been_applied_either_way() {
        let [outer, inner, between] =
            [write(1, 0, true, 10, 60), write(2, 0, true, 20, 30), write(3, 9216, false, 40, 50)];
        let log = [outer, inner, between];
        assert!(matched(&[inner, between, outer], &log).is_ok());
        assert!(matched(&[outer, inner, between], &log).is_ok());
    }

    #[test]
    fn times_bound_the_prefix() {
        let matched = matched(&run(), &run()).unwrap();
        let between = |asked, started| {
            matched.prefixes_between(Instant100(asked), Instant100(started)).unwrap()
        };
        assert_eq!(between(5, 5), 0..=0);
        assert_eq!(between(21, 44), 1..=3);
        assert_eq!(between(41, 44), 3..=3);
        assert_eq!(between(41, 100), 3..=5);
    }
}
