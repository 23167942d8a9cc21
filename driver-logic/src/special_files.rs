//! The special files on a volume (paging, hibernation and crash dump files), and which writes
//! belong to a paging file.
//!
//! `IRP_MN_DEVICE_USAGE_NOTIFICATION` reports each file that comes and goes, with its file object.
//! A file system sends a paging file's writes to the volume without one: in its own stack location
//! it has the file object, in the one that it fills in for the device below it leaves it null, and
//! for a file in several pieces it sends associated requests, whose master has it. So a write is
//! compared in all places where a file object may be ([`Origin`]).
//!
//! The rule: the address of a file object is compared and nothing else. In a write it may point
//! anywhere.

use core::num::NonZeroUsize;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use snapless_wire::ioctl::{SPECIAL_FILE_DUMP, SPECIAL_FILE_HIBERNATION, SPECIAL_FILE_PAGING};

/// As many paging files as Windows has at most, on all volumes together.
const PAGING_FILES_MAX: usize = 16;
/// Where a write may have its file object: the stack location of its receiver, the topmost one, the
/// request itself; and the last two of its master.
pub const PLACES: usize = 5;

/// The address of a file object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileId(NonZeroUsize);

impl FileId {
    /// `None` for a null pointer's address.
    #[must_use]
    pub fn new(address: usize) -> Option<Self> {
        NonZeroUsize::new(address).map(Self)
    }
}

/// A usage notification that has succeeded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// What kind of file; `None` for a kind that is irrelevant to a filter.
    pub kind: Option<Kind>,
    /// The file comes; else it goes.
    pub in_path: bool,
    /// The file, if the notification has it.
    pub file: Option<FileId>,
}

/// A kind of special file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A paging file; the swap file is another one.
    Paging,
    /// The hibernation file.
    Hibernation,
    /// A crash dump file.
    Dump,
}

impl Kind {
    /// The kind of a `DEVICE_USAGE_NOTIFICATION_TYPE`.
    #[must_use]
    pub fn from_usage_type(value: i32) -> Option<Self> {
        match value {
            1 => Some(Self::Paging),
            2 => Some(Self::Hibernation),
            3 => Some(Self::Dump),
            _ => None,
        }
    }
}

/// What a write says of the file that it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Origin {
    /// The file object in each place.
    pub files: [Option<FileId>; PLACES],
    /// Paging I/O, by the flags of the write or of its master.
    pub paging: bool,
    /// Paging I/O that no thread waits for, by the flags of the write or of its master: what the
    /// memory manager's page writers send, to paging files and for mapped files.
    pub asynchronous_paging: bool,
}

/// Whether a write is a paging file's, which must never wait (rule HANG, rules.md#hang).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PagingWrite {
    /// It is not.
    No,
    /// It may be one's whose object is not known.
    Possible,
    /// It is: its content is the memory manager's and no file's.
    Known,
}

/// The special files on a volume.
#[derive(Default)]
pub struct SpecialFiles {
    paging: AtomicU32,
    hibernation: AtomicU32,
    dump: AtomicU32,
    /// File objects of paging files; 0 is none.
    files: [AtomicUsize; PAGING_FILES_MAX],
    /// Paging files without a place in that list.
    unnamed: AtomicU32,
}

// Relaxed, throughout: no count and no address publishes other memory. A paging file is written to
// when its notification has succeeded, which orders the two.
impl SpecialFiles {
    /// Notes that a file has come or gone.
    pub fn note(&self, usage: Usage) {
        let Usage { kind: Some(kind), in_path, file } = usage else { return };
        let count = match kind {
            Kind::Paging => &self.paging,
            Kind::Hibernation => &self.hibernation,
            Kind::Dump => &self.dump,
        };
        if kind == Kind::Paging {
            let (from, to) = if in_path { (None, file) } else { (file, None) };
            if file.is_none() || !self.replace(from, to) {
                step(&self.unnamed, in_path);
            }
        }
        step(count, in_path);
    }

    /// True while a paging file is there.
    #[must_use]
    pub fn has_paging_file(&self) -> bool {
        self.paging.load(Ordering::Relaxed) > 0
    }

    /// Whether a write is to a paging file.
    ///
    /// If a paging file's object is not known, every write that may be one of its counts as
    /// possible; and one that has a paging file's object but is no paging I/O.
    #[must_use]
    pub fn write_of(&self, origin: impl FnOnce() -> Origin) -> PagingWrite {
        if !self.has_paging_file() {
            return PagingWrite::No;
        }
        let origin = origin();
        let is_known = |file: FileId| {
            self.files.iter().any(|known| known.load(Ordering::Relaxed) == file.0.get())
        };
        let may_be_unnamed = || self.unnamed.load(Ordering::Relaxed) > 0;
        if origin.files.into_iter().flatten().any(is_known) {
            if origin.paging { PagingWrite::Known } else { PagingWrite::Possible }
        } else if origin.asynchronous_paging && may_be_unnamed() {
            PagingWrite::Possible
        } else {
            PagingWrite::No
        }
    }

