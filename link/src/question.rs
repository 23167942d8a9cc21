//! What a machine asks of the server besides sending: what can be restored of its own volumes, that
//! an instant gets a name, and that a point is opened, to be restored.
//!
//! A question is the first frame of a connection of its own, in the place of the Hello, and its
//! reply is the last one, unless a point was opened: then its content is fetched
//! ([`snapless_wire::fetch`]). Both are JSON: they are few, and people read them. Whether the
//! machine may ask is decided by its certificate (rule: a machine changes nothing but names of
//! points, reads content only while the server's administrator allows it, and both of its own
//! volumes only).

use serde::{Deserialize, Serialize};

/// Stretches of instants and gaps in a reply, together: older ones are left out, and counted.
pub const STRETCHES_MAX: usize = 2_000;
/// Bookmarks that machines make of a volume; an administrator of the server makes more.
pub const BOOKMARKS_MAX: usize = 1_000;
/// Volumes that get a common bookmark at a time.
pub const GROUP_MAX: usize = 24;
/// What a consistency group's name is.
pub const GROUP_NAME: &str = "1 to 64 letters, digits, '-', '_' and '.', all of ASCII";
/// The longest question, in bytes.
pub const QUESTION_MAX: usize = 4 << 10;
/// The longest reply, in bytes.
pub const REPLY_MAX: usize = 1 << 20;

/// What is asked. A volume is named as in a Hello: by its GUID, which the server may know by
/// another one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
    /// What can be restored of a volume.
    Points {
        /// The volume.
        volume: String,
    },
    /// Give an instant of a volume a name, if it can be restored.
    Bookmark {
        /// The volume.
        volume: String,
        /// The session.
        session: String,
        /// The instant: ticks of 100 ns since 1601-01-01 UTC, on the machine's wall clock.
        time: u64,
        /// The name.
        name: String,
        /// How the instant was made. A server of an older release takes no other than
        /// [`Consistency::Crash`], which is left out.
        #[serde(default, skip_serializing_if = "Consistency::is_crash")]
        consistency: Consistency,
        /// How many VSS writers were frozen at the instant.
        #[serde(default, skip_serializing_if = "is_zero")]
        writers: u16,
    },
    /// Give an instant that volumes have in common a name: for all of them or for none.
    CommonBookmark {
        /// The volumes, [`GROUP_MAX`] at most.
        points: Vec<CommonPoint>,
        /// The instant, as of [`Question::Bookmark`]: for people, and for the retention policy.
        time: u64,
        /// The name.
        name: String,
    },
    /// What the server's clock shows ([`crate::meeting`]).
    Clock,
    /// Give one instant of all volumes of a group, which may be of several machines, a name: for
    /// all of them or for none.
    Meet {
        /// The group, by its name at the server.
        group: String,
        /// The machine's own volumes that it knows to be in the group, [`GROUP_MAX`] at most.
        volumes: Vec<String>,
        /// The name.
        name: String,
    },
    /// Take part in a meeting, and wait for its instant.
    Join {
        /// The meeting.
        meeting: u64,
        /// The volume.
        volume: String,
    },
    /// Say where the volume's stream ends, and wait until the instant has its name.
    End {
        /// The meeting.
        meeting: u64,
        /// The volume.
        volume: String,
        /// Where it ends.
        end: MeetingEnd,
    },
    /// Say that the volume takes no part in a meeting, which fails then.
    Leave {
        /// The meeting.
        meeting: u64,
        /// The volume.
        volume: String,
        /// Why, for people.
        why: String,
    },
    /// Open a point of a volume, whose content is fetched then.
    Restore {
        /// The volume.
        volume: String,
        /// The session; if `None`, the newest that has the point.
        session: Option<String>,
        /// The point, as people name it, or by the key of one that was opened before.
        at: String,
        /// True if it is such a key.
        is_key: bool,
    },
}

/// True for a name that a consistency group can have.
pub fn is_group_name(text: &str) -> bool {
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(is_name_byte)
}

/// How the applications were prepared for an instant.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// Not at all: the image is that of a power cut at the instant.
    #[default]
    Crash,
    /// By the scripts of the service's configuration.
    Scripts,
    /// By these scripts, and VSS had its writers frozen.
    Application,
}

