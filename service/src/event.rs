//! The events of the service in Windows' event log; `docs/events.md` describes each for the user.
//!
//! The build script makes the event source's message file of the list, as a resource of the
//! service's program. Rule: a number keeps its meaning forever, and events that need different
//! actions have different numbers.

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

macro_rules! events {
    ($($name:ident = $number:literal, $severity:ident, $meaning:literal;)*) => {
        /// What happened.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u16)]
        pub enum Event {
            $(#[doc = $meaning] $name = $number,)*
        }

        impl Event {
            /// Every event.
            pub const ALL: [Self; [$($number),*].len()] = [$(Self::$name),*];

            /// The level.
            pub fn severity(self) -> Severity {
                match self {
                    $(Self::$name => Severity::$severity,)*
                }
            }

            /// What has happened, whatever the event's own text says.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning,)*
                }
            }
        }
    };
}

events! {
    ServiceStarted = 100, Information, "the service is running";
    ServiceStopped = 101, Information,
        "the service stopped; the driver keeps its sessions until the next start";
    ServiceFailed = 102, Error,
        "the service cannot run, because of its configuration or its log folder";
    ConfigurationChanged = 103, Information,
        "the configuration has changed, by a command or `snapless reload`, and what runs \
         has followed it";
    SessionStarted = 200, Information, "a new session has begun: the volume is protected";
    SessionResumed = 201, Information, "a session continues, without a gap or with one";
    SessionFound = 202, Warning,
        "a session continues that the driver has and the service did not remember";
    SessionReplaced = 203, Warning,
        "a session cannot continue; a new one begins with a full first sync";
    SessionEnded = 204, Warning,
        "an administrator ended the session, or the volume was removed: it is no longer \
         protected";
    SessionVerified = 205, Warning,
        "a session continues after a restart, after a sleep in which its disk may have been \
         written to, or after driver and server were found to disagree: every block is read \
         and compared with the server's content, and what differs is sent; the text has the \
         reason and the blocks";
    SessionCaughtUp = 206, Information,
        "a session continues after an orderly restart: only what the server may lack is \
         read and compared, and what differs is sent; the text has its bytes";
    SessionCaughtUpAfterCrash = 207, Information,
        "a session continues after a crash: only what the server may lack is read and \
         compared, and what differs is sent; the text has its bytes";
    LogFailed = 208, Warning,
        "the disk failed the volume's write-intent log: after a crash every block is read, \
         until the session's next start";
    FirstSyncProgress = 209, Information,
        "a first sync has captured another quarter of the volume; the text has how much";
    BaseComplete = 210, Information, "the base image is complete: every block was captured once";
    GapBegan = 220, Warning,
        "a gap has begun, for the reason in the text; no instant can be restored until \
         event 221";
    GapEnded = 221, Information, "the gap has ended: instants can be restored again";
    CopyDiffers = 222, Error,
        "a verification has found that the copy is not what the volume is; the text has the \
         first places";
    Unreadable = 230, Warning,
        "the disk could not read a part of the volume; the text has its place in bytes and \
         sectors, and a replica has zeros there";
    Outgrown = 240, Warning,
        "the volume has grown: its session goes on with the new length, after a \
         verification";
    Shrunk = 241, Warning,
        "the volume has become shorter: its session goes on with the new length, after a \
         verification";
    DriverAbsent = 300, Error, "the driver is not running, or refuses access";
    DriverOlder = 301, Warning, "the loaded driver is older than the service; protection continues";
    OutOfMemory = 302, Error, "the driver cannot allocate the memory of a session";
    Unprotectable = 303, Error, "the volume cannot be protected, for the reason in the text";
    DriverFailed = 304, Error, "the driver failed in another way";
    StartsFailed = 305, Error,
        "the driver passes all requests through and protects nothing: the machine started \
         twice in a row without a program of Snapless reaching the driver";
    LinkFailed = 310, Error,
        "the server cannot be reached, refuses, or the link broke; the service tries again";
    Untrusted = 311, Error,
        "the machine is not enrolled, its certificate is refused, or another program \
         answers in the server's place; the service tries again";
    RenewalFailed = 312, Warning,
        "the machine's certificate cannot be renewed; the service tries again every hour";
    StateFailed = 320, Error, "the service cannot read or write its state folder";
    ChannelFailed = 321, Error,
        "the service cannot listen for `snapless`: another program has its pipe. Protection \
         goes on";
    NotConsistent = 330, Warning,
        "an instant was asked for with the applications prepared, and they could not be: the text \
         has the reason, and whether a bookmark was made all the same";
    Bug = 399, Error, "a bug ended an attempt; the service tries again";
}

impl Event {
    /// The event id, as Event Viewer shows it.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// The id of its message in the message file, which the event log records: with the level in
    /// the two highest bits.
    pub fn message_id(self) -> u32 {
        let severity = match self.severity() {
            Severity::Information => 1,
            Severity::Warning => 2,
            Severity::Error => 3,
        };
        severity << 30 | u32::from(self.number())
    }

    /// Its message: the event's own text, then its meaning.
    pub fn message(self) -> String {
        format!("%1%n%nMeaning: {}.", self.meaning().replace('%', "%%"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_types::GapReason;

    const LIST: &str = include_str!("../../docs/events.md");

    /// Number, severity and meaning of each row.
    fn rows() -> Vec<(u16, &'static str, &'static str)> {
        LIST.lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| ")?.split(" | ");
                Some((cells.next()?.trim().parse().ok()?, cells.next()?.trim(), cells.next()?))
            })
            .collect()
    }

    #[test]
    fn the_documentation_lists_every_event_in_order_with_its_meaning() {
        let levels = Event::ALL.map(|event| format!("{:?}", event.severity()).to_lowercase());
        let events: Vec<_> = Event::ALL
            .into_iter()
            .zip(&levels)
            .map(|(event, level)| (event.number(), level.as_str(), event.meaning()))
            .collect();
        assert_eq!(rows(), events);
    }

    #[test]
    fn the_documentation_lists_every_reason_of_a_gap() {
        for reason in GapReason::ALL {
            let row = format!("\n| `{}` | {} | ", reason.name(), reason.text());
            assert!(LIST.contains(&row), "{row}");
        }
    }

    #[test]
    fn numbers_ascend() {
        assert!(Event::ALL.map(Event::number).is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn the_level_of_an_event_is_in_the_id_of_its_message() {
        let ids = [Event::ServiceStarted, Event::GapBegan, Event::Bug].map(Event::message_id);
        assert_eq!(ids, [0x4000_0064, 0x8000_00DC, 0xC000_018F]);
    }
}
