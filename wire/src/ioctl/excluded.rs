//! The extents of paging, swap and hibernation files that a session leaves out of the base image.

use snapless_types::Extent;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::BadRequest;
use crate::id::ExtentLe;

/// Extents in a start request, at most.
pub const EXCLUDED_MAX: usize = 64;

/// The extents in a start request: ascending, and none overlaps the one before it.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ExcludedExtents {
    count: U32,
    extents: [ExtentLe; EXCLUDED_MAX],
}

impl ExcludedExtents {
    /// The longest of these extents, as many as there is room for: to exclude less is always sound.
    pub fn longest(extents: &[Extent]) -> Self {
        let mut rest = extents.iter();
        let mut all = Self::NONE;
        for place in &mut all.extents {
            let Some(extent) = rest.next() else { break };
            *place = ExtentLe::new(extent);
            all.count += 1;
        }
        for extent in rest {
            let shortest = all.extents.iter_mut().min_by_key(|place| place.len());
            if let Some(shortest) = shortest.filter(|place| place.len() < extent.len()) {
                *shortest = ExtentLe::new(extent);
            }
        }
        let count = (all.count.get() as usize).min(EXCLUDED_MAX);
        all.extents[..count].sort_unstable_by_key(ExtentLe::offset);
        all
    }

    /// Becomes these extents, which are ascending and apart: the first of them, as many as there is
    /// room for.
    pub(crate) fn fill(&mut self, extents: &[Extent]) {
        let mut count = 0;
        for (place, extent) in self.extents.iter_mut().zip(extents) {
            *place = ExtentLe::new(extent);
            count += 1;
        }
        self.count = U32::new(count);
    }

    /// No extent.
    pub const NONE: Self = Self { count: U32::ZERO, extents: [ExtentLe::NONE; EXCLUDED_MAX] };

    /// Checks their number, their order, and each extent.
    ///
    /// # Errors
    /// [`BadRequest::Excluded`].
    pub fn check(&self) -> Result<(), BadRequest> {
        let count = self.count.get() as usize;
        let mut end = 0;
        for place in self.extents.get(..count).ok_or(BadRequest::Excluded)? {
            let extent = place.get().filter(|it| it.offset() >= end);
            let extent = extent.ok_or(BadRequest::Excluded)?;
            end = extent.end();
        }
        Ok(())
    }

    /// The extents, once they are checked.
    pub fn iter(&self) -> impl Iterator<Item = Extent> + '_ {
        let places = self.extents.iter().take(self.count.get() as usize);
        places.filter_map(ExtentLe::get)
    }
}

/// Input of [`IOCTL_REVIEW`](super::IOCTL_REVIEW).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ReviewRequest {
    are_still: U32,
}

impl ReviewRequest {
    /// Says whether the files still have all the excluded extents.
    pub fn new(are_still: bool) -> Self {
        Self { are_still: U32::new(are_still.into()) }
    }

    /// Whether they have.
    ///
    /// # Errors
    /// [`BadRequest::Review`] for a number that is neither.
    pub fn parse(&self) -> Result<bool, BadRequest> {
        match self.are_still.get() {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(BadRequest::Review),
        }
    }
}

const _: () = {
    assert!(size_of::<ExcludedExtents>() == 4 + 16 * EXCLUDED_MAX);
    assert!(size_of::<ReviewRequest>() == 4);
};

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(offset: u64, len: u64) -> Extent {
        Extent::new(offset, len).unwrap()
    }

    fn all(extents: &[Extent]) -> Vec<Extent> {
        let excluded = ExcludedExtents::longest(extents);
        excluded.check().unwrap();
        excluded.iter().collect()
    }

    #[test]
    fn extents_come_back_and_of_too_many_the_longest() {
        assert_eq!(all(&[]), []);
        let two = [extent(512, 512), extent(1024, 4096)];
        assert_eq!(all(&two), two);
        let many: Vec<_> = (1..=100).map(|at| extent(at << 20, at * 512)).collect();
        assert_eq!(all(&many), many[100 - EXCLUDED_MAX..]);
        let shorter_last: Vec<_> = (1..=100).map(|at| extent(at << 20, (101 - at) * 512)).collect();
        assert_eq!(all(&shorter_last), shorter_last[..EXCLUDED_MAX]);
    }

    #[test]
    fn extents_that_cannot_be_are_refused() {
        let place = ExtentLe::unchecked;
        let refused = |count: u32, extents: &[ExtentLe]| {
            let mut excluded = ExcludedExtents { count: U32::new(count), ..ExcludedExtents::NONE };
            excluded.extents[..extents.len()].copy_from_slice(extents);
            excluded.check() == Err(BadRequest::Excluded)
        };
        assert!(!refused(2, &[place(0, 512), place(512, 512)]));
        assert!(refused(2, &[place(0, 512), place(511, 512)]), "they overlap");
        assert!(refused(2, &[place(512, 512), place(0, 512)]), "they descend");
        assert!(refused(1, &[place(512, 0)]), "one is empty");
        assert!(refused(1, &[place(u64::MAX, 1)]), "one has no end");
        assert!(refused(65, &[]) && refused(u32::MAX, &[]), "there are not so many");
        assert!(!refused(0, &[place(u64::MAX, 1)]), "what is not counted does not count");
    }

    #[test]
    fn a_review_says_yes_or_no() {
        for are_still in [false, true] {
            assert_eq!(ReviewRequest::new(are_still).parse(), Ok(are_still));
        }
        let odd = ReviewRequest { are_still: U32::new(2) };
        assert_eq!(odd.parse(), Err(BadRequest::Review));
    }
}
