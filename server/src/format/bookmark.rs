//! `bookmarks/<volume>.<name>.slmark`: a named point of a volume.
//!
//! A file each, made once and never changed, so that one can be made beside a server that writes
//! and a damaged one costs no other. The file's name has the bookmark's in lower case: names that
//! differ in case only are the same, as on file systems that do not tell them apart. It begins with
//! the volume's GUID, so that no name is one that Windows reserves.

use std::fmt;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use snapless_link::question::Consistency;
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::cut::CutLe;
use super::{FormatError, Head, check, seal};
use crate::timeline::Cut;

/// The directory of all bookmarks.
pub const BOOKMARKS_DIR: &str = "bookmarks";
/// Bytes of a file.
pub const BOOKMARK_LEN: usize = 192;
/// The number of ticks that stands for "for ever".
pub const KEEP_FOREVER: NonZeroU64 = NonZeroU64::MAX;
/// Most characters of a name.
pub const NAME_MAX: usize = 64;

const MAGIC: [u8; 8] = *b"SLMARK\0\0";
const VERSION: u32 = 1;
const SUFFIX: &str = ".slmark";

/// A bookmark's name: a letter, then letters, digits, `-`, `_` and `.`, all of ASCII, at most
/// [`NAME_MAX`]. Names that differ in case only are equal.
#[derive(Clone, Debug)]
pub struct BookmarkName(String);

/// A named point.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bookmark {
    /// Its name.
    pub name: BookmarkName,
    /// The volume.
    pub volume: VolumeGuid,
    /// The session.
    pub session: SessionId,
    /// When it was made, by the server's clock.
    pub created: FileTime,
    /// The point's instant.
    pub time: FileTime,
    /// The changes that belong to the point's image.
    pub cut: Cut,
    /// For how many ticks it keeps its point, [`KEEP_FOREVER`] for ever; `None` if the retention
    /// policy says that.
    pub keep: Option<NonZeroU64>,
    /// How the point was made.
    pub making: Making,
}

/// How a point was made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Making {
    /// How the applications were prepared.
    pub consistency: Consistency,
    /// How many VSS writers were frozen.
    pub writers: u16,
    /// Bookmarks of several volumes with the same number here, other than 0, are of one instant,
    /// whatever the clocks of their machines showed.
    pub meeting: u64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    head: Head,
    volume: VolumeGuid,
    session: SessionId,
    created: FileTime,
    time: FileTime,
    cut: CutLe,
    name: [u8; NAME_MAX],
    name_len: U32,
    /// 0 for [`Consistency::Crash`], as older releases write it, 1 for scripts, 2 for applications.
    consistency: u8,
    reserved: u8,
    writers: U16,
    /// Ticks; 0 for what the retention policy says.
    keep: U64,
    /// 0 for none, as older releases write it.
    meeting: U64,
    reserved_2: [u8; 20],
    crc: [u8; 4],
}

const _: () = assert!(size_of::<Raw>() == BOOKMARK_LEN);

impl BookmarkName {
    /// The name in a text; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_name = text.len() <= NAME_MAX
            && text.bytes().next().is_some_and(|first| first.is_ascii_alphabetic())
            && text.bytes().all(is_name_byte);
        is_name.then(|| Self(text.to_owned()))
    }

    /// The name as it was typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The file of the name's bookmark, from the repository's root.
    pub fn file(&self, volume: VolumeGuid) -> PathBuf {
        let name = self.0.to_ascii_lowercase();
        Path::new(BOOKMARKS_DIR).join(format!("{volume}.{name}{SUFFIX}"))
    }

    /// The volume and the name, in lower case, in such a file's name; `None` for any other file.
    pub fn from_file_name(file: &str) -> Option<(VolumeGuid, Self)> {
        let (volume, name) = file.strip_suffix(SUFFIX)?.split_once('.')?;
        let is_lower = !file.bytes().any(|byte| byte.is_ascii_uppercase());
        let found = VolumeGuid::parse(volume).zip(Self::parse(name));
        // Not every text of a GUID is the one that a file has.
        found.filter(|(guid, _)| is_lower && guid.to_string() == volume)
    }
}

