//! What deduplication would save: a pass over the content of volumes.
//!
//! Nothing is deduplicated, but for records of zeros, which bring no content. This tells what is
//! equal, in units of [`UNIT_BYTES`] that a record covers as a whole. A unit that is zeros, that is
//! equal to what its place held before, or equal to one that came earlier to any place of the
//! volume, need not have been stored again. The sessions of a volume count as one stream: a first
//! sync after a reboot is mostly equal.
//!
//! Memory: two tables of [`SAMPLES_MAX`] units at most, some 100 MiB. Of larger volumes one place
//! in so many, and one content in so many, are looked at, and the figures multiplied.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use aws_lc_rs::digest::{SHA256, digest};
use serde::Serialize;
use snapless_types::RecordKind;
use snapless_wire::id::VolumeGuid;
use snapless_wire::record::Record;

use crate::error::{Error, Result};
use crate::reader::{SessionReader, Wanted};
use crate::repository::{Presence, Repository};
use crate::stop::StopFlag;

/// What is compared: a cluster of most file systems.
pub const UNIT_BYTES: u64 = UNIT as u64;
const UNIT: usize = 4 << 10;
/// Most entries of each table.
const SAMPLES_MAX: u64 = 2 << 20;

/// What is equal in the content of a volume, in bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Dedup {
    /// Bytes of a unit.
    pub unit_bytes: u64,
    /// One place, and one content, in so many is looked at: 1 for all of them.
    pub sampled: u64,
    /// Units that records brought.
    pub compared_bytes: u64,
    /// Content that fills no unit.
    pub not_compared_bytes: u64,
    /// Saved: zeros that are not stored.
    pub saved_zero_bytes: u64,
    /// Could be saved: units of zeros that are stored.
    pub zero_bytes: u64,
    /// Could be saved: units that are equal to what their place held before.
    pub same_place_bytes: u64,
    /// Could be saved: units that are equal to an earlier one at another place of the volume.
    pub elsewhere_bytes: u64,
    /// The damage that ended the pass over a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Passes over the content of a volume; tells `progress` how many bytes of it are done.
///
/// # Errors
/// [`Error::Stopped`], or what keeps files from being read. Damage ends the pass over its session.
pub fn measure(
    repository: &Repository,
    volume: VolumeGuid,
    stop: &StopFlag,
    mut progress: impl FnMut(u64),
) -> Result<Dedup> {
    let mut readers: Vec<SessionReader> = Vec::new();
    let mut error = None;
    for session in repository.session_ids(volume)? {
        let opened = match repository.session(volume, session) {
            Ok(Presence::Header(header)) => repository.open_session(header),
            Ok(Presence::Nothing) => continue,
            Err(error) => Err(error),
        };
        match opened {
            Ok(reader) => readers.push(reader),
            Err(found) => _ = error.get_or_insert(found.to_string()),
        }
    }
    readers.sort_by_key(|reader| (reader.header().created, reader.header().session));
    let stored: u64 = readers.iter().map(|it| it.stream_bytes().unwrap_or(0)).sum();
    let mut pass = Pass::over(stored / UNIT_BYTES);
    let mut done = 0;
    for reader in readers {
        let passed = reader.replay(stop, |record, _| {
            pass.take(record);
            done += record.payload.len() as u64;
            progress(done);
            Ok(Wanted::More)
        });
        match passed {
            Err(Error::Stopped) => return Err(Error::Stopped),
            Err(found) if found.is_damage() => _ = error.get_or_insert(found.to_string()),
            passed => passed?,
        }
    }
    Ok(Dedup { error, ..pass.finish() })
}

/// The hash of a unit's content.
type Hash = u64;

struct Pass {
    /// One in so many, less one: all bits of it set.
    mask: u64,
    /// What the sampled places hold.
    places: BTreeMap<u64, Hash>,
    /// Sampled content that came.
    seen: HashSet<Hash>,
    found: Dedup,
    /// Units of [`Self::places`] that held the same.
    same_place: u64,
    /// Units of [`Self::seen`] that came again.
    again: u64,
}

impl Pass {
    /// Over about so many units.
    fn over(units: u64) -> Self {
        let sampled = units.div_ceil(SAMPLES_MAX).max(1).next_power_of_two();
        let found = Dedup { unit_bytes: UNIT_BYTES, sampled, ..Dedup::default() };
        let (places, seen) = (BTreeMap::new(), HashSet::new());
        Self { mask: sampled - 1, places, seen, found, same_place: 0, again: 0 }
    }

    fn take(&mut self, record: &Record<'_>) {
        let header = &record.header;
        let (start, len) = (header.extent_offset(), header.extent_len());
        let extent = start..start.saturating_add(len);
        match header.kind() {
            RecordKind::Block | RecordKind::Write | RecordKind::Resync if !header.is_zero() => {
                self.content(&extent, record.payload);
            }
            RecordKind::Block | RecordKind::Write | RecordKind::Resync => {
                self.found.saved_zero_bytes = self.found.saved_zero_bytes.saturating_add(len);
                self.forget(&extent);
            }
            // The place holds what it held.
            RecordKind::Unchanged
            | RecordKind::Check
            | RecordKind::SessionStart
            | RecordKind::EpochEnd
            | RecordKind::BaseComplete
            | RecordKind::GapBegin
            | RecordKind::Consistent => {}
            // What the place holds is zeros, or not known.
            RecordKind::Unallocated
            | RecordKind::Excluded
            | RecordKind::Trim
            | RecordKind::Zero
            | RecordKind::Unreadable => self.forget(&extent),
        }
    }