impl Consistency {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Crash, Self::Scripts, Self::Application];

    /// Its name in JSON and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Scripts => "scripts",
            Self::Application => "application",
        }
    }

    /// True for [`Self::Crash`].
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    fn is_crash(&self) -> bool {
        *self == Self::Crash
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &u16) -> bool {
    *count == 0
}

/// What another release says of an instant's consistency: none if this one does not know it.
fn known<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Consistency>, D::Error> {
    let said = Option::<String>::deserialize(from)?;
    Ok(said.and_then(|said| Consistency::ALL.into_iter().find(|it| it.name() == said)))
}

/// Where a volume's stream had come to at an instant that volumes have in common.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommonPoint {
    /// The volume.
    pub volume: String,
    /// The session.
    pub session: String,
    /// The last record up to the instant.
    pub seq: u64,
}

/// What the server answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// What can be restored.
    Points(Points),
    /// The name was given.
    Bookmarked(Bookmarked),
    /// A point is open.
    Opened(Box<Opened>),
    /// The name was given to the instant of all volumes, in the order of the question.
    CommonBookmarked(Vec<Bookmarked>),
    /// What the server's clock shows, to [`Question::Clock`].
    Clock(u64),
    /// The instant of a meeting, by the server's clock, to [`Question::Join`].
    Cut(u64),
    /// The name was given to the instant of all volumes, to [`Question::Meet`].
    Met(Vec<Met>),
    /// It is noted, to [`Question::Leave`].
    Left,
    /// It was not done.
    Refused(Refused),
}

/// Why a question has no other reply.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// What kind of reason it is.
    pub kind: RefusedKind,
    /// The reason, and what to do, for people.
    pub text: String,
}

/// Kinds of reasons. One that this release does not know is [`RefusedKind::Other`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedKind {
    /// The question is none.
    Question,
    /// The server has nothing of this volume.
    NoSuchVolume,
    /// The instant cannot be restored.
    NotRestorable,
    /// The name is taken, or no more names can be given.
    Name,
    /// The server has no group of this name.
    NoGroup,
    /// The server's administrator has not allowed it.
    NotAllowed,
    /// Too many do the same at the moment.
    Busy,
    /// What is stored is damaged.
    Damaged,
    /// Anything else.
    #[serde(other)]
    Other,
}

/// What can be restored of a volume. Times are RFC 3339, of the machine's wall clock.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Points {
    /// The volume's name at the server, for its administrator.
    pub volume: String,
    /// The last instant that can be restored; none if none can.
    pub latest: Option<String>,
    /// The sessions, oldest first.
    pub sessions: Vec<Session>,
    /// The named instants, in order of their names.
    pub bookmarks: Vec<Bookmark>,
    /// Stretches, gaps and bookmarks that are left out, the oldest ones.
    pub left_out: u64,
}

/// A session of a volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Session {
    /// Its identity.
    pub session: String,
    /// `empty`, `first-sync`, `gap`, `complete` or `damaged`.
    pub state: String,
    /// When it began.
    pub t0: Option<String>,
    /// The volume as it was then can be restored.
    pub t0_restorable: bool,
    /// Stretches of instants that can be restored, each with both ends.
    pub points: Vec<Stretch>,
    /// Stretches that cannot.
    pub gaps: Vec<Gap>,
    /// Before this instant only points are left that the retention policy keeps.
    pub whole_from: Option<String>,
    /// What is damaged.
    pub error: Option<String>,
}

/// A stretch of instants.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stretch {
    /// The first.
    pub from: String,
    /// The last.
    pub to: String,
}

/// A stretch of instants that cannot be restored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Gap {
    /// Its begin.
    pub from: String,
    /// Its end; none if it has not ended.
    pub to: Option<String>,
    /// Why it began, for people.
    pub reason: String,
}

/// A named instant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bookmark {
    /// The name.
    pub name: String,
    /// The session.
    pub session: Option<String>,
    /// The instant.
    pub time: Option<String>,
    /// How its instant was made; none if the server does not say it.
    #[serde(default, deserialize_with = "known")]
    pub consistency: Option<Consistency>,
    /// The meeting at which it was made: bookmarks with the same one are of one instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meeting: Option<String>,
    /// What keeps it from being of use.
    pub error: Option<String>,
}

