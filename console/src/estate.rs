//! What the console needs of a server.
//!
//! All calls may block; the console makes them on a bounded pool of threads. [`Estate::overview`]
//! and [`Estate::live`] are called once a second and must be cheap.

use std::io::Read;

use crate::fault::Result;
use crate::jobs::Progressing;
use crate::model::{
    At, AuditEntry, BlockMap, Bookmark, BookmarkName, Enrolment, FilePath, Folder, Heat, JobResult,
    Live, MachineId, NewBookmark, NewEnrolment, NewMount, NewRestore, Overview, Point, Retention,
    RetentionChanges, Server, Timeline, Volume, VolumeId,
};

/// A stretch of time; a missing end is that of what is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stretch {
    /// Its begin.
    pub from_ms: Option<u64>,
    /// Its end, not before the begin.
    pub to_ms: Option<u64>,
}

/// A file of a point.
pub struct Download {
    /// Its name, without a path.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// As many bytes. An error breaks the download off.
    pub content: Box<dyn Read + Send>,
}

/// An act that is about to be done.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    /// Who does it.
    pub who: &'a str,
    /// From where.
    pub peer: &'a str,
    /// What, in a word: `mount`, `sign-in`.
    pub act: &'a str,
    /// The machine that it concerns.
    pub machine: Option<&'a MachineId>,
    /// The particulars; never a secret.
    pub about: &'a str,
}

/// What a server protects, and what can be done with it.
pub trait Estate: Send + Sync + 'static {
    /// The server.
    fn server(&self) -> Result<Server>;

    /// Every machine and every volume, from memory.
    fn overview(&self) -> Result<Overview>;

    /// A volume in detail.
    fn volume(&self, volume: &VolumeId) -> Result<Volume>;

    /// What a volume's machine reported last, from memory.
    fn live(&self, volume: &VolumeId) -> Option<Live>;

    /// The states of a volume's blocks, in so many parts at most; from memory.
    fn map(&self, volume: &VolumeId, parts: u32) -> Result<BlockMap>;

    /// What can be restored. Without buckets no changes are told.
    fn timeline(&self, volume: &VolumeId, stretch: Stretch, buckets: u32) -> Result<Timeline>;

    /// How many bytes were written to each part of a volume.
    fn heat(&self, volume: &VolumeId, stretch: Stretch, parts: u32) -> Result<Heat>;

    /// The point that a text names, or why there is none.
    fn point(&self, volume: &VolumeId, at: &At) -> Result<Point>;

    /// Gives a point a name.
    fn add_bookmark(&self, volume: &VolumeId, new: &NewBookmark) -> Result<Bookmark>;

    /// Takes a name away.
    fn remove_bookmark(&self, volume: &VolumeId, name: &BookmarkName) -> Result<()>;

    /// Serves a point as a disk until it is stopped. Tells where by [`Progressing::mounted`].
    fn mount(&self, volume: &VolumeId, new: &NewMount, job: &Progressing) -> Result<JobResult>;

    /// Restores a point to a file.
    fn restore(&self, volume: &VolumeId, new: &NewRestore, job: &Progressing) -> Result<JobResult>;

    /// Checks what is stored of a volume.
    fn verify(&self, volume: &VolumeId, job: &Progressing) -> Result<JobResult>;

    /// A folder of a point, the entries behind a name.
    fn folder(
        &self,
        volume: &VolumeId,
        at: &At,
        path: &FilePath,
        after: Option<&str>,
    ) -> Result<Folder>;

    /// A file of a point.
    fn file(&self, volume: &VolumeId, at: &At, path: &FilePath) -> Result<Download>;

    /// What is kept of a volume.
    fn retention(&self, volume: &VolumeId) -> Result<Retention>;

    /// Sets what a volume keeps of its own.
    fn set_retention(&self, volume: &VolumeId, new: &RetentionChanges) -> Result<Retention>;

    /// Makes a token with which a machine enrols.
    fn make_enrolment(&self, new: &NewEnrolment) -> Result<Enrolment>;

    /// Refuses a machine for ever.
    fn revoke(&self, machine: &MachineId) -> Result<()>;

    /// The end of the audit log, newest first.
    fn audit(&self, limit: usize) -> Result<Vec<AuditEntry>>;

    /// Notes an act in the audit log, durably.
    ///
    /// # Errors
    /// It is not noted: the act is not done.
    fn note(&self, act: &Act<'_>) -> Result<()>;
}
