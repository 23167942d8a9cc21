//! What `list` and `points` say of the last verification of a copy.

use crate::list::Verification;

use super::console::{BAD, GOOD, POOR, bytes};

/// Extents that are told; `--json` has more of them.
const EXTENTS_MAX: usize = 4;

/// One line.
pub(super) fn text(found: &Verification) -> String {
    let mut parts = vec![format!("{}: {} are the same", found.time, bytes(found.same_bytes))];
    if found.differing_bytes > 0 {
        let listed: Vec<_> = found.differing.iter().take(EXTENTS_MAX).collect();
        let places = listed.iter().map(|it| format!("{} bytes at {}", it.len, it.offset));
        let places = places.collect::<Vec<_>>().join(", ");
        let more = if listed.len() < found.differing.len() { ", ..." } else { "" };
        let (blocks, differing) = (found.differing_blocks, bytes(found.differing_bytes));
        parts.push(format!(
            "{BAD}{blocks} block(s) differ{BAD:#}, {differing} in all ({places}{more})"
        ));
    } else {
        parts.push(format!("{GOOD}no block differs{GOOD:#}"));
    }
    for (count, what) in [
        (found.unclear_bytes, "differ where the copy has free space"),
        (found.overtaken_bytes, "were written to before they could be compared"),
        (found.left_out_bytes, "left out"),
    ] {
        if count > 0 {
            parts.push(format!("{} {what}", bytes(count)));
        }
    }
    if found.damaged {
        parts.push(format!(
            "{POOR}not all could be compared{POOR:#}: what is stored is damaged, run `verify`"
        ));
    }
    parts.join(", ")
}
