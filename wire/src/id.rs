//! Identities and numbers that several formats carry, as they stand in a structure.
//!
//! Each is a type of its own, so that two numbers of the same width cannot be mixed up.

use core::fmt;

use snapless_types::{EpochId, Extent, Made, Seq, Tick};
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Implements a 16-byte identity that prints as a GUID.
macro_rules! guid {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
            FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
        )]
        #[repr(transparent)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// All bits zero: names nothing.
            pub const NIL: Self = Self([0; 16]);

            /// True for the identity that names nothing.
            pub fn is_nil(&self) -> bool {
                *self == Self::NIL
            }

            /// Reads the text form, with or without braces, in either case.
            ///
            /// Returns `None` if the text is not 32 hexadecimal digits grouped 8-4-4-4-12.
            pub fn parse(text: &str) -> Option<Self> {
                parse_guid(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_guid(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

guid! {
    /// A protected volume, as Windows names it: the GUID in `\\?\Volume{…}`.
    VolumeGuid
}
guid! {
    /// One protection of one volume, from its t0 on.
    SessionId
}
guid! {
    /// A volume's state area.
    AreaId
}

impl VolumeGuid {
    /// Reads a volume's name in each form that Windows and people write: the GUID alone, in braces,
    /// `Volume{…}`, and `\\?\Volume{…}\` with or without the last backslash, in either case.
    ///
    /// Returns `None` for anything else, and for the GUID that names nothing.
    pub fn parse_name(text: &str) -> Option<Self> {
        let behind = |prefix: &&str| {
            let (head, rest) = text.split_at_checked(prefix.len())?;
            head.eq_ignore_ascii_case(prefix).then_some(rest)
        };
        let guid = match VOLUME_PREFIXES.iter().find_map(behind) {
            // With the word in front the braces belong to it.
            Some(rest) => {
                let rest = rest.strip_suffix('\\').unwrap_or(rest);
                rest.starts_with('{').then_some(rest)?
            }
            None => text,
        };
        Self::parse(guid).filter(|guid| !guid.is_nil())
    }
}

/// What stands in front of the braces: for programs, for NT, and without a name space.
const VOLUME_PREFIXES: [&str; 4] = [r"\\?\Volume", r"\\.\Volume", r"\??\Volume", "Volume"];

/// Declares a 64-bit number as it stands in a structure: little-endian, without alignment.
macro_rules! little_endian {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
            FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
        )]
        #[repr(transparent)]
        pub struct $name(U64);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.get())
            }
        }
    };
    ($(#[$doc:meta])* $name:ident holds $number:ident) => {
        little_endian! { $(#[$doc])* $name }

        impl $name {
            /// The plain number.
            pub const fn get(self) -> $number {
                $number::new(self.0.get())
            }
        }

        impl From<$number> for $name {
            fn from(number: $number) -> Self {
                Self(U64::new(number.get()))
            }
        }
    };
}

little_endian! {
    /// A [`Seq`] in a structure.
    SeqLe holds Seq
}
little_endian! {
    /// An [`EpochId`] in a structure.
    EpochIdLe holds EpochId
}
little_endian! {
    /// An instant: 100 ns intervals since 1601-01-01 UTC, as Windows' `FILETIME` counts.
    FileTime
}

/// A [`Made`] in a structure.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct MadeLe {
    time: FileTime,
    monotonic: U64,
}

impl MadeLe {
    /// The plain times.
    pub fn get(self) -> Made {
        Made { time: self.time.get(), monotonic: Tick(self.monotonic.get()) }
    }
}

impl From<Made> for MadeLe {
    fn from(made: Made) -> Self {
        Self { time: FileTime::new(made.time), monotonic: U64::new(made.monotonic.0) }
    }
}

/// A run of bytes of the volume; of no bytes, if there is none.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct ExtentLe {
    offset: U64,
    len: U64,
}

impl ExtentLe {
    /// No bytes.
    pub const NONE: Self = Self { offset: U64::ZERO, len: U64::ZERO };