    /// Which kinds are there, as bits.
    #[must_use]
    pub fn bits(&self) -> u32 {
        let kinds = [
            (&self.paging, SPECIAL_FILE_PAGING),
            (&self.hibernation, SPECIAL_FILE_HIBERNATION),
            (&self.dump, SPECIAL_FILE_DUMP),
        ];
        kinds.into_iter().fold(
            0,
            |bits, (count, bit)| {
                if count.load(Ordering::Relaxed) > 0 { bits | bit } else { bits }
            },
        )
    }

    /// Replaces a file in the list; `None` is a free place. False if it is not there.
    fn replace(&self, from: Option<FileId>, to: Option<FileId>) -> bool {
        let address = |file: Option<FileId>| file.map_or(0, |file| file.0.get());
        let (from, to) = (address(from), address(to));
        self.files.iter().any(|place| {
            place.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        })
    }
}

/// Counts up or down; not below zero.
fn step(count: &AtomicU32, up: bool) {
    let next =
        |count: u32| Some(if up { count.saturating_add(1) } else { count.saturating_sub(1) });
    let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
}

#[cfg(test)]
mod tests {
    use super::PagingWrite::{Known, No, Possible};
    use super::*;

    fn paging(in_path: bool, address: usize) -> Usage {
        Usage { kind: Some(Kind::Paging), in_path, file: FileId::new(address) }
    }

    /// A write that has a file object in one place.
    fn of(place: usize, address: usize) -> Origin {
        let mut origin = Origin { paging: true, ..Origin::default() };
        origin.files[place] = FileId::new(address);
        origin
    }

    #[test]
    fn a_write_is_a_paging_files_by_its_file_object_in_any_place() {
        let files = SpecialFiles::default();
        assert_eq!(files.write_of(|| panic!("there is no paging file")), No);
        files.note(paging(true, 0x1000));
        files.note(paging(true, 0x2000));
        for place in 0..PLACES {
            assert_eq!(files.write_of(|| of(place, 0x1000)), Known);
            assert_eq!(files.write_of(|| of(place, 0x2000)), Known);
            assert_eq!(files.write_of(|| of(place, 0x3000)), No);
        }
        let no_paging = Origin { paging: false, ..of(0, 0x1000) };
        assert_eq!(files.write_of(|| no_paging), Possible, "it is urgent, and its content counts");
        files.note(paging(false, 0x1000));
        assert_eq!(files.write_of(|| of(1, 0x1000)), No);
        assert_eq!(files.write_of(|| of(1, 0x2000)), Known);
        let mapped = Origin { asynchronous_paging: true, ..of(1, 0x3000) };
        assert_eq!(files.write_of(|| mapped), No, "a mapped file's write may wait");
    }

    #[test]
    fn a_paging_file_without_a_known_object_makes_asynchronous_paging_writes_possible_ones() {
        let files = SpecialFiles::default();
        let nameless = Usage { file: None, ..paging(true, 1) };
        files.note(nameless);
        let page_out = Origin { asynchronous_paging: true, paging: true, ..Origin::default() };
        assert_eq!(files.write_of(|| page_out), Possible);
        assert_eq!(files.write_of(Origin::default), No, "a thread waits for it already");
        files.note(Usage { in_path: false, ..nameless });
        assert_eq!(files.write_of(|| page_out), No);
    }

    #[test]
    fn more_paging_files_than_places_are_counted_without_a_name() {
        let files = SpecialFiles::default();
        for address in 1..=PAGING_FILES_MAX + 2 {
            files.note(paging(true, address));
        }
        let page_out = Origin { asynchronous_paging: true, ..of(0, PAGING_FILES_MAX + 1) };
        assert_eq!(files.write_of(|| page_out), Possible);
        for address in 1..=PAGING_FILES_MAX + 2 {
            assert!(files.has_paging_file());
            files.note(paging(false, address));
        }
        assert_eq!(files.write_of(|| panic!("there is no paging file")), No);
        // Nothing is left over.
        files.note(paging(true, 1));
        assert_eq!(files.write_of(|| page_out), No);
    }

    #[test]
    fn kinds_are_counted_and_do_not_fall_below_zero() {
        let files = SpecialFiles::default();
        let dump = Usage { kind: Kind::from_usage_type(3), in_path: true, file: None };
        files.note(Usage { in_path: false, ..dump });
        files.note(dump);
        files.note(dump);
        files.note(Usage { in_path: false, ..dump });
        assert_eq!(files.bits(), SPECIAL_FILE_DUMP);
        files.note(Usage { kind: Kind::from_usage_type(2), ..dump });
        files.note(Usage { kind: Kind::from_usage_type(4), ..dump });
        files.note(paging(true, 5));
        let all = SPECIAL_FILE_DUMP | SPECIAL_FILE_HIBERNATION | SPECIAL_FILE_PAGING;
        assert_eq!(files.bits(), all);
    }
}
