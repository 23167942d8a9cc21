//! What names a point of a session to a machine, to open the same one again: the instant and the
//! cut, as hexadecimal digits.

use snapless_trust::hex;
use snapless_wire::id::FileTime;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::cut::CutLe;
use crate::timeline::Cut;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    time: FileTime,
    cut: CutLe,
}

const _: () = assert!(size_of::<Raw>() == 24);

/// The key of a point.
pub fn to_text(time: FileTime, cut: Cut) -> String {
    let raw = Raw { time, cut: cut.into() };
    hex::encode(raw.as_bytes())
}

/// Reads a key; `None` if it is none.
pub fn parse(text: &str) -> Option<(FileTime, Cut)> {
    let bytes: [u8; size_of::<Raw>()] = hex::decode(text)?;
    let raw = Raw::read_from_bytes(&bytes).ok()?;
    Some((raw.time, raw.cut.get()?))
}

#[cfg(test)]
mod tests {
    use snapless_types::Seq;

    use super::*;
    use crate::clock::Instant;

    #[test]
    fn a_key_names_its_point_and_anything_else_is_none() {
        let time = FileTime::new(0x1234);
        let until = Cut::Until(Instant::new(3, FileTime::new(9)));
        for cut in [Cut::Base, Cut::Through(Seq::new(77)), until] {
            assert_eq!(parse(&to_text(time, cut)), Some((time, cut)));
        }
        let key = to_text(time, Cut::Base);
        assert_eq!(key, "341200000000000000000000000000000000000000000000");
        for bad in ["", &key[2..], &format!("{key}00"), &key.replace('3', "+"), "latest"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        // No cut has this kind.
        assert_eq!(parse(&format!("{}09{}", &key[..16], &key[18..])), None);
    }
}
