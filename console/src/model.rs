//! What the API says and takes: the types of `openapi.yaml`.
//!
//! Times are milliseconds since 1970-01-01 UTC, lengths are bytes. What comes in is checked by its
//! type: an id, an instant or a name that cannot be one does not deserialize, and a field that is
//! not known is refused.

mod acts;
mod clients;
mod estate;
mod text;
mod time;

pub use acts::{
    FileEntry, FileKind, Folder, Job, JobKind, JobResult, JobState, Mount, NewBookmark, NewMount,
    NewRestore, Transport,
};
pub use clients::{
    AuditEntry, Enrolment, EnrolmentRole, MadeToken, NewEnrolment, NewToken, Role, Session, SignIn,
    Token,
};
pub(crate) use clients::{VALID_DAYS_MAX, VALID_MINUTES_MAX};
pub use estate::{
    Alarm, AlarmKind, BlockMap, BlockState, CopyCheck, Event, History, Holds, Level, Live,
    MachineLine, Overview, OverviewChange, Progress, Queue, Rates, Sample, Server, State,
    StoredSession, Volume, VolumeLine,
};
pub use text::{
    At, BookmarkName, FileName, FilePath, HexId, MachineId, Password, Span, TokenName, UserName,
    VolumeId,
};
pub use time::{
    Bookmark, Changes, Gap, Heat, Point, Policy, Restorable, Retention, RetentionChanges, Slots,
    Start, Timeline,
};

/// The latest instant of a request: 2100-01-01.
pub const INSTANT_MAX_MS: u64 = 4_102_444_800_000;
/// The most parts of a map.
pub const PARTS_MAX: u32 = 4096;
