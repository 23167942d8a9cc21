//! Judges an access list in the text form of Windows (docs: "Security Descriptor String Format").
//!
//! Rule: what is not understood counts as everything being allowed.
#![cfg_attr(not(windows), cfg_attr(not(test), allow(dead_code, reason = "a list of Windows")))]

/// What the list is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The script.
    File,
    /// The folder that it is in, and in which it finds programs and libraries.
    Folder,
    /// A folder above that.
    Above,
}

/// SYSTEM, Administrators and the account that owns Windows' own files.
const TRUSTED: [&str; 5] = [
    "SY",
    "BA",
    "S-1-5-18",
    "S-1-5-32-544",
    "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464",
];
/// Kinds of entries that allow something.
const ALLOWING: [&str; 4] = ["A", "OA", "XA", "ZA"];
/// The entry is for what is made inside.
const INHERIT_ONLY: &str = "IO";
/// Rights by their names.
const RIGHTS: [(&str, u32); 21] = [
    ("GA", 0x1000_0000),
    ("GX", 0x2000_0000),
    ("GW", 0x4000_0000),
    ("GR", 0x8000_0000),
    ("RC", 0x2_0000),
    ("SD", 0x1_0000),
    ("WD", 0x4_0000),
    ("WO", 0x8_0000),
    ("FA", 0x1F_01FF),
    ("FR", 0x12_0089),
    ("FW", 0x12_0116),
    ("FX", 0x12_00A0),
    ("CC", 0x1),
    ("DC", 0x2),
    ("LC", 0x4),
    ("SW", 0x8),
    ("RP", 0x10),
    ("WP", 0x20),
    ("DT", 0x40),
    ("LO", 0x80),
    ("CR", 0x100),
];
/// To take it over: generic all, its owner, its list; to delete or rename it.
const TAKE_OVER: u32 = 0x1000_0000 | 0x8_0000 | 0x4_0000 | 0x1_0000;
/// To write, or add files to a folder; generic write.
const WRITE: u32 = 0x4000_0000 | 0x2;
/// To append.
const APPEND: u32 = 0x4;
/// To delete what is in a folder.
const DELETE_CHILD: u32 = 0x40;

impl Kind {
    /// With which rights another script can be put in the place.
    fn dangerous(self) -> u32 {
        match self {
            Self::File => TAKE_OVER | WRITE | APPEND,
            Self::Folder => TAKE_OVER | WRITE | DELETE_CHILD,
            Self::Above => TAKE_OVER | DELETE_CHILD,
        }
    }
}

/// Who, other than administrators, may change what the list (with its owner) is of.
pub(super) fn changed_by(text: &str, kind: Kind) -> Option<String> {
    let unknown = || Some("every account".to_owned());
    let Some((head, list)) = text.split_once("D:") else { return unknown() };
    let owner = head.strip_prefix("O:").and_then(|rest| rest.split("G:").next());
    match owner {
        Some(owner) if TRUSTED.contains(&owner) => {}
        Some(owner) if !owner.is_empty() => return Some(format!("its owner {owner}")),
        _ => return unknown(),
    }
    let Some((flags, entries)) = list.split_once('(') else {
        // An empty list allows nothing; no list allows everything.
        return if list.contains("NO_ACCESS_CONTROL") { unknown() } else { None };
    };
    if flags.contains("NO_ACCESS_CONTROL") {
        return unknown();
    }
    entries.split('(').find_map(|entry| allowed(entry, kind))
}

/// Whom an entry allows to change it.
fn allowed(entry: &str, kind: Kind) -> Option<String> {
    let entry = entry.split(')').next().unwrap_or_default();
    let fields: Vec<_> = entry.split(';').collect();
    let [class, flags, rights, _, _, who, ..] = fields[..] else {
        return Some("every account".to_owned());
    };
    let is_for_inside = pairs(flags).any(|flag| flag == INHERIT_ONLY);
    let is_harmless = !ALLOWING.contains(&class)
        || is_for_inside
        || TRUSTED.contains(&who)
        || mask(rights) & kind.dangerous() == 0;
    if is_harmless { None } else { Some(account(who)) }
}

