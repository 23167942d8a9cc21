//! The version of an installed or packaged file.

use std::fmt;

/// The file version of a PE file: major, minor, patch, build.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version(pub [u16; 4]);

impl Version {
    /// From the two halves of `VS_FIXEDFILEINFO`.
    pub fn from_halves(high: u32, low: u32) -> Self {
        let [h0, h1, h2, h3] = high.to_be_bytes();
        let [l0, l1, l2, l3] = low.to_be_bytes();
        Self([[h0, h1], [h2, h3], [l0, l1], [l2, l3]].map(u16::from_be_bytes))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([major, minor, patch, build]) = self;
        write!(f, "{major}.{minor}.{patch}")?;
        if *build == 0 { Ok(()) } else { write!(f, ".{build}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_compared_and_shown_by_their_parts() {
        let version = Version::from_halves(0x0001_000A, 0x0002_0000);
        assert_eq!(version, Version([1, 10, 2, 0]));
        assert_eq!(version.to_string(), "1.10.2");
        assert_eq!(Version([1, 2, 3, 4]).to_string(), "1.2.3.4");
        assert!(Version([1, 9, 9, 9]) < version);
    }
}