impl PartialEq for BookmarkName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for BookmarkName {}

impl fmt::Display for BookmarkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Bookmark {
    /// The file's bytes.
    pub fn to_bytes(&self) -> [u8; BOOKMARK_LEN] {
        let text = self.name.0.as_bytes();
        let mut name = [0; NAME_MAX];
        name[..text.len()].copy_from_slice(text);
        let raw = Raw {
            head: Head::new(MAGIC, VERSION),
            volume: self.volume,
            session: self.session,
            created: self.created,
            time: self.time,
            cut: self.cut.into(),
            name,
            name_len: U32::new(u32::try_from(text.len()).unwrap_or(u32::MAX)),
            consistency: to_wire(self.making.consistency),
            reserved: 0,
            writers: U16::new(self.making.writers),
            keep: U64::new(self.keep.map_or(0, NonZeroU64::get)),
            meeting: U64::new(self.making.meeting),
            reserved_2: [0; 20],
            crc: [0; 4],
        };
        let mut bytes: [u8; BOOKMARK_LEN] = zerocopy::transmute!(raw);
        seal(&mut bytes);
        bytes
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// Any [`FormatError`].
    pub fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        let (bytes, _) = bytes.split_at_checked(BOOKMARK_LEN).ok_or(FormatError::Short)?;
        check(bytes, MAGIC, VERSION)?;
        let raw = Raw::read_from_bytes(bytes).map_err(|_| FormatError::Short)?;
        if raw.volume.is_nil() || raw.session.is_nil() {
            return Err(FormatError::Content("identity"));
        }
        let cut = raw.cut.get().ok_or(FormatError::Content("point"))?;
        let Raw { volume, session, created, time, .. } = raw;
        let keep = NonZeroU64::new(raw.keep.get());
        let consistency = Consistency::ALL.into_iter().find(|it| to_wire(*it) == raw.consistency);
        let consistency = consistency.ok_or(FormatError::Content("consistency"))?;
        let (writers, meeting) = (raw.writers.get(), raw.meeting.get());
        let making = Making { consistency, writers, meeting };
        Ok(Self { name: raw.name()?, volume, session, created, time, cut, keep, making })
    }
}

fn to_wire(consistency: Consistency) -> u8 {
    match consistency {
        Consistency::Crash => 0,
        Consistency::Scripts => 1,
        Consistency::Application => 2,
    }
}

impl Raw {
    fn name(&self) -> Result<BookmarkName, FormatError> {
        let len = usize::try_from(self.name_len.get()).unwrap_or(usize::MAX);
        let (name, rest) =
            self.name.split_at_checked(len).ok_or(FormatError::Content("name's length"))?;
        let name = str::from_utf8(name).ok().and_then(BookmarkName::parse);
        let name = name.filter(|_| rest.iter().all(|&byte| byte == 0));
        name.ok_or(FormatError::Content("name"))
    }
}

#[cfg(test)]
mod tests {
    use snapless_types::Seq;

    use super::*;
    use crate::clock::Instant;

    fn bookmark(cut: Cut) -> Bookmark {
        Bookmark {
            name: BookmarkName::parse("Before-upgrade_2.1").unwrap(),
            volume: VolumeGuid([0x11; 16]),
            session: SessionId([0x22; 16]),
            created: FileTime::new(5),
            time: FileTime::new(6),
            cut,
            keep: None,
            making: Making::default(),
        }
    }