/// The rights as bits; all if they are not understood.
fn mask(rights: &str) -> u32 {
    if let Some(number) = rights.strip_prefix("0x") {
        return u32::from_str_radix(number, 16).unwrap_or(u32::MAX);
    }
    pairs(rights)
        .map(|name| RIGHTS.iter().find(|(of, _)| *of == name).map_or(u32::MAX, |(_, bits)| *bits))
        .fold(0, |all, bits| all | bits)
}

/// A text in pieces of two characters.
fn pairs(text: &str) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes().chunks(2);
    bytes.map(|pair| str::from_utf8(pair).unwrap_or("?"))
}

/// Well-known accounts by their names.
fn account(who: &str) -> String {
    let name = match who {
        "WD" => "everyone",
        "BU" => "every user",
        "AU" => "every user who has signed in",
        "IU" => "every user at the machine",
        "CO" => "whoever made it",
        other => return other.to_owned(),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADMINISTRATORS: &str = "O:BAG:SYD:PAI(A;;FA;;;SY)(A;;FA;;;BA)";

    #[test]
    fn what_administrators_alone_may_change_is_trusted() {
        for list in [
            ADMINISTRATORS,
            "O:SYG:SYD:(A;;0x1f01ff;;;SY)(A;ID;0x1200a9;;;BU)(A;;FRFX;;;WD)",
            "O:S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464G:SYD:PAI(A;;FA;;;BA)",
            "O:BAD:(D;;FA;;;WD)(A;;FA;;;BA)(AU;SA;FA;;;WD)",
        ] {
            assert_eq!(changed_by(list, Kind::File), None, "{list}");
        }
        // As Windows has its root: users add folders there, and what they add is theirs.
        let root = "O:S-1-5-32-544G:SYD:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;0x1200a9;;;BU)\
                    (A;OICIIO;SDGXGWGR;;;AU)(A;;LC;;;AU)";
        for kind in [Kind::Folder, Kind::Above] {
            assert_eq!(changed_by(root, kind), None, "{kind:?}");
        }
    }

    #[test]
    fn what_others_may_change_is_not() {
        for (list, who) in [
            ("O:BAG:SYD:(A;;FA;;;BA)(A;ID;0x1301bf;;;AU)", "every user who has signed in"),
            ("O:BAG:SYD:(A;;FRFW;;;WD)", "everyone"),
            ("O:BAG:SYD:(A;;GA;;;S-1-5-21-1-2-3-1001)", "S-1-5-21-1-2-3-1001"),
            ("O:BAG:SYD:(A;;SD;;;BU)", "every user"),
            ("O:S-1-5-21-1-2-3-1001G:SYD:(A;;FA;;;BA)", "its owner S-1-5-21-1-2-3-1001"),
            ("O:BAG:SYD:NO_ACCESS_CONTROL", "every account"),
            ("O:BAG:SY", "every account"),
            ("", "every account"),
            ("O:BAG:SYD:(A;;Q;;;BU)", "every user"),
            ("O:BAG:SYD:(A;;FA)", "every account"),
            ("O:BAG:SYD:(XA;;FA;;;WD;(Member_of {SID(BA)}))", "everyone"),
        ] {
            assert_eq!(changed_by(list, Kind::File).as_deref(), Some(who), "{list}");
        }
    }

    #[test]
    fn in_a_folder_a_script_may_be_replaced_or_get_a_false_program_beside_it() {
        let add = "O:BAG:SYD:(A;;FA;;;BA)(A;;0x100006;;;BU)";
        assert_eq!(changed_by(add, Kind::Above), None, "what is added there replaces nothing");
        assert_eq!(changed_by(add, Kind::Folder).as_deref(), Some("every user"));
        for rights in ["DT", "SD", "WO", "WD", "GA"] {
            let list = format!("O:BAG:SYD:(A;;FA;;;BA)(A;;{rights};;;BU)");
            for kind in [Kind::Folder, Kind::Above] {
                assert!(changed_by(&list, kind).is_some(), "{rights}");
            }
        }
    }
}
