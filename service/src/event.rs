//! The events that the service tells Windows' event log, by number: `docs/events.md` is the same list for people.
//!
//! Rule: a number is never used for something else; what can be acted upon has a number of its own. Numbers lie from 1
//! to 1000, which is what the source's message file has texts for.

/// How an event is marked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// As wanted.
    Information,
    /// Worth a look.
    Warning,
    /// Something is not protected.
    Error,
}

/// What has happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Event {
    /// The service runs.
    ServiceStarted = 100,
    /// The service has stopped.
    ServiceStopped = 101,
    /// The service could not run.
    ServiceFailed = 102,
    /// Protection of a volume has begun.
    SessionStarted = 200,
    /// Protection goes on after a pause.
    SessionResumed = 201,
    /// The same, though the service had forgotten.
    SessionFound = 202,
    /// A session cannot go on; a new one begins.
    SessionReplaced = 203,
    /// A session was ended, and with it protection.
    SessionEnded = 204,
    /// The base image is complete.
    BaseComplete = 210,
    /// Writes go through uncaptured.
    GapBegan = 220,
    /// What went through was read again: points are restorable again.
    GapEnded = 221,
    /// The disk could not read a part of the volume.
    Unreadable = 230,
    /// The volume has grown past its session.
    Outgrown = 240,
    /// The volume has become shorter than its session.
    Shrunk = 241,
    /// The driver does not run, or cannot be reached.
    DriverAbsent = 300,
    /// The driver is of an older release.
    DriverOlder = 301,
    /// The driver has not the memory that a session needs.
    OutOfMemory = 302,
    /// The volume cannot be protected.
    Unprotectable = 303,
    /// The driver failed in another way.
    DriverFailed = 304,
    /// The server cannot be reached, or the link broke.
    LinkFailed = 310,
    /// What the service remembers cannot be read or written.
    StateFailed = 320,
    /// A bug.
    Bug = 399,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 22] = [
        Self::ServiceStarted,
        Self::ServiceStopped,
        Self::ServiceFailed,
        Self::SessionStarted,
        Self::SessionResumed,
        Self::SessionFound,
        Self::SessionReplaced,
        Self::SessionEnded,
        Self::BaseComplete,
        Self::GapBegan,
        Self::GapEnded,
        Self::Unreadable,
        Self::Outgrown,
        Self::Shrunk,
        Self::DriverAbsent,
        Self::DriverOlder,
        Self::OutOfMemory,
        Self::Unprotectable,
        Self::DriverFailed,
        Self::LinkFailed,
        Self::StateFailed,
        Self::Bug,
    ];

    /// Its number.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// How it is marked.
    pub fn severity(self) -> Severity {
        match self {
            Self::ServiceStarted
            | Self::ServiceStopped
            | Self::SessionStarted
            | Self::SessionResumed
            | Self::BaseComplete
            | Self::GapEnded => Severity::Information,
            Self::SessionFound
            | Self::SessionReplaced
            | Self::SessionEnded
            | Self::GapBegan
            | Self::Unreadable
            | Self::DriverOlder => Severity::Warning,
            Self::ServiceFailed
            | Self::Outgrown
            | Self::Shrunk
            | Self::DriverAbsent
            | Self::OutOfMemory
            | Self::Unprotectable
            | Self::DriverFailed
            | Self::LinkFailed
            | Self::StateFailed
            | Self::Bug => Severity::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = include_str!("../../docs/events.md");

    /// The rows of the list: number and severity.
    fn rows() -> Vec<(u16, &'static str)> {
        LIST.lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| ")?.split(" | ");
                Some((cells.next()?.trim().parse().ok()?, cells.next()?.trim()))
            })
            .collect()
    }

    #[test]
    fn the_list_for_people_has_every_event_in_order() {
        let events: Vec<_> = Event::ALL
            .into_iter()
            .map(|event| (event.number(), format!("{:?}", event.severity()).to_lowercase()))
            .collect();
        let rows: Vec<_> =
            rows().into_iter().map(|(number, mark)| (number, mark.to_owned())).collect();
        assert_eq!(rows, events);
    }

    #[test]
    fn numbers_rise_and_have_texts_in_the_message_file() {
        let numbers: Vec<_> = Event::ALL.into_iter().map(Event::number).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b));
        assert!(numbers.iter().all(|number| (1..=1000).contains(number)));
    }
}
