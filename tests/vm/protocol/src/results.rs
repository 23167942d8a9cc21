//! The result disk: a small FAT volume whose files outlive a line that breaks, and files that are
//! too large for the line.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::message::{Outcome, StepNumber};

/// A file in the root of the result disk, by which the guest finds it.
pub const MARK: &str = "SNAPLESS.RES";
/// One [`Kept`] a line, added as steps end.
pub const OUTCOMES: &str = "OUTCOMES.TXT";
/// The folder of files.
pub const FILES: &str = "FILES";
/// The label of the volume, of at most eleven letters.
pub const LABEL: [u8; 11] = *b"SNAPLESSRES";

/// How a step ended, as the guest keeps it on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Which step.
    pub step: StepNumber,
    /// How.
    pub outcome: Outcome,
}

/// Reads the outcomes of a result disk. A line that was torn when the machine stopped is left out.
pub fn kept(text: &str) -> Vec<Kept> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// True if the result disk is at this folder.
pub fn is_at(folder: &Path) -> bool {
    folder.join(MARK).is_file()
}

/// Bytes as text for a message.
pub fn to_text(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// The bytes of a text in a message.
pub fn from_text(text: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;
    use crate::message::{FILE_PART, FromGuest};

    #[test]
    fn a_torn_line_of_outcomes_is_left_out() {
        let text = "{\"step\":0,\"outcome\":\"Passed\"}\n{\"step\":1,\"outc";
        assert_eq!(kept(text), [Kept { step: 0, outcome: Outcome::Passed }]);
    }

    #[test]
    fn the_longest_part_of_a_file_fits_a_line() {
        let bytes = vec![0xFF; FILE_PART];
        let (name, data) = ("x".repeat(100), to_text(&bytes));
        let part = FromGuest::File { step: u32::MAX, name, offset: u64::MAX, data };
        assert!(frame::encode(&part).is_ok());
        assert_eq!(from_text(&to_text(&bytes)).unwrap(), bytes);
    }
}
