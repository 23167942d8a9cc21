//! The events of the service in Windows' event log; `docs/events.md` describes each for the user.
//!
//! Rule: a number keeps its meaning forever, and events that need different actions have different
//! numbers. Numbers are 1 to 1000, the messages that the event source's message file has.

/// The source of the events in the application log: the service's name.
pub const SOURCE: &str = "SnaplessService";

/// The level of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// Normal operation.
    Information,
    /// Worth checking.
    Warning,
    /// Something is not protected, or soon will not be.
    Error,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Event {
    /// The service is running.
    ServiceStarted = 100,
    /// The service has stopped.
    ServiceStopped = 101,
    /// The service could not run.
    ServiceFailed = 102,
    /// The configuration has changed, and what runs has followed it.
    ConfigurationChanged = 103,
    /// Protection of a volume has begun.
    SessionStarted = 200,
    /// A session that the service remembers continues.
    SessionResumed = 201,
    /// A session that the service did not remember continues.
    SessionFound = 202,
    /// A session cannot continue; a new one begins.
    SessionReplaced = 203,
    /// A session was ended: the volume is no longer protected.
    SessionEnded = 204,
    /// A session continues, and every block is compared with the server's content.
    SessionVerified = 205,
    /// A session continues after an orderly restart, and what the server may lack is compared.
    SessionCaughtUp = 206,
    /// A session continues after a crash, and what the server may lack is compared.
    SessionCaughtUpAfterCrash = 207,
    /// The disk has failed a volume's write-intent log.
    LogFailed = 208,
    /// The base image is complete.
    BaseComplete = 210,
    /// A gap has begun.
    GapBegan = 220,
    /// A gap has ended: instants can be restored again.
    GapEnded = 221,
    /// A verification has found that the copy is not what the volume is.
    CopyDiffers = 222,
    /// The disk could not read a part of the volume.
    Unreadable = 230,
    /// The volume has grown past its session's table.
    Outgrown = 240,
    /// The volume has become shorter than its session.
    Shrunk = 241,
    /// The driver is not running, or refuses access.
    DriverAbsent = 300,
    /// The driver is of an older release.
    DriverOlder = 301,
    /// The driver cannot allocate the memory of a session.
    OutOfMemory = 302,
    /// The volume cannot be protected.
    Unprotectable = 303,
    /// The driver failed in another way.
    DriverFailed = 304,
    /// The driver protects nothing: earlier starts of the machine have failed.
    StartsFailed = 305,
    /// The server cannot be reached, or the link broke.
    LinkFailed = 310,
    /// The other end is not trusted, or does not trust this machine.
    Untrusted = 311,
    /// The machine's certificate cannot be renewed.
    RenewalFailed = 312,
    /// The service's state cannot be read or written.
    StateFailed = 320,
    /// The service cannot hear the command line.
    ChannelFailed = 321,
    /// A bug.
    Bug = 399,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 32] = [
        Self::ServiceStarted,
        Self::ServiceStopped,
        Self::ServiceFailed,
        Self::ConfigurationChanged,
        Self::SessionStarted,
        Self::SessionResumed,
        Self::SessionFound,
        Self::SessionReplaced,
        Self::SessionEnded,
        Self::SessionVerified,
        Self::SessionCaughtUp,
        Self::SessionCaughtUpAfterCrash,
        Self::LogFailed,
        Self::BaseComplete,
        Self::GapBegan,
        Self::GapEnded,
        Self::CopyDiffers,
        Self::Unreadable,
        Self::Outgrown,
        Self::Shrunk,
        Self::DriverAbsent,
        Self::DriverOlder,
        Self::OutOfMemory,
        Self::Unprotectable,
        Self::DriverFailed,
        Self::StartsFailed,
        Self::LinkFailed,
        Self::Untrusted,
        Self::RenewalFailed,
        Self::StateFailed,
        Self::ChannelFailed,
        Self::Bug,
    ];

    /// The event id.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// The level.
    pub fn severity(self) -> Severity {
        match self {
            Self::ServiceStarted
            | Self::ServiceStopped
            | Self::ConfigurationChanged
            | Self::SessionStarted
            | Self::SessionResumed
            | Self::SessionCaughtUp
            | Self::SessionCaughtUpAfterCrash
            | Self::BaseComplete
            | Self::GapEnded => Severity::Information,
            Self::SessionFound
            | Self::SessionReplaced
            | Self::SessionEnded
            | Self::SessionVerified
            | Self::LogFailed
            | Self::GapBegan
            | Self::Outgrown
            | Self::Shrunk
            | Self::Unreadable
            | Self::DriverOlder
            | Self::RenewalFailed => Severity::Warning,
            Self::ServiceFailed
            | Self::CopyDiffers
            | Self::DriverAbsent
            | Self::OutOfMemory
            | Self::Unprotectable
            | Self::DriverFailed
            | Self::StartsFailed
            | Self::LinkFailed
            | Self::Untrusted
            | Self::StateFailed
            | Self::ChannelFailed
            | Self::Bug => Severity::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_types::GapReason;

    const LIST: &str = include_str!("../../docs/events.md");

    /// Number and severity of each row.
    fn rows() -> Vec<(u16, &'static str)> {
        LIST.lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| ")?.split(" | ");
                Some((cells.next()?.trim().parse().ok()?, cells.next()?.trim()))
            })
            .collect()
    }

    #[test]
    fn the_documentation_lists_every_event_in_order() {
        let events: Vec<_> = Event::ALL
            .into_iter()
            .map(|event| (event.number(), format!("{:?}", event.severity()).to_lowercase()))
            .collect();
        let rows: Vec<_> =
            rows().into_iter().map(|(number, mark)| (number, mark.to_owned())).collect();
        assert_eq!(rows, events);
    }

    #[test]
    fn the_documentation_lists_every_reason_of_a_gap() {
        for reason in GapReason::ALL {
            let row = format!("\n| `{}` | {} | ", reason.name(), reason.text());
            assert!(LIST.contains(&row), "{row}");
        }
    }

    #[test]
    fn numbers_ascend_and_are_in_the_message_file() {
        let numbers: Vec<_> = Event::ALL.into_iter().map(Event::number).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b));
        assert!(numbers.iter().all(|number| (1..=1000).contains(number)));
    }
}
