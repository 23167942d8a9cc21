//! The end of a stream of objects, which the claims of its segments tell.
//!
//! A list of the segments gives the newest one. It begins where the kept state is, so that it is
//! short however long the history is.

use std::ops::RangeInclusive;
use std::path::Path;

use snapless_wire::id::{SessionId, VolumeGuid};

use crate::error::{Damage, Error, Result};
use crate::format::acknowledged::Acknowledged;
use crate::format::claim::{CLAIM_LEN, CLAIMED_HEADER_LEN, Claim, WriterId};
use crate::format::segment::{SEGMENT_HEADER_LEN, SegmentHeader, SegmentNumber};
use crate::format::state::{self, Checkpoint, PLACE_LEN, STATE_FILE, STATE_LEN_MAX};
use crate::storage::{Objects, OpenMode, Store};

/// What all names of segments begin with.
const SEGMENTS: &str = "segment-";

/// The volume and the session: all that claims say of the stream that they are of.
type Ids = (VolumeGuid, SessionId);

/// What the claims of a stream tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Claims {
    /// The newest segment and its claim; `None` before the first.
    pub(crate) newest: Option<(SegmentNumber, Claim)>,
    /// Of the segments that were listed, the numbers and bytes, in order.
    listed: Vec<(SegmentNumber, u64)>,
    /// Void segments, and the segment whose claim says so: the newest first.
    voids: Vec<(SegmentNumber, RangeInclusive<u64>)>,
    /// The newest segment before the begin of the stream whose claim makes others void; 0 if there
    /// is none. It may have been removed.
    older: SegmentNumber,
}

impl Claims {
    /// Reads the claims that tell the present end of a stream that begins with this segment.
    ///
    /// # Errors
    /// [`Error::Damaged`] if one of them is damaged or missing.
    pub(crate) fn read(
        store: &Store,
        objects: &dyn Objects,
        (dir, ids): (&Path, Ids),
        begin: SegmentNumber,
    ) -> Result<Self> {
        let listed = list(store, objects, dir, ids)?;
        let Some(&(newest, _)) = listed.last() else { return Ok(Self::none(listed)) };
        Self::from(listed, newest, begin, |number| read_claim(store, dir, ids, number))
    }

    /// [`Self::read`] of a damaged stream: the newest claim that can be read counts, and of one
    /// that cannot what the claim before it tells.
    ///
    /// # Errors
    /// What keeps claims from being read, but for damage.
    pub(crate) fn to_salvage(
        store: &Store,
        objects: &dyn Objects,
        (dir, ids): (&Path, Ids),
        begin: SegmentNumber,
    ) -> Result<Self> {
        let listed = list(store, objects, dir, ids)?;
        let sound = |number| match read_claim(store, dir, ids, number) {
            Ok(claim) => Ok(Some(claim)),
            Err(Error::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        };
        let mut newest = None;
        for (number, _) in listed.iter().rev() {
            if sound(*number)?.is_some() {
                newest = Some(*number);
                break;
            }
        }
        let Some(newest) = newest else { return Ok(Self::none(listed)) };
        Self::from(listed, newest, begin, |number| {
            if let Some(claim) = sound(number)? {
                return Ok(claim);
            }
            // It made void what its writer found behind the end; the segment before tells the end.
            let before = SegmentNumber(number.0.saturating_sub(1));
            let claim = sound(before)?.unwrap_or_else(|| Claim::first(WriterId([0; 16])));
            let void_from = claim.segment.next();
            let is_void = claim.segment.0 > 0 && void_from < number;
            let void_from = if is_void { void_from } else { SegmentNumber(0) };
            Ok(Claim { void_from, ..claim })
        })
    }

    fn none(listed: Vec<(SegmentNumber, u64)>) -> Self {
        Self { newest: None, listed, voids: Vec::new(), older: SegmentNumber(0) }
    }

    /// Those from the newest one back to the begin of the stream.
    fn from(
        listed: Vec<(SegmentNumber, u64)>,
        newest: SegmentNumber,
        begin: SegmentNumber,
        read: impl Fn(SegmentNumber) -> Result<Claim>,
    ) -> Result<Self> {
        let mut claims = Self::none(listed);
        let mut claim = read(newest)?;
        claims.newest = Some((newest, claim));
        let mut number = newest;
        loop {
            if claim.void_from.0 > 0 {
                claims.voids.push((number, claim.void_from.0..=number.0 - 1));
            }
            // Always before the void ones: `Claim::read` checks that.
            let before = claim.voids_before;
            // What is before the begin, a collection may have removed.
            if before.0 == 0 || before < begin || before >= number {
                claims.older = if before < begin { before } else { SegmentNumber(0) };
                return Ok(claims);
            }
            number = before;
            claim = read(number)?;
        }
    }

    /// The end that the claims tell.
    pub(crate) fn end(&self) -> Acknowledged {
        let Some((number, claim)) = self.newest else { return Acknowledged::NOTHING };
        Acknowledged {
            generation: number.0,
            epoch: claim.epoch,
            seq: claim.seq,
            segment: claim.segment,
            offset: claim.offset,
        }
    }

    /// The same, if the claim of the last segment is what tells it: it may be an earlier one, if
    /// these are the claims of a damaged stream.
    pub(crate) fn known_end(&self) -> Option<Acknowledged> {
        let last = self.listed.last().map(|it| it.0);
        (self.newest.map(|it| it.0) == last).then(|| self.end())
    }

    /// The segments behind the acknowledged end, which are not void: takeovers. Readers read them
    /// once an epoch was stored behind them.
    pub(crate) fn behind_end(&self) -> impl Iterator<Item = SegmentNumber> + '_ {
        let behind = self.newest.map(|(newest, claim)| claim.segment.0 + 1..=newest.0);
        behind.into_iter().flatten().map(SegmentNumber).filter(|number| !self.is_void(*number))
    }