    fn content(&mut self, extent: &Range<u64>, payload: &[u8]) {
        let first = extent.start.next_multiple_of(UNIT_BYTES).min(extent.end);
        let last = (extent.end / UNIT_BYTES * UNIT_BYTES).max(first);
        for part in [extent.start..first, last..extent.end] {
            self.found.not_compared_bytes += part.end - part.start;
            self.forget(&part);
        }
        let skipped = usize::try_from(first - extent.start).unwrap_or(usize::MAX);
        let units = payload.get(skipped..).unwrap_or_default().chunks_exact(UNIT);
        for (unit, place) in units.zip((first..last).step_by(UNIT)) {
            self.unit(place / UNIT_BYTES, unit);
        }
    }

    fn unit(&mut self, place: u64, content: &[u8]) {
        self.found.compared_bytes += UNIT_BYTES;
        if content.iter().all(|&byte| byte == 0) {
            self.found.zero_bytes += UNIT_BYTES;
            self.places.remove(&place);
            return;
        }
        let hash = hash(content);
        if self.is_sampled(mixed(place)) && self.places.insert(place, hash) == Some(hash) {
            self.same_place += 1;
        }
        if self.is_sampled(hash) && !self.seen.insert(hash) {
            self.again += 1;
        }
    }

    /// What these bytes held is of no more use.
    fn forget(&mut self, extent: &Range<u64>) {
        let units = extent.start / UNIT_BYTES..extent.end.div_ceil(UNIT_BYTES);
        if units.is_empty() {
            return;
        }
        let gone: Vec<u64> = self.places.range(units).map(|(place, _)| *place).collect();
        for place in gone {
            self.places.remove(&place);
        }
    }

    fn is_sampled(&self, hash: u64) -> bool {
        hash & self.mask == 0
    }

    fn finish(self) -> Dedup {
        let bytes = |units: u64| units.saturating_mul(self.found.sampled * UNIT_BYTES);
        let same_place_bytes = bytes(self.same_place);
        // Of two samples: what the one has more than the other may be chance.
        let elsewhere_bytes = bytes(self.again).saturating_sub(same_place_bytes);
        Dedup { same_place_bytes, elsewhere_bytes, ..self.found }
    }
}

fn hash(content: &[u8]) -> Hash {
    digest(&SHA256, content).as_ref().first_chunk().map_or(0, |first| Hash::from_le_bytes(*first))
}

/// A number in whose low bits each bit of a place counts.
fn mixed(place: u64) -> u64 {
    let mixed = place.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_counts_as_zeros_as_the_same_as_before_or_as_known_from_elsewhere() {
        let mut pass = Pass::over(10);
        let [one, two, zeros] = [1, 2, 0].map(|byte| vec![byte; UNIT]);
        let mut write = |first: u64, units: &[&[u8]]| {
            let start = first * UNIT_BYTES;
            let payload = units.concat();
            pass.content(&(start..start + payload.len() as u64), &payload);
        };
        write(0, &[&one, &two]);
        write(0, &[&one, &one]);
        write(5, &[&two, &zeros]);
        // What a partial write leaves is not known.
        write(1, &[&one[..512]]);
        write(1, &[&one]);
        let found = pass.finish();
        assert_eq!((found.sampled, found.compared_bytes), (1, 7 * UNIT_BYTES));
        assert_eq!((found.zero_bytes, found.not_compared_bytes), (UNIT_BYTES, 512));
        assert_eq!(found.same_place_bytes, UNIT_BYTES);
        assert_eq!(found.elsewhere_bytes, 3 * UNIT_BYTES);
    }

    #[test]
    fn a_sample_of_a_large_volume_tells_about_the_same() {
        let mut pass = Pass::over(64 * SAMPLES_MAX);
        assert_eq!(pass.found.sampled, 64);
        let unit = |content: u64| [content.to_le_bytes(); 512].concat();
        let count = 20_000;
        for place in 0..count {
            pass.unit(place, &unit(place));
        }
        // Half of it comes again to the same place, and a quarter to others.
        for place in 0..count / 2 {
            pass.unit(place, &unit(place));
        }
        for place in 0..count / 4 {
            pass.unit(count + place, &unit(place));
        }
        assert!(pass.places.len() < 1_000 && pass.seen.len() < 1_000);
        let found = pass.finish();
        let units = |bytes: u64| bytes / UNIT_BYTES;
        assert!(units(found.same_place_bytes).abs_diff(count / 2) < count / 10, "{found:?}");
        assert!(units(found.elsewhere_bytes).abs_diff(count / 4) < count / 8, "{found:?}");
    }
}