    /// These bytes.
    pub fn new(extent: &Extent) -> Self {
        Self { offset: U64::new(extent.offset()), len: U64::new(extent.len()) }
    }

    /// The bytes; `None` if there are none, or no volume has them.
    pub fn get(&self) -> Option<Extent> {
        Extent::new(self.offset.get(), self.len.get())
    }

    /// What may be no run of bytes.
    #[cfg(test)]
    pub(crate) fn unchecked(offset: u64, len: u64) -> Self {
        Self { offset: U64::new(offset), len: U64::new(len) }
    }

    /// Where they begin.
    pub(crate) fn offset(&self) -> u64 {
        self.offset.get()
    }

    /// How many they are.
    pub(crate) fn len(&self) -> u64 {
        self.len.get()
    }
}

/// Up to `N` runs of bytes of the volume, in any order: those that there are come first.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct Extents<const N: usize>([ExtentLe; N]);

impl<const N: usize> Extents<N> {
    /// None.
    pub const NONE: Self = Self([ExtentLe::NONE; N]);

    /// These; `None` if they are too many.
    pub fn new(extents: &[Extent]) -> Option<Self> {
        let mut all = Self::NONE;
        for (place, extent) in all.0.get_mut(..extents.len())?.iter_mut().zip(extents) {
            *place = ExtentLe::new(extent);
        }
        Some(all)
    }

    /// True if each is one that a volume can have, and none is behind a place without one.
    pub fn is_sound(&self) -> bool {
        let count = self.iter().count();
        self.0.iter().skip(count).all(|place| *place == ExtentLe::NONE)
    }

    /// The runs.
    pub fn iter(&self) -> impl Iterator<Item = Extent> + '_ {
        self.0.iter().map_while(ExtentLe::get)
    }
}

impl FileTime {
    /// The instant of this many intervals.
    pub const fn new(intervals: u64) -> Self {
        Self(U64::new(intervals))
    }

    /// The number of intervals.
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// 1970-01-01T00:00:00Z on this clock (docs: `FILETIME`, "Converting a `time_t` value").
    pub const UNIX_EPOCH: Self = Self::new(116_444_736_000_000_000);
    /// Intervals in one second.
    pub const TICKS_PER_SECOND: u64 = 10_000_000;

    /// Nanoseconds since 1970-01-01 UTC; negative before it.
    pub fn unix_nanos(self) -> i128 {
        (i128::from(self.get()) - i128::from(Self::UNIX_EPOCH.get())) * 100
    }

    /// Whole seconds from an earlier instant; 0 from a later one.
    pub const fn seconds_since(self, earlier: Self) -> u64 {
        self.get().saturating_sub(earlier.get()) / Self::TICKS_PER_SECOND
    }

    /// The instant `nanos` after 1970-01-01 UTC, rounded down to 100 ns; `None` if out of range.
    pub fn from_unix_nanos(nanos: i128) -> Option<Self> {
        let ticks = nanos.div_euclid(100) + i128::from(Self::UNIX_EPOCH.get());
        u64::try_from(ticks).ok().map(Self::new)
    }
}

impl fmt::Display for FileTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// Windows' mixed-endian order of a GUID's bytes, as the text form shows them.
const TEXT_ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

fn write_guid(bytes: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (position, &index) in TEXT_ORDER.iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            f.write_str("-")?;
        }
        write!(f, "{:02x}", bytes[index])?;
    }
    Ok(())
}

