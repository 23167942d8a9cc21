//! `pins/<volume>.<session>.<command>.<process>.<time>.slpin`: a command that reads a session.
//!
//! An empty file, locked by the process that made it. Who that is stands in the name: on Windows
//! no other process reads a file that is locked, and a name is never half there.

use std::path::{Path, PathBuf};

use snapless_wire::id::{FileTime, SessionId, VolumeGuid};

/// The directory of all pins.
pub const PINS_DIR: &str = "pins";

const SUFFIX: &str = ".slpin";

/// Who holds a pin.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Holder {
    /// The volume.
    pub volume: VolumeGuid,
    /// The session.
    pub session: SessionId,
    /// The command that reads: letters, digits and `-`.
    pub command: String,
    /// The number of its process.
    pub process: u32,
    /// Since when, by the clock of its machine.
    pub since: FileTime,
}

impl Holder {
    /// The pin's file, from the repository's root.
    pub fn file(&self) -> PathBuf {
        let Self { volume, session, command, process, since } = self;
        let since = since.get();
        Path::new(PINS_DIR).join(format!("{volume}.{session}.{command}.{process}.{since}{SUFFIX}"))
    }

    /// The holder in such a file's name; `None` for any other file.
    pub fn from_file_name(file: &str) -> Option<Self> {
        let mut parts = file.strip_suffix(SUFFIX)?.split('.');
        let holder = Self {
            volume: VolumeGuid::parse(parts.next()?)?,
            session: SessionId::parse(parts.next()?)?,
            command: parts.next().filter(|command| is_command(command))?.to_owned(),
            process: parts.next()?.parse().ok()?,
            since: FileTime::new(parts.next()?.parse().ok()?),
        };
        // Not every text of a number is the one that a file has.
        let is_ours = parts.next().is_none() && holder.file() == Path::new(PINS_DIR).join(file);
        is_ours.then_some(holder)
    }
}

fn is_command(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_comes_back_and_no_other_name_is_one() {
        let holder = Holder {
            volume: VolumeGuid([0x11; 16]),
            session: SessionId([0x22; 16]),
            command: "verify-against".to_owned(),
            process: 4_711,
            since: FileTime::new(12),
        };
        let file = holder.file();
        let name = file.file_name().unwrap().to_str().unwrap();
        let (volume, session) = (holder.volume, holder.session);
        assert_eq!(name, format!("{volume}.{session}.verify-against.4711.12.slpin"));
        assert_eq!(Holder::from_file_name(name), Some(holder));
        for other in [
            format!("{volume}.{session}.verify.4711.12.slpin.new"),
            format!("{volume}.{session}.verify.04711.12.slpin"),
            format!("{volume}.{session}.verify.4711.12.13.slpin"),
            format!("{volume}.{session}..4711.12.slpin"),
            format!("{volume}.{session}.a b.4711.12.slpin"),
            format!("{volume}.verify.4711.12.slpin"),
            "lost+found".to_owned(),
        ] {
            assert_eq!(Holder::from_file_name(&other), None, "{other}");
        }
    }
}
