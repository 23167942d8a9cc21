//! A volume's past: what can be restored, and what is kept.

use serde::{Deserialize, Serialize};

use super::{Span, VolumeId};

/// A stretch in which writes were not captured.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Gap {
    /// Its begin.
    pub from_ms: u64,
    /// Its end; `None` while it lasts.
    pub to_ms: Option<u64>,
    /// Its reason, for programs.
    pub reason: String,
    /// Its reason in words.
    pub reason_text: String,
}

/// The timeline of a volume.
#[derive(Clone, Debug, Serialize)]
pub struct Timeline {
    /// The volume.
    pub volume: VolumeId,
    /// The server's clock.
    pub now_ms: u64,
    /// Begin of the first session.
    pub begin_ms: Option<u64>,
    /// The latest point.
    pub end_ms: Option<u64>,
    /// What can be restored.
    pub restorable: Vec<Restorable>,
    /// What cannot.
    pub gaps: Vec<Gap>,
    /// Named points.
    pub bookmarks: Vec<Bookmark>,
    /// The begin of each session.
    pub t0: Vec<Start>,
    /// What is kept.
    pub retention: Policy,
    /// Changed bytes over time.
    pub changes: Option<Changes>,
}

/// A stretch of instants that can be restored, both ends included.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Restorable {
    /// The first, rounded up.
    pub from_ms: u64,
    /// The last, rounded down.
    pub to_ms: u64,
    /// The session.
    pub session: String,
    /// One kept point.
    pub single: bool,
    /// Its exact time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// The begin of a session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Start {
    /// The session.
    pub session: String,
    /// When.
    pub time_ms: u64,
    /// Its image can be restored.
    pub restorable: bool,
}

/// Changed bytes over time.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Changes {
    /// Begin of the first bucket.
    pub from_ms: u64,
    /// Length of a bucket.
    pub bucket_ms: f64,
    /// Of each bucket.
    pub bytes: Vec<u64>,
    /// The whole history is counted.
    pub complete: bool,
    /// How much of it, from 0 to 1.
    pub counted: f64,
}

/// Changed bytes over the volume.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Heat {
    /// The volume.
    pub volume: VolumeId,
    /// Begin of the stretch of time.
    pub from_ms: u64,
    /// Its end.
    pub to_ms: u64,
    /// Bytes of the volume.
    pub length: Option<u64>,
    /// Parts of the volume.
    pub parts: u32,
    /// Of each part.
    pub bytes: Vec<u64>,
    /// The whole history is counted.
    pub complete: bool,
    /// How much of it, from 0 to 1.
    pub counted: f64,
}

/// A point that was asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Point {
    /// What was asked.
    pub at: String,
    /// It can be restored.
    pub restorable: bool,
    /// Its instant.
    pub time_ms: Option<u64>,
    /// Its exact instant.
    pub time: Option<String>,
    /// The session.
    pub session: Option<String>,
    /// Why there is none.
    pub why: Option<String>,
    /// The nearest one before.
    pub before_ms: Option<u64>,
    /// The nearest one after.
    pub after_ms: Option<u64>,
}

/// A named point.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Bookmark {
    /// Its name.
    pub name: String,
    /// Its instant.
    pub time_ms: Option<u64>,
    /// The session.
    pub session: Option<String>,
    /// When it was made.
    pub created_ms: Option<u64>,
    /// How long it is kept, if it says so itself.
    pub keep: Option<String>,
    /// What is wrong with it.
    pub error: Option<String>,
}

/// What is kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Policy {
    /// How long every instant is.
    pub keep_all: String,
    /// Points by the hour.
    pub hourly: u32,
    /// By the day.
    pub daily: u32,
    /// By the week.
    pub weekly: u32,
    /// By the month.
    pub monthly: u32,
    /// By the year.
    pub yearly: u32,
    /// How long a bookmark keeps its point.
    pub bookmarks: String,
    /// Where days begin.
    pub time_zone: String,
}

/// A number of points.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Slots(u32);

impl Slots {
    /// The most.
    pub const MAX: u32 = 100_000;

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Slots {
    type Error = &'static str;

    fn try_from(number: u32) -> Result<Self, &'static str> {
        if number <= Self::MAX { Ok(Self(number)) } else { Err("expected 100000 points at most") }
    }
}

impl From<Slots> for u32 {
    fn from(slots: Slots) -> Self {
        slots.0
    }
}

/// What a volume sets of its own; the others are the default's.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionChanges {
    /// See [`Policy::keep_all`].
    pub keep_all: Option<Span>,
    /// See [`Policy::hourly`].
    pub hourly: Option<Slots>,
    /// See [`Policy::daily`].
    pub daily: Option<Slots>,
    /// See [`Policy::weekly`].
    pub weekly: Option<Slots>,
    /// See [`Policy::monthly`].
    pub monthly: Option<Slots>,
    /// See [`Policy::yearly`].
    pub yearly: Option<Slots>,
    /// See [`Policy::bookmarks`].
    pub bookmarks: Option<Span>,
    /// See [`Policy::time_zone`].
    pub time_zone: Option<String>,
}

/// A volume's retention.
#[derive(Clone, Debug, Serialize)]
pub struct Retention {
    /// What it sets itself.
    pub own: RetentionChanges,
    /// What holds.
    pub effective: Policy,
}
