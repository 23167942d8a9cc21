//! How an image differs from the truth: the place, the writes that touch it, and the origin of its
//! content.

use std::fmt;

use snapless_writer::extent::SECTOR;

/// How many journal entries a difference names.
const TOUCHING_SHOWN: usize = 12;

/// How an image differs from the truth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Difference {
    /// The image has another length than the volume.
    Length {
        /// Bytes of the volume.
        want: u64,
        /// Bytes of the image.
        found: u64,
    },
    /// Sectors differ, whichever prefix is taken.
    Content {
        /// The prefix of the journal that comes closest.
        prefix: usize,
        /// How many sectors differ from it.
        sectors: usize,
        /// Number of the first of them.
        first: u64,
        /// What it should hold.
        wanted: Origin,
        /// What it holds; empty if no write has that content.
        found: Vec<Origin>,
        /// Journal entries that wrote it.
        touching: Vec<usize>,
    },
}

/// Where a sector's content came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The image as it was before any write.
    Pristine,
    /// The journal's entry with this index.
    Entry(usize),
    /// It is all zeros.
    Zeros,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pristine => f.write_str("the pristine image"),
            Self::Entry(index) => write!(f, "journal entry {index}"),
            Self::Zeros => f.write_str("zeros"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, sectors, first, wanted, found, touching) = match self {
            Self::Length { want, found } => {
                return write!(f, "  the volume has {want} bytes, the image {found}");
            }
            Self::Content { prefix, sectors, first, wanted, found, touching } => {
                (prefix, sectors, first, wanted, found, touching)
            }
        };
        let found = match found.as_slice() {
            [] => String::from("content that was never written there"),
            origins => list(origins),
        };
        let more = touching.len().saturating_sub(TOUCHING_SHOWN);
        let shown = &touching[..touching.len().min(TOUCHING_SHOWN)];
        writeln!(f, "  closest: the first {prefix} journal entries; {sectors} sectors differ")?;
        writeln!(f, "  first differing byte: {:#x}", first * SECTOR)?;
        writeln!(f, "  it should hold what {wanted} wrote, and holds {found}")?;
        write!(f, "  journal entries that touch it: {}", list(shown))?;
        if more > 0 { write!(f, " and {more} more") } else { Ok(()) }
    }
}

fn list(items: &[impl ToString]) -> String {
    if items.is_empty() {
        return String::from("none");
    }
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