    /// True for a segment that no reader reads.
    pub(crate) fn is_void(&self, number: SegmentNumber) -> bool {
        self.voids.iter().any(|(_, void)| void.contains(&number.0))
    }

    /// The first of these segments that is not there, as far as they were listed.
    pub(super) fn missing(
        &self,
        mut segments: impl Iterator<Item = SegmentNumber>,
    ) -> Option<SegmentNumber> {
        let first = self.listed.first().map_or(SegmentNumber(u64::MAX), |it| it.0);
        segments.find(|number| {
            *number >= first && self.listed.binary_search_by_key(number, |it| it.0).is_err()
        })
    }

    /// The claim of the next takeover: the end stays where it is. What was stored behind it becomes
    /// void, unless that is only other takeovers.
    pub(crate) fn takeover(&self) -> Option<Claim> {
        let (newest, claim) = self.newest?;
        let from = claim.segment.next();
        let behind = self.listed.iter().filter(|(number, _)| *number >= from);
        let holds_entries = |len: u64| len > CLAIMED_HEADER_LEN as u64;
        let is_void = behind.map(|it| it.1).any(holds_entries);
        let void_from = if is_void { from } else { SegmentNumber(0) };
        let first = if is_void { from } else { newest.next() };
        let before = self.voids.iter().map(|it| it.0).find(|number| *number < first);
        // A reader of an older history goes on from there.
        Some(Claim { void_from, voids_before: before.unwrap_or(self.older), ..claim })
    }
}

/// Lists the segments: from the one where the kept state is, or all.
fn list(
    store: &Store,
    objects: &dyn Objects,
    dir: &Path,
    ids: Ids,
) -> Result<Vec<(SegmentNumber, u64)>> {
    let from = |name: &str| -> Result<Vec<(SegmentNumber, u64)>> {
        let found = objects.list_from(dir, SEGMENTS, name);
        let found = found.map_err(Error::file("list", &store.locate(dir)))?;
        let parsed = found.iter().filter_map(|(name, len)| {
            SegmentNumber::from_file_name(name).map(|number| (number, *len))
        });
        let mut parsed: Vec<_> = parsed.collect();
        parsed.sort_unstable();
        Ok(parsed)
    };
    // Only a hint: what it says is not checked yet.
    if let Some(kept) = kept_segment(store, dir, ids)? {
        let listed = from(&kept.file_name())?;
        if listed.first().is_some_and(|it| it.0 == kept) {
            return Ok(listed);
        }
    }
    from(SEGMENTS)
}

