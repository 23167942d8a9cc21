//! Requests and answers.

use serde::{Deserialize, Serialize};
use snapless_link::question::{Bookmarked, Consistency, Points, Stretch};

/// What an administrator asks for. A volume is named as people name it: `{GUID}`, a drive letter
/// or a device path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Protect a volume.
    Protect {
        /// The volume.
        volume: String,
        /// The server, `host:port`; none for the one of the configuration, or else that at which
        /// the machine has enrolled.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        server: Option<String>,
        /// The consistency group; none for none, or for the one in which it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<String>,
    },
    /// Protect a volume no longer. The server keeps what it has.
    Unprotect {
        /// The volume.
        volume: String,
    },
    /// Send nothing of a volume until [`Request::Resume`].
    Pause {
        /// The volume.
        volume: String,
    },
    /// Send again what is captured of a volume.
    Resume {
        /// The volume.
        volume: String,
    },
    /// Send no more than so many bytes per second, of all volumes together.
    Throttle {
        /// The rate; none for as many as the link takes.
        bytes_per_second: Option<u64>,
    },
    /// Read the configuration again.
    Reload,
    /// Ask the server what can be restored of a volume.
    Points {
        /// The volume.
        volume: String,
    },
    /// Have the server give the present instant of a volume a name.
    Bookmark {
        /// The volume.
        volume: String,
        /// The name.
        name: String,
        /// How the instant is made.
        #[serde(default)]
        consistency: Consistency,
        /// If that fails: name a crash-consistent instant instead.
        #[serde(default)]
        or_crash: bool,
    },
    /// Ask the server what can be restored of all volumes of a consistency group at once.
    GroupPoints {
        /// The group.
        group: String,
    },
    /// Have the server give the present instant of all volumes of a consistency group a name.
    GroupBookmark {
        /// The group.
        group: String,
        /// The name.
        name: String,
    },
}

/// What the service answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is as was asked for.
    Done(Done),
    /// What can be restored, to [`Request::Points`].
    Points(Points),
    /// The instant has its name, to [`Request::Bookmark`].
    Bookmarked(Box<Made>),
    /// What can be restored of all volumes at once, to [`Request::GroupPoints`].
    GroupPoints(Box<GroupPoints>),
    /// The instant has its name, to [`Request::GroupBookmark`].
    GroupBookmarked(GroupBookmarked),
    /// Nothing has changed.
    Refused(Refusal),
}

/// A named instant, and how it was made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Made {
    /// What the server has named.
    #[serde(flatten)]
    pub named: Bookmarked,
    /// The VSS writers that were frozen at the instant.
    #[serde(default)]
    pub writers: Vec<String>,
    /// What was not as it was asked for, for people.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What can be restored of all volumes of a consistency group at once. Times are RFC 3339, of the
/// machine's wall clock.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupPoints {
    /// The group.
    pub group: String,
    /// Its volumes.
    pub volumes: Vec<GroupVolume>,
    /// The first instant that they have in common.
    pub first: Option<String>,
    /// The last one.
    pub latest: Option<String>,
    /// Stretches of instants that they have in common.
    pub points: Vec<Stretch>,
    /// The instants to which all of them were given this name at once.
    pub bookmarks: Vec<CommonBookmark>,
    /// Stretches, gaps and bookmarks that are left out, the oldest ones.
    pub left_out: u64,
}

/// A volume of a consistency group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupVolume {
    /// Its name on the machine.
    pub name: String,
    /// Its name at the server.
    pub volume: String,
    /// The last instant of it that can be restored.
    pub latest: Option<String>,
}

/// A named instant of all volumes of a consistency group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CommonBookmark {
    /// The name.
    pub name: String,
    /// The instant.
    pub time: String,
}

/// An instant that has got a name, of all volumes of a consistency group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupBookmarked {
    /// The group.
    pub group: String,
    /// The name.
    pub name: String,
    /// The instant, of the first volume.
    pub time: String,
    /// Its volumes.
    pub volumes: Vec<GroupSession>,
}

/// The session of a volume of a consistency group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupSession {
    /// The volume's machine, if the group is one of the server's, which may have several.
    #[serde(default)]
    pub machine: Option<String>,
    /// The volume's name on the machine.
    pub name: String,
    /// Its name at the server.
    pub volume: String,
    /// The session.
    pub session: String,
    /// The instant by its machine's wall clock.
    pub time: String,
}

/// What was done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Done {
    /// The volume's name at the server, a GUID in braces; none for [`Request::Reload`].
    pub volume: Option<String>,
    /// The server that the volume goes to, `host:port`; that of volumes that name no other one, if
    /// the request was about none.
    pub server: Option<String>,
    /// False if it was so before.
    pub changed: bool,
    /// The volume is paused.
    #[serde(default)]
    pub paused: bool,
    /// Volumes that are configured.
    pub volumes: usize,
    /// The schedule of the rate of sending; none if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Scheduled>,
}

/// What a schedule of the rate of sending says now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Scheduled {
    /// The place of the entry that is in force; none if none is, and the rate is that outside of
    /// the schedule.
    pub entry: Option<usize>,
    /// Most bytes that are sent per second now; none for as many as the link takes.
    pub bytes_per_second: Option<u64>,
}

/// Why nothing was done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// What kind of reason it is.
    pub kind: RefusalKind,
    /// The reason, and what to do, for people.
    pub text: String,
}

/// Kinds of reasons. One that this release does not know is [`RefusalKind::Other`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The request is not one, or of another version.
    Request,
    /// There is no such volume, or it is not configured.
    NoSuchVolume,
    /// The volume cannot be protected.
    Unprotectable,
    /// The configuration cannot be read, written or used.
    Configuration,
    /// The driver is not running, or has failed.
    Driver,
    /// The server cannot be asked.
    Server,
    /// The instant cannot be restored, or the server does not have it yet.
    NotRestorable,
    /// The name is taken, or is none.
    Name,
    /// The applications could not be prepared for the instant.
    NotConsistent,
    /// Anything else.
    #[serde(other)]
    Other,
}

impl Refusal {
    /// With a reason for people.
    pub fn new(kind: RefusalKind, text: impl ToString) -> Self {
        Self { kind, text: text.to_string() }
    }
}
