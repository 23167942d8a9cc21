//! What an access list in its text form (SDDL) says of who may open a folder.

/// Owner: Administrators. No inherited entries. Full access for SYSTEM and Administrators to the
/// folder and its content.
pub const ADMINISTRATORS_ONLY: &str = "O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";

const ENTRIES: [&str; 2] = ["A;OICI;FA;;;SY", "A;OICI;FA;;;BA"];

/// True if `sddl` lets SYSTEM and Administrators in, and no others, whatever is above the folder.
/// Windows adds flags of its own to the list (`AI`).
pub fn is_administrators_only(sddl: &str) -> bool {
    let Some((owner, list)) = sddl.split_once("D:") else { return false };
    let (flags, entries) = list.split_once('(').unwrap_or((list, ""));
    let Some(entries) = entries.strip_suffix(')') else { return false };
    let mut left = ENTRIES.to_vec();
    let all_known = entries.split(")(").all(|entry| {
        let at = left.iter().position(|known| *known == entry);
        at.map(|at| left.remove(at)).is_some()
    });
    let is_theirs = ["O:BA", "O:SY"].iter().any(|known| owner.starts_with(known));
    is_theirs && flags.contains('P') && all_known && left.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_that_is_set_is_known_again() {
        for sddl in [
            ADMINISTRATORS_ONLY,
            "O:BAD:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)",
            "O:SYG:SYD:P(A;OICI;FA;;;BA)(A;OICI;FA;;;SY)",
        ] {
            assert!(is_administrators_only(sddl), "{sddl}");
        }
    }

    #[test]
    fn a_list_that_lets_others_in_or_locks_the_service_out_is_not() {
        for sddl in [
            "",
            "O:BA",
            "O:BAD:P",
            "O:BAD:NO_ACCESS_CONTROL",
            "O:BAD:(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)",
            "O:BAD:P(A;OICI;FA;;;SY)",
            "O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;SY)",
            "O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FR;;;BU)",
            "O:S-1-5-21-1-2-3-1001D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)",
        ] {
            assert!(!is_administrators_only(sddl), "{sddl}");
        }
    }
}
