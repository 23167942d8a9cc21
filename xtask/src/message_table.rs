//! The message table of the service's program, from which Event Viewer takes the texts of events.
//!
//! The rule: it has a message for each event that the documentation lists, with the level and the
//! meaning that it says, and no other.

use std::fs;
use std::path::Path;

use snapless_version_info::messages::{self, Message};

use crate::error::{Error, IoContext, Result as TaskResult};
use crate::resources::{self, MESSAGES};

/// Levels as the documentation names them, by the two highest bits of an id.
const LEVELS: [&str; 4] = ["", "information", "warning", "error"];

/// An error unless a program that has been built has the messages of the events in this list
/// (`docs/events.md`).
pub fn require(program: &Path, list: &Path) -> TaskResult<()> {
    let bytes = fs::read(program).on("read", program)?;
    let list = fs::read_to_string(list).on("read", list)?;
    check(&bytes, &list)
        .map_err(|problem| Error::Malformed { file: program.to_path_buf(), problem })
}

fn check(image: &[u8], list: &str) -> Result<(), String> {
    let table = resources::first(image, MESSAGES).map_err(|error| error.to_string())?;
    let table = table.ok_or("it has no message table")?;
    compare(&messages::parse(table).ok_or("its message table is damaged")?, list)
}

/// Compares messages with the rows of a list: number, level, meaning.
fn compare(messages: &[Message], list: &str) -> Result<(), String> {
    let mut left: Vec<_> = messages.iter().collect();
    // By the numbers: the levels are in the highest bits.
    left.sort_by_key(|(id, _)| id & 0x3FFF_FFFF);
    let mut left = left.into_iter();
    for row in list.lines().filter_map(|line| line.strip_prefix("| ")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let [number, level, meaning, ..] = cells[..] else { continue };
        let Ok(number) = number.parse::<u16>() else { continue };
        let (id, text) = left.next().ok_or_else(|| format!("it has no message {number}"))?;
        let found = (id & 0x3FFF_FFFF, LEVELS[(id >> 30) as usize]);
        if found != (number.into(), level) {
            return Err(format!("message {number} ({level}) is {id:#010x}"));
        }
        if !text.starts_with("%1%n") || !text.contains(meaning) {
            return Err(format!("message {number} is `{text}`"));
        }
    }
    match left.next() {
        Some((id, _)) => Err(format!("the message {id:#010x} is of no event")),
        None if messages.is_empty() => Err("the list has no event".to_owned()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "| number | level | what happened | what to do |\n| --- | --- | --- | --- |\n\
                        | 220 | warning | a gap | see below |\n| 221 | information | no gap | |\n";

    /// In the order of a table.
    fn messages() -> Vec<Message> {
        [(0x4000_00DD, "%1%n%nMeaning: no gap."), (0x8000_00DC, "%1%n%nMeaning: a gap.")]
            .map(|(id, text)| (id, text.to_owned()))
            .to_vec()
    }

    #[test]
    fn the_messages_of_the_list_are_accepted() {
        assert_eq!(compare(&messages(), LIST), Ok(()));
    }

    #[test]
    fn one_that_is_missing_or_extra_or_another_is_named() {
        let mut less = messages();
        less.remove(0);
        assert!(compare(&less, LIST).unwrap_err().contains("no message 221"));
        let mut more = messages();
        more.push((0xC000_0190, "%1%n".to_owned()));
        assert!(compare(&more, LIST).unwrap_err().contains("0xc0000190 is of no event"));
        let mut milder = messages();
        milder[1].0 = 0x4000_00DC;
        assert!(compare(&milder, LIST).unwrap_err().contains("message 220 (warning)"));
        let mut other = messages();
        other[0].1 = "%1%n%nMeaning: it ends.".to_owned();
        assert!(compare(&other, LIST).unwrap_err().contains("message 221 is"));
        assert!(compare(&[], "").is_err(), "a list that is not read");
    }

    #[test]
    fn an_image_without_messages_is_refused() {
        assert!(check(b"no image", LIST).is_err());
    }
}