    #[test]
    fn every_kind_of_point_comes_back() {
        let instant = Instant::new(3, FileTime::new(7));
        for cut in [Cut::Base, Cut::Through(Seq::new(9)), Cut::Until(instant)] {
            assert_eq!(Bookmark::read(&bookmark(cut).to_bytes()), Ok(bookmark(cut)));
        }
        for keep in [NonZeroU64::MIN, KEEP_FOREVER] {
            let bookmark = Bookmark { keep: Some(keep), ..bookmark(Cut::Base) };
            assert_eq!(Bookmark::read(&bookmark.to_bytes()), Ok(bookmark));
        }
        for consistency in Consistency::ALL {
            let making = Making { consistency, writers: 12, meeting: u64::MAX };
            let bookmark = Bookmark { making, ..bookmark(Cut::Base) };
            assert_eq!(Bookmark::read(&bookmark.to_bytes()), Ok(bookmark));
        }
    }

    #[test]
    fn the_files_bytes_are_pinned() {
        let cut = Cut::Until(Instant::new(3, FileTime::new(7)));
        let bytes = Bookmark { keep: NonZeroU64::new(8), ..bookmark(cut) }.to_bytes();
        let fields = [5_u64, 6, 2 | 3 << 32, 7].map(u64::to_le_bytes).concat();
        assert_eq!(bytes[..16], *b"SLMARK\0\0\x01\0\0\0\0\0\0\0");
        assert_eq!((&bytes[16..32], &bytes[32..48]), (&[0x11; 16][..], &[0x22; 16][..]));
        assert_eq!(bytes[48..80], fields);
        assert_eq!(&bytes[80..98], b"Before-upgrade_2.1");
        assert_eq!(bytes[144..148], 18_u32.to_le_bytes());
        assert_eq!((&bytes[148..152], &bytes[152..160]), (&[0; 4][..], &8_u64.to_le_bytes()[..]));
        let (consistency, writers) = (Consistency::Application, 0x102);
        let making = Making { consistency, writers, meeting: 9 };
        let bytes = Bookmark { making, ..bookmark(cut) }.to_bytes();
        assert_eq!(bytes[148..152], [2, 0, 2, 1]);
        assert_eq!(bytes[160..168], 9_u64.to_le_bytes());
    }

    #[test]
    fn a_point_or_a_name_that_cannot_be_is_refused() {
        let refused = |at: usize, byte: u8| {
            let mut bytes = bookmark(Cut::Base).to_bytes();
            bytes[at] = byte;
            seal(&mut bytes);
            Bookmark::read(&bytes)
        };
        assert_eq!(refused(64, 3), Err(FormatError::Content("point")));
        assert_eq!(refused(68, 1), Err(FormatError::Content("point")));
        assert_eq!(refused(80, b'/'), Err(FormatError::Content("name")));
        assert_eq!(refused(143, b'x'), Err(FormatError::Content("name")));
        assert_eq!(refused(148, 3), Err(FormatError::Content("consistency")));
        assert_eq!(refused(144, 65), Err(FormatError::Content("name's length")));
        assert_eq!(Bookmark::read(&[0; 191]), Err(FormatError::Short));
    }

    #[test]
    fn a_name_has_a_file_whatever_its_case_and_no_other_file_has_a_name() {
        let volume = VolumeGuid([0x11; 16]);
        let name = BookmarkName::parse("Before").unwrap();
        let file = name.file(volume).file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(file, format!("{volume}.before.slmark"));
        assert_eq!(BookmarkName::from_file_name(&file), Some((volume, name)));
        let foreign = ["x.slmark", ".slmark", "lost+found"].map(str::to_owned);
        let similar = [format!("{volume}.a b.slmark"), format!("{volume}.Before.slmark")];
        for other in foreign.iter().chain(&similar) {
            assert_eq!(BookmarkName::from_file_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_name_is_short_and_plain() {
        let longest = "a".repeat(NAME_MAX);
        for good in ["a", "Before-upgrade", "v1.2_final", &longest] {
            assert!(BookmarkName::parse(good).is_some(), "{good}");
        }
        let too_long = "a".repeat(NAME_MAX + 1);
        for bad in ["", "1st", ".", "..", "a/b", "a\\b", "a b", "ä", "a\n", "-a", &too_long] {
            assert!(BookmarkName::parse(bad).is_none(), "{bad}");
        }
    }
}
