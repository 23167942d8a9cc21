//! Extents: runs of bytes of a volume.
//!
//! An [`Extent`] is checked once, when it is made: it is never empty and never ends past 64-bit
//! space.

/// A non-empty run of bytes of the volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    offset: u64,
    len: u64,
}

impl Extent {
    /// `len` bytes at `offset`; `None` if there are none, or if they pass the end of 64-bit space.
    pub fn new(offset: u64, len: u64) -> Option<Self> {
        (len > 0 && offset.checked_add(len).is_some()).then_some(Self { offset, len })
    }

    /// `len` bytes at `offset`, of an extent taken apart before. There is at least one byte, and
    /// all are in 64-bit space, whatever the numbers are.
    pub fn from_parts(offset: u64, len: u64) -> Self {
        let len = len.max(1);
        Self { offset: offset.min(u64::MAX - len), len }
    }

    /// First byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Number of bytes; at least 1.
    // An extent is never empty, so there is no `is_empty`.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The byte after the last.
    pub fn end(&self) -> u64 {
        self.offset.wrapping_add(self.len)
    }

    /// True if both extents share a byte.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_are_checked_when_they_are_made() {
        assert_eq!(Extent::new(0, 0), None);
        assert_eq!(Extent::new(u64::MAX, 1), None);
        assert!(Extent::new(u64::MAX - 1, 1).is_some());
    }
}
