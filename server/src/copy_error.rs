//! Why a session cannot be copied into another repository, or a folder is not the export that it
//! must be. In each case nothing was changed.

use std::path::PathBuf;

use indicatif::BinaryBytes;
use snapless_types::Seq;
use snapless_wire::id::SessionId;

/// Why a copy is refused.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The target has more of the session than the source.
    #[error(
        "session {session} has records up to {target} in the target and up to {from} in the source: \
         the source was restored from an older state, or the machine sends to the target now; copy \
         the other way round, or leave this session out"
    )]
    Ahead {
        /// The session.
        session: SessionId,
        /// The last record of the source.
        from: Seq,
        /// The last record of the target.
        target: Seq,
    },
    /// In the target the session began on another volume.
    #[error(
        "session {0} began with another length, sector or block size in the target: it is another \
         session, or was changed; copy into a new repository"
    )]
    OtherGeometry(SessionId),
    /// The target has another history of the session.
    #[error(
        "session {session} has another history in the target, from record {at} or earlier: one of \
         the two repositories was restored from an older state, and then went on; restore from each \
         what it has, or copy into a new repository"
    )]
    Diverged {
        /// The session.
        session: SessionId,
        /// The last record of the target.
        at: Seq,
    },
    /// The source was folded, and the target has nothing of the session, or ends before that.
    #[error(
        "session {session} was folded: before record {boundary} the source has retained points and no \
         stream, and the target does not reach it; a copy brings streams only, so restore those \
         points instead, and copy a new session before it is folded"
    )]
    Folded {
        /// The session.
        session: SessionId,
        /// The last record of the boundary.
        boundary: Seq,
    },
    /// Source and target are the same repository.
    #[error("{} is both source and target: choose another target", .0.display())]
    Itself(PathBuf),
    /// The target's file system is too small.
    #[error(
        "{} has room for {}, and {} are to be copied: free some space, use a larger disk, or if its \
         file system compresses or can grow, use --no-space-check",
        .dir.display(), BinaryBytes(*.have), BinaryBytes(*.need)
    )]
    NoSpace {
        /// The target.
        dir: PathBuf,
        /// Bytes that it takes, indices included.
        need: u64,
        /// Bytes that are free.
        have: u64,
    },
    /// The source is no export.
    #[error(
        "{} is a repository and no export: copy from it with `snapless-server copy`", .0.display()
    )]
    NotAnExport(PathBuf),
    /// The target is a repository that an export did not begin.
    #[error(
        "{} is a repository that no export began: choose an empty directory, or copy into it with \
         `snapless-server copy`", .0.display()
    )]
    NotForExport(PathBuf),
    /// The target is an export of another repository.
    #[error("{} is an export of another repository, {of}: choose an empty directory", .dir.display())]
    OtherExport {
        /// The target.
        dir: PathBuf,
        /// Where the other one was.
        of: String,
    },
    /// The export was cut short.
    #[error(
        "the export in {} was not finished: run `snapless-server export` again where it was made, it \
         goes on where it ended; or take what there is with `snapless-server copy`", .0.display()
    )]
    Unfinished(PathBuf),
    /// A session of the export is not as it was when the export ended.
    #[error(
        "session {session} had records up to {want} when the export ended, and has them up to \
         {found}: files of the export were lost or put back; run `snapless-server export` again, or \
         take what there is with `snapless-server copy`"
    )]
    Changed {
        /// The session.
        session: SessionId,
        /// The last record that the export had.
        want: Seq,
        /// The last record that is there.
        found: Seq,
    },
}
