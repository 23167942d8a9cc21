//! Lists a repository: volumes, sessions, and the points that can be restored.

mod verification;

use serde::Serialize;
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};

use crate::bookmarks::{Found, Shown};
use crate::error::{Error, Result};
use crate::fold;
use crate::format::session::SessionHeader;
use crate::reader::SessionReader;
use crate::repository::{Presence, Repository};
use crate::stop::StopFlag;
use crate::stream::StreamState;
use crate::time;
use crate::timeline::{self, At, PointRange};

pub use verification::Verification;

/// One volume.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Volume {
    /// Its GUID.
    pub volume: String,
    /// Its sessions, oldest first. Those without a sound header come first of all.
    pub sessions: Vec<Session>,
    /// What `restore --at latest` takes; `None` if no point of any session can be restored.
    pub latest: Option<Latest>,
    /// Its bookmarks, in order of their names.
    pub bookmarks: Vec<Shown>,
    /// What is wrong with the volume's directory as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Volume {
    /// The acknowledged streams of its sessions, oldest first, as far as they are sound.
    pub fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.sessions.iter().filter_map(|session| session.content.stream())
    }

    /// Bytes of these streams.
    pub fn stored_bytes(&self) -> u64 {
        self.streams().map(|stream| stream.stored_bytes).sum()
    }
}

/// The last point of a volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Latest {
    /// The session.
    pub session: String,
    /// The instant.
    pub time: String,
    /// The RPO: seconds from it until now.
    pub rpo_seconds: u64,
}

impl Latest {
    fn of(session: &Session) -> Option<Self> {
        let stream = session.content.stream()?;
        let (session, time) = (session.session.clone(), stream.latest.clone()?);
        Some(Self { session, time, rpo_seconds: stream.rpo_seconds? })
    }
}

/// One session.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Session {
    /// Its identity.
    pub session: String,
    /// The volume's shape; `None` if the session's header is damaged.
    #[serde(flatten)]
    pub shape: Option<Shape>,
    /// The stored stream.
    #[serde(flatten)]
    pub content: Content,
}

/// The volume's shape, from the session's header.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Shape {
    /// When the server first opened the session.
    pub created: String,
    /// Bytes of the volume at t0.
    pub length: u64,
    /// Bytes of a sector.
    pub sector_size: u32,
    /// Bytes of a block.
    pub block_size: u32,
}

/// The content of a session.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Content {
    /// Nothing has been acknowledged yet.
    Empty,
    /// The first sync runs.
    FirstSync(Stream),
    /// The stream ends in a gap.
    Gap(Stream),
    /// Every block is stored, and the stream does not end in a gap.
    Complete(Stream),
    /// The stored stream is damaged, or gone.
    Damaged {
        /// How.
        error: String,
        /// Every stretch of instants before the damage; they can be restored.
        points: Vec<Points>,
    },
}

impl Content {
    /// The acknowledged stream, if there is one that is sound.
    pub fn stream(&self) -> Option<&Stream> {
        match self {
            Self::FirstSync(stream) | Self::Gap(stream) | Self::Complete(stream) => Some(stream),
            Self::Empty | Self::Damaged { .. } => None,
        }
    }
}

/// The acknowledged stream of a session.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Stream {
    /// When the session began.
    pub t0: Option<String>,
    /// True if the t0 image can be restored.
    pub t0_restorable: bool,
    /// The last instant that can be restored.
    pub latest: Option<String>,
    /// The RPO: seconds from it until now. The protected machine's clock gave the one, the server's
    /// gives the other.
    pub rpo_seconds: Option<u64>,
    /// The quiet in which the stream is: nothing was written since its last record.
    pub quiet_now: Option<QuietSince>,
    /// Every stretch of instants that can be restored.
    pub points: Vec<Points>,
    /// From where on every instant is kept; before it only retained points, each a stretch of its
    /// own. `None` if the session was never folded.
    pub whole_from: Option<String>,
    /// Blocks of the volume.
    pub blocks: u64,
    /// Blocks whose content is stored.
    pub blocks_known: u64,
    /// Bytes that no file had, or a paging, swap or hibernation file: the base image leaves them
    /// out, it has zeros.
    pub excluded_bytes: u64,
    /// Blocks of which the volume's disk could not read some bytes: an image of the last instant
    /// has zeros there. A block counts until it is written as a whole.
    pub blocks_with_holes: u64,
    /// The same of the t0 image.
    pub blocks_with_holes_at_t0: u64,
    /// Every gap.
    pub gaps: Vec<Gap>,
    /// Every change of the volume's length.
    pub resizes: Vec<Resized>,
    /// What came of the last verification of the copy; `None` if there was none, or if nothing
    /// sound tells it.
    pub verified: Option<Verification>,
    /// Epochs that ended.
    pub epochs: u64,
    /// The last acknowledged epoch.
    pub last_epoch: u64,
    /// The last acknowledged record.
    pub last_seq: u64,
    /// Records.
    pub records: u64,
    /// Bytes of the stored stream.
    pub stored_bytes: u64,
}

/// A stretch at the end of a stream in which nothing was written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct QuietSince {
    /// The instant of the last record.
    pub from: String,
    /// The last instant at which nothing newer was known.
    pub to: String,
    /// How long that was, by the clock that is never set.
    pub seconds: u64,
}

/// A stretch of instants that can be restored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Points {
    /// The first.
    pub from: String,
    /// The last.
    pub to: String,
}

impl Points {
    fn of(range: &PointRange) -> Self {
        Self::between((range.from.time(), range.to.time()))
    }