fn parse_guid(text: &str) -> Option<[u8; 16]> {
    let text = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}')?,
        None => text,
    };
    if text.len() != 36 {
        return None;
    }
    let mut bytes = [0; 16];
    let mut digits = 0;
    for (position, c) in text.chars().enumerate() {
        if matches!(position, 8 | 13 | 18 | 23) {
            if c != '-' {
                return None;
            }
            continue;
        }
        let digit = u8::try_from(c.to_digit(16)?).ok()?;
        let byte = bytes.get_mut(*TEXT_ORDER.get(digits / 2)?)?;
        *byte = (*byte << 4) | digit;
        digits += 1;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The GUID and bytes of Windows' volume class, in the order memory holds them.
    const VOLUME_CLASS: &str = "71a27cdd-812a-11d0-bec7-08002be2092f";

    #[test]
    fn a_guid_reads_and_prints_as_windows_shows_it() {
        let guid = VolumeGuid::parse(VOLUME_CLASS).unwrap();
        assert_eq!(guid.0[..8], [0xdd, 0x7c, 0xa2, 0x71, 0x2a, 0x81, 0xd0, 0x11]);
        assert_eq!(guid.to_string(), VOLUME_CLASS);
        assert_eq!(VolumeGuid::parse("{71A27CDD-812A-11D0-BEC7-08002BE2092F}"), Some(guid));
    }

    #[test]
    fn text_that_is_no_guid_is_refused() {
        for text in [
            "",
            "{71a27cdd-812a-11d0-bec7-08002be2092f",
            "71a27cdd-812a-11d0-bec7-08002be2092",
            "71a27cdd-812a-11d0-bec7-08002be2092g",
            "71a27cdd+812a-11d0-bec7-08002be2092f",
            "71a27cdd-812a-11d0-bec7-08002be2092é",
        ] {
            assert_eq!(SessionId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_volume_is_named_in_every_form_that_windows_prints() {
        let guid = VolumeGuid::parse(VOLUME_CLASS);
        for text in [
            VOLUME_CLASS,
            "71A27CDD-812a-11d0-BEC7-08002BE2092F",
            "{71a27cdd-812a-11d0-bec7-08002be2092f}",
            "Volume{71a27cdd-812a-11d0-bec7-08002be2092f}",
            "VOLUME{71A27CDD-812A-11D0-BEC7-08002BE2092F}",
            r"Volume{71a27cdd-812a-11d0-bec7-08002be2092f}\",
            r"\\?\Volume{71a27cdd-812a-11d0-bec7-08002be2092f}",
            r"\\?\Volume{71a27cdd-812a-11d0-bec7-08002be2092f}\",
            r"\\?\volume{71a27cdd-812a-11d0-bec7-08002be2092f}\",
            r"\\.\Volume{71a27cdd-812a-11d0-bec7-08002be2092f}",
            r"\??\Volume{71a27cdd-812a-11d0-bec7-08002be2092f}",
        ] {
            assert_eq!(VolumeGuid::parse_name(text), guid, "{text}");
        }
        for text in [
            "",
            "Volume",
            r"\\?\",
            r"\\?\Volume71a27cdd-812a-11d0-bec7-08002be2092f",
            r"\\?\Volume{71a27cdd-812a-11d0-bec7-08002be2092f}\\",
            r"\\?\Volume{71a27cdd-812a-11d0-bec7-08002be2092f}\x",
            r"71a27cdd-812a-11d0-bec7-08002be2092f\",
            "Volume{00000000-0000-0000-0000-000000000000}",
            "00000000-0000-0000-0000-000000000000",
            "é:",
        ] {
            assert_eq!(VolumeGuid::parse_name(text), None, "{text}");
        }
    }

    #[test]
    fn file_time_converts_to_unix_time_and_back() {
        assert_eq!(FileTime::UNIX_EPOCH.unix_nanos(), 0);
        let time = FileTime::new(FileTime::UNIX_EPOCH.get() + FileTime::TICKS_PER_SECOND);
        assert_eq!(time.unix_nanos(), 1_000_000_000);
        assert_eq!(FileTime::from_unix_nanos(1_000_000_000), Some(time));
        assert_eq!(FileTime::from_unix_nanos(i128::MAX / 2), None);
        assert_eq!(time.seconds_since(FileTime::UNIX_EPOCH), 1);
        assert_eq!(FileTime::UNIX_EPOCH.seconds_since(time), 0);
    }
}