/// An instant that has got a name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bookmarked {
    /// The volume's name at the server, for its administrator.
    pub volume: String,
    /// The session.
    pub session: String,
    /// The name.
    pub name: String,
    /// The instant.
    pub time: String,
    /// How the server has noted that it was made; none of a server that notes no such thing.
    #[serde(default, deserialize_with = "known")]
    pub consistency: Option<Consistency>,
}

/// Where a volume's stream ends at the instant of a meeting.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeetingEnd {
    /// The session.
    pub session: String,
    /// The last record before the instant.
    pub seq: u64,
    /// When that was by the machine's wall clock: for people, and for the retention policy.
    pub time: u64,
}

/// A volume that has got the bookmark.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Met {
    /// Its machine, as people call it; none without TLS.
    pub machine: Option<String>,
    /// What its machine calls it.
    pub name: String,
    /// What it was given.
    pub made: Bookmarked,
}

/// A point whose content can be fetched.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Opened {
    /// The volume's name at the server, for its administrator.
    pub volume: String,
    /// The session.
    pub session: String,
    /// The instant, RFC 3339, of the machine's wall clock.
    pub time: String,
    /// What names this point and no other one of the session, to open it again.
    pub key: String,
    /// Bytes of the volume.
    pub length: u64,
    /// Bytes of its sectors.
    pub sector_size: u32,
    /// Bytes that the volume's disk could not read: zeros.
    pub unreadable_bytes: u64,
    /// Begin of the gap that has not ended, if the point is the last one before it.
    pub gap_since: Option<String>,
}

impl Question {
    /// Reads a frame's payload.
    ///
    /// # Errors
    /// Why it is no question, for its sender.
    pub fn read(payload: &[u8]) -> Result<Self, String> {
        if payload.len() > QUESTION_MAX {
            return Err(format!("a question has {QUESTION_MAX} bytes at most"));
        }
        serde_json::from_slice(payload).map_err(|why| format!("not a question: {why}"))
    }

    /// A frame's payload.
    pub fn to_bytes(&self) -> Vec<u8> {
        // There is no text that JSON cannot have.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Reply {
    /// Refuses in words.
    pub fn refused(kind: RefusedKind, text: impl ToString) -> Self {
        Self::Refused(Refused { kind, text: text.to_string() })
    }

    /// Reads a frame's payload; `None` if it is no reply.
    pub fn read(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }

    /// A frame's payload, of [`REPLY_MAX`] bytes at most.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        if bytes.len() <= REPLY_MAX {
            return bytes;
        }
        let why = "the reply is too long: ask the server's administrator";
        serde_json::to_vec(&Self::refused(RefusedKind::Other, why)).unwrap_or_default()
    }
}

impl Points {
    /// Leaves out what is older than the last [`STRETCHES_MAX`] stretches, and bookmarks past
    /// [`BOOKMARKS_MAX`].
    #[must_use]
    pub fn shortened(mut self) -> Self {
        let mut room = STRETCHES_MAX;
        let mut left_out = 0;
        for session in self.sessions.iter_mut().rev() {
            left_out += keep_last(&mut session.points, &mut room);
            left_out += keep_last(&mut session.gaps, &mut room);
        }
        let mut room = BOOKMARKS_MAX;
        left_out += keep_last(&mut self.bookmarks, &mut room);
        self.left_out += left_out;
        self
    }
}