    pub(crate) fn between((from, to): (FileTime, FileTime)) -> Self {
        Self { from: time::to_text(from), to: time::to_text(to) }
    }
}

/// A change of the volume's length.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Resized {
    /// When the session went on with it: in a gap.
    pub at: String,
    /// Bytes of the volume from then on.
    pub length: u64,
}

/// A stretch of instants in which writes were not captured.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Gap {
    /// Its begin.
    pub from: String,
    /// Its end; `None` if the volume is still in the gap.
    pub to: Option<String>,
    /// Number of the [`snapless_types::GapReason`].
    pub reason: u16,
    /// The same in words.
    pub reason_text: &'static str,
}

/// Lists a repository. A damaged session is listed as damaged.
pub fn list(repository: &Repository, stop: &StopFlag) -> Result<Vec<Volume>> {
    let volumes = repository.volumes()?.into_iter();
    volumes.map(|volume| list_volume(repository, volume, stop)).collect()
}

/// [`list`] of one volume.
pub fn list_volume(repository: &Repository, volume: VolumeGuid, stop: &StopFlag) -> Result<Volume> {
    let mut sessions = Vec::new();
    for id in repository.session_ids(volume)? {
        let header = match repository.session(volume, id) {
            Ok(Presence::Header(header)) => Ok(header),
            // Its creation was interrupted: it holds no record.
            Ok(Presence::Nothing) => continue,
            Err(error) => Err(error),
        };
        sessions.push(session(repository, id, header, stop)?);
    }
    sessions.sort_by_key(|session| session.shape.as_ref().map(|shape| shape.created.clone()));
    let latest = sessions.iter().rev().find_map(Latest::of);
    let bookmarks = repository.bookmarks(Some(volume))?.iter().map(Found::shown).collect();
    let error = repository.volume_damage(volume).map(|error| error.to_string());
    Ok(Volume { volume: volume.to_string(), sessions, latest, bookmarks, error })
}

fn session(
    repository: &Repository,
    id: SessionId,
    header: Result<SessionHeader>,
    stop: &StopFlag,
) -> Result<Session> {
    let shape = header.as_ref().ok().map(|header| Shape {
        created: time::to_text(header.created),
        length: header.geometry.length(),
        sector_size: header.geometry.sector_size(),
        block_size: header.geometry.block_size(),
    });
    let content = header.and_then(|header| content(repository, header, stop));
    let content = match content {
        Err(Error::Stopped) => return Err(Error::Stopped),
        Err(error) => Content::Damaged { error: error.to_string(), points: Vec::new() },
        Ok(content) => content,
    };
    Ok(Session { session: id.to_string(), shape, content })
}

fn content(repository: &Repository, header: SessionHeader, stop: &StopFlag) -> Result<Content> {
    let reader = SessionReader::open(repository.store(), header)?;
    let survey = reader.survey_sound(stop)?;
    let (damage, state) = (survey.damage(), survey.state);
    let timeline = state.timeline();
    if let Some(damage) = damage {
        let points = timeline.ranges_before().iter().map(Points::of).collect();
        return Ok(Content::Damaged { error: damage.to_string(), points });
    }
    let stream = stream(&reader, &state)?;
    Ok(if timeline.last().is_none() {
        Content::Empty
    } else if timeline.open_gap_now().is_some() {
        Content::Gap(stream)
    } else if !timeline.first_sync_is_done() {
        Content::FirstSync(stream)
    } else {
        Content::Complete(stream)
    })
}

fn stream(reader: &SessionReader, state: &StreamState) -> Result<Stream> {
    let timeline = state.timeline();
    let history = reader.history();
    let resolve = |at| fold::resolve(history, timeline, at);
    let gap = |gap: &timeline::Gap| Gap {
        from: time::to_text(gap.begin.time()),
        to: gap.end.map(|end| time::to_text(end.time())),
        reason: gap.reason.to_wire(),
        reason_text: gap.reason.name(),
    };
    let resized =
        |it: &timeline::Resize| Resized { at: time::to_text(it.place.time()), length: it.length };
    let latest = resolve(At::Latest).ok().map(|point| point.time);
    Ok(Stream {
        t0: timeline.t0().map(|place| time::to_text(place.time())),
        t0_restorable: timeline.t0_is_whole() && resolve(At::T0).is_ok(),
        latest: latest.map(time::to_text),
        rpo_seconds: latest.map(|latest| time::now().seconds_since(latest)),
        quiet_now: timeline.quiet().map(|(from, to)| QuietSince {
            from: time::to_text(from.time),
            to: time::to_text(to.time),
            seconds: to.monotonic.saturating_sub(from.monotonic) / FileTime::TICKS_PER_SECOND,
        }),
        points: fold::ranges(history, timeline).into_iter().map(Points::between).collect(),
        whole_from: history.map(|history| time::to_text(history.boundary.place.time())),
        blocks: timeline.coverage().total,
        blocks_known: timeline.coverage().known,
        excluded_bytes: timeline.excluded_bytes(),
        blocks_with_holes: state.blocks_with_holes(),
        blocks_with_holes_at_t0: state.blocks_with_holes_at_t0(),
        gaps: timeline.gaps().iter().map(gap).collect(),
        resizes: timeline.resizes().iter().map(resized).collect(),
        verified: Verification::of(reader, state.geometry()),
        epochs: timeline.epochs(),
        last_epoch: reader.acknowledged().epoch.get(),
        last_seq: reader.acknowledged().seq.get(),
        records: timeline.records(),
        stored_bytes: reader.stored_bytes()?,
    })
}