fn kept_segment(store: &Store, dir: &Path, ids: Ids) -> Result<Option<SegmentNumber>> {
    let path = dir.join(STATE_FILE);
    // Of an encrypted one nothing can be told from a part.
    let Ok(seal) = store.seal().of_ids(ids).state() else { return Ok(None) };
    let read = store.open(&path, OpenMode::Read).and_then(|file| {
        let most = if seal.added() == 0 { PLACE_LEN as u64 } else { STATE_LEN_MAX };
        let len = usize::try_from(file.len()?.min(most)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len];
        file.read_exact_at(0, &mut bytes).map_err(Error::file("read", file.path()))?;
        Ok(bytes)
    });
    match read {
        Ok(bytes) => {
            let opened = state::open(bytes, &seal);
            Ok(opened.ok().and_then(|bytes| Checkpoint::segment_of(&bytes)))
        }
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads the claim of a segment.
pub(crate) fn read_claim(
    store: &Store,
    dir: &Path,
    ids: Ids,
    number: SegmentNumber,
) -> Result<Claim> {
    let path = dir.join(number.file_name());
    let bytes = store.read_head(&path, CLAIMED_HEADER_LEN).map_err(Error::or_gone)?;
    let damaged = |why: Damage| Error::damaged(&store.locate(&path), 0, why);
    let Some((header, rest)) = bytes.split_first_chunk::<SEGMENT_HEADER_LEN>() else {
        return Err(damaged(Damage::Truncated(CLAIMED_HEADER_LEN as u64)));
    };
    let is_sealed = store.seal().of_ids(ids).is_sealed();
    let found = SegmentHeader::read_of(is_sealed, header).map_err(|why| damaged(why.into()))?;
    if (found.volume, found.session) != ids {
        return Err(damaged(Damage::Foreign("session")));
    }
    match rest.first_chunk::<CLAIM_LEN>() {
        Some(claim) if found.number == number && SegmentHeader::has_claim(header) => {
            Claim::read(claim, number).map_err(|why| damaged(why.into()))
        }
        _ => Err(damaged(Damage::Foreign("place in the stream"))),
    }
}

#[cfg(test)]
mod tests {
    use snapless_types::{EpochId, Seq};

    use super::*;
    use crate::format::claim::WriterId;

    const EMPTY: u64 = CLAIMED_HEADER_LEN as u64;

    /// Claims whose end is at segment 2, with segments of these lengths behind it.
    fn claims(behind: &[u64], voids: &[(u64, RangeInclusive<u64>)]) -> Claims {
        let lens = [1000, 1000].iter().chain(behind);
        let listed: Vec<_> = (1..).map(SegmentNumber).zip(lens.copied()).collect();
        let claim = Claim {
            writer: WriterId([1; 16]),
            epoch: EpochId::new(1),
            seq: Seq::new(1),
            segment: SegmentNumber(2),
            offset: 1000,
            bytes: 2000,
            void_from: SegmentNumber(0),
            voids_before: SegmentNumber(0),
        };
        let newest = listed.last().map(|it| (it.0, claim));
        let voids = voids.iter().map(|(at, void)| (SegmentNumber(*at), void.clone())).collect();
        Claims { newest, listed, voids, older: SegmentNumber(0) }
    }

    fn takeover(claims: &Claims) -> (u64, u64) {
        let claim = claims.takeover().unwrap();
        assert_eq!((claim.segment.0, claim.offset, claim.bytes), (2, 1000, 2000));
        let own = claims.newest.unwrap().0.next();
        assert_eq!(Claim::read(&claim.to_bytes(), own), Ok(claim));
        (claim.void_from.0, claim.voids_before.0)
    }

    #[test]
    fn a_takeover_makes_void_what_has_entries_behind_the_end() {
        assert_eq!(takeover(&claims(&[], &[])), (0, 0));
        assert_eq!(takeover(&claims(&[EMPTY, EMPTY], &[])), (0, 0), "only takeovers");
        assert_eq!(takeover(&claims(&[EMPTY + 1], &[])), (3, 0));
        assert_eq!(takeover(&claims(&[], &[(2, 1..=1)])), (0, 2), "older ones stay void");
    }

    #[test]
    fn a_takeover_covers_what_one_before_it_made_void() {
        assert_eq!(takeover(&claims(&[500, EMPTY], &[(4, 3..=3), (2, 1..=1)])), (3, 2));
        assert_eq!(takeover(&claims(&[500, EMPTY, 500], &[(4, 3..=3)])), (3, 0));
    }
}