/// Keeps the last ones, as many as there is room for; returns how many it has removed.
fn keep_last<T>(list: &mut Vec<T>, room: &mut usize) -> u64 {
    let removed = list.len().saturating_sub(*room);
    list.drain(..removed);
    *room -= list.len();
    removed as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_and_its_reply_are_pinned() {
        let (volume, session, name) = ("v".to_owned(), "s".to_owned(), "n".to_owned());
        let consistency = Consistency::Crash;
        let question =
            Question::Bookmark { volume, session, time: 7, name, consistency, writers: 0 };
        let bytes = question.to_bytes();
        let text = r#"{"ask":"bookmark","volume":"v","session":"s","time":7,"name":"n"}"#;
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), text);
        assert_eq!(Question::read(&bytes), Ok(question));
        let reply = Reply::refused(RefusedKind::NotRestorable, "t");
        let text = r#"{"refused":{"kind":"not_restorable","text":"t"}}"#;
        assert_eq!(String::from_utf8(reply.to_bytes()).unwrap(), text);
        assert_eq!(Reply::read(text.as_bytes()), Some(reply));
        let (volume, at) = ("v".to_owned(), "latest".to_owned());
        let question = Question::Restore { volume, session: None, at, is_key: false };
        let text = r#"{"ask":"restore","volume":"v","session":null,"at":"latest","is_key":false}"#;
        assert_eq!(String::from_utf8(question.to_bytes()).unwrap(), text);
        assert_eq!(Question::read(text.as_bytes()), Ok(question));
        let newer = r#"{"refused":{"kind":"moon","text":"t"}}"#;
        assert_eq!(Reply::read(newer.as_bytes()), Some(Reply::refused(RefusedKind::Other, "t")));
    }

    #[test]
    fn how_an_instant_was_made_is_told_and_an_end_of_another_release_is_understood() {
        for consistency in Consistency::ALL {
            let text = serde_json::to_string(&consistency).unwrap();
            assert_eq!(text, format!("\"{}\"", consistency.name()));
        }
        let text = r#"{"ask":"bookmark","volume":"v","session":"s","time":7,"name":"n","consistency":"application","writers":9}"#;
        let question = Question::read(text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(question.to_bytes()).unwrap(), text);
        let Question::Bookmark { consistency, writers, .. } = question else { panic!() };
        assert_eq!((consistency, writers), (Consistency::Application, 9));
        for (said, heard) in [
            ("", None),
            (r#","consistency":"moon""#, None),
            (r#","consistency":"scripts""#, Some(Consistency::Scripts)),
        ] {
            let text = format!(
                r#"{{"bookmarked":{{"volume":"v","session":"s","name":"n","time":"t"{said}}}}}"#
            );
            let Some(Reply::Bookmarked(made)) = Reply::read(text.as_bytes()) else { panic!() };
            assert_eq!(made.consistency, heard);
        }
    }

    #[test]
    fn what_is_no_question_is_refused_in_words() {
        let long = [b"{\"ask\":\"points\",\"volume\":\"".to_vec(), vec![b'v'; 5_000]].concat();
        for (payload, why) in [
            (&b"{\"ask\":\"remove\",\"volume\":\"v\"}"[..], "remove"),
            (b"{\"ask\":\"points\"}", "volume"),
            (b"{\"ask\":\"points\",\"volume\":\"v\",\"x\":1}", "x"),
            (b"", "EOF"),
            (&long, "bytes at most"),
        ] {
            let refused = Question::read(payload).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn a_long_history_is_told_from_its_end() {
        let at = |number: usize| number.to_string();
        let stretch = |number| Stretch { from: at(number), to: at(number) };
        let gap = |number| Gap { from: at(number), to: None, reason: "r".repeat(200) };
        let session = |count: usize| Session {
            session: at(count),
            state: "complete".to_owned(),
            t0: None,
            t0_restorable: true,
            points: (0..count).map(stretch).collect(),
            gaps: (0..count).map(gap).collect(),
            whole_from: None,
            error: None,
        };
        let mark = |number| Bookmark {
            name: at(number),
            session: None,
            time: None,
            consistency: None,
            meeting: None,
            error: None,
        };
        let points = Points {
            volume: "v".to_owned(),
            latest: None,
            sessions: vec![session(500), session(900)],
            bookmarks: (0..1_200).map(mark).collect(),
            left_out: 0,
        };
        let short = points.shortened();
        let [older, newer] = &short.sessions[..] else { panic!("two sessions") };
        assert_eq!((newer.points.len(), newer.gaps.len()), (900, 900));
        assert_eq!((older.points.len(), older.gaps.len()), (200, 0));
        assert_eq!(older.points[0], stretch(300));
        assert_eq!((short.bookmarks.len(), short.left_out), (1_000, 300 + 500 + 200));
        assert!(Reply::Points(short).to_bytes().len() < REPLY_MAX);
    }
}
