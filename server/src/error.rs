//! Errors of the server and its tools: what happened, to what, and what to do.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use snapless_link::LinkError;
use snapless_trust::TrustError;
use snapless_trust::identity::Role;
use snapless_trust::text::NotText;
use snapless_types::Seq;
use snapless_wire::frame::FrameError;
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};
use snapless_wire::record::RecordError;

use crate::bitmap::BLOCKS_MAX;
use crate::copy_error::CopyError;
use crate::crypto::CipherError;
use crate::format::FormatError;
use crate::format::bookmark::BookmarkName;
use crate::format::sealing::KeyId;
use crate::stream::Violation;
use crate::time;
use crate::timeline::{AT_FORMS, NotRestorable};

mod damage;

pub use damage::Damage;

/// The result of an operation of the server.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every failure of the server and its tools.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused an operation on a file.
    #[error("cannot {action} {}: {source}{}", .path.display(), hint(.source))]
    File {
        /// The operation, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file of prices is not understood.
    #[error(
        "{}: {why}; see docs/server.md for what a file of prices has, or use --prices default",
        .path.display()
    )]
    Prices {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The directory is not a repository.
    #[error(
        "{} is not a Snapless repository: it has no repository.snapless; check --repository and \
         that its disk is mounted, or make a new one with `snapless-server init`", .0.display()
    )]
    NotARepository(PathBuf),
    /// The file of a key or passphrase is of an encoding that is not read.
    #[error("{} cannot be read: {why}", .path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// Which encoding.
        why: NotText,
    },
    /// The repository is encrypted, and its key was not given.
    #[error(
        "{} is encrypted, and its {want} {id} is needed: name its file with {}",
        .dir.display(), option_of(.want)
    )]
    KeyNeeded {
        /// The repository.
        dir: PathBuf,
        /// "key file" or "passphrase".
        want: &'static str,
        /// Which one.
        id: KeyId,
    },
    /// The key that was given is not that of the repository.
    #[error(
        "{} is not the {want} of the repository, which is {want} {id}: find that one; without it \
         nothing can be read", .path.display()
    )]
    WrongKey {
        /// The file that was given.
        path: PathBuf,
        /// "key file" or "passphrase".
        want: &'static str,
        /// Which one.
        id: KeyId,
    },
    /// A key was given for a repository that is not encrypted.
    #[error(
        "{} is not encrypted, but a key was given: if it should be encrypted, it was replaced; if \
         not, leave the key out", .0.display()
    )]
    NotEncrypted(PathBuf),
    /// The key's file is in the repository.
    #[error(
        "{} is in the repository, where who has the one has the other: keep the key elsewhere",
        .0.display()
    )]
    KeyInRepository(PathBuf),
    /// The file is no key file.
    #[error("{} is not a key file, or was changed: find a sound copy of it", .0.display())]
    NotAKeyFile(PathBuf),
    /// The file of a passphrase has none.
    #[error("{} has no passphrase: its first line is empty", .0.display())]
    NoPassphrase(PathBuf),
    /// An encrypted repository needs a key file or a passphrase.
    #[error("name a key file or the file of a passphrase: without one there is no encryption")]
    KeyWanted,
    /// Nothing can be encrypted.
    #[error(transparent)]
    Cipher(#[from] CipherError),
    /// The compression library refused, which it does only without memory.
    #[error("cannot compress: {0}; give the machine more memory, or use a lower level")]
    Compressor(#[source] io::Error),
    /// The directory holds other files.
    #[error(
        "{} is neither empty nor a Snapless repository: it holds {other}; give init an empty \
         directory", .dir.display()
    )]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
        /// A name in it.
        other: String,
    },
    /// The directory is a repository already.
    #[error("{} is a Snapless repository already: nothing is left to do", .0.display())]
    Exists(PathBuf),
    /// Another server writes to the repository.
    #[error(
        "{} is in use by another snapless-server: stop that one, or choose another repository",
        .0.display()
    )]
    Locked(PathBuf),
    /// A file of the repository is damaged.
    #[error("{} is damaged at byte {offset}: {why}; run `snapless-server verify`", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The byte.
        offset: u64,
        /// The damage.
        why: Damage,
    },
    /// The session's stored stream is damaged, and its connection can only be told so.
    #[error(
        "session {session} is put aside, since it is damaged: {why}; what there is of it is kept: \
         start a new session"
    )]
    Aside {
        /// The session.
        session: SessionId,
        /// The damage.
        why: Box<Error>,
    },
    /// A file that is being written to cannot be found by its name.
    #[error(
        "{} was removed, moved or replaced while the server wrote to it: put it back, and keep \
         other programs away from the repository; what was written since is not acknowledged",
        .0.display()
    )]
    Moved(PathBuf),
    /// Another server writes the session.
    #[error(
        "another server has taken session {0} over: nothing more of it is stored here; connect the \
         machine to one server at a time"
    )]
    TakenOver(SessionId),
    /// A segment may have been stored or not.
    #[error("what was stored last of session {0} may be there or not: connect again")]
    InDoubt(SessionId),
    /// The store does not keep what is there when the same name is created again.
    #[error(
        "{} is no place for a repository: {why}; use a store that honours `If-None-Match: *` on \
         PUT, as Amazon S3, Azure and Google do", .store.display()
    )]
    Unsafe {
        /// The store.
        store: PathBuf,
        /// What it did.
        why: String,
    },
    /// The address of a repository cannot be used.
    #[error("{url} cannot be a repository: {why}")]
    Location {
        /// The address.
        url: String,
        /// Why not.
        why: String,
    },
    /// The console cannot be started, or its users cannot be changed.
    #[error("the console: {0}")]
    Console(String),
    /// Nothing tells where the authority of a repository of objects is.
    #[error("{0} keeps no certificate authority: name its folder on this machine with --trust DIR")]
    NoTrustFolder(String),
    /// No such volume.
    #[error("no volume {volume} in the repository, which has {}", names(.known))]
    NoVolume {
        /// The volume asked for.
        volume: VolumeGuid,
        /// The volumes of the repository.
        known: Vec<VolumeGuid>,
    },
    /// No such session.
    #[error("volume {volume} has no session {session}; see `snapless-server list`")]
    NoSession {
        /// The volume.
        volume: VolumeGuid,
        /// The session asked for.
        session: SessionId,
    },
    /// No such session in the whole repository.
    #[error("no volume has a session {0}; see `snapless-server list`")]
    NoSuchSession(SessionId),
    /// The volume has no session at all.
    #[error("volume {0} has no session yet; see `snapless-server list`")]
    NoSessions(VolumeGuid),
    /// The volume has no bookmark of this name.
    #[error(
        "volume {volume} has no bookmark {name}; it has {}. Apart from a bookmark, an instant is \
         {AT_FORMS}", bookmark_names(.known)
    )]
    NoBookmark {
        /// The volume.
        volume: VolumeGuid,
        /// The name asked for.
        name: BookmarkName,
        /// The volume's bookmarks.
        known: Vec<BookmarkName>,
    },
    /// The volume has a bookmark of this name.
    #[error(
        "volume {volume} has a bookmark {name} already: choose another name, or remove that one \
         with `snapless-server bookmark remove`"
    )]
    BookmarkExists {
        /// The volume.
        volume: VolumeGuid,
        /// The name.
        name: BookmarkName,
    },
    /// The bookmark is of another session than the one asked for.
    #[error("bookmark {name} is of session {of}, not of {asked}: leave --session out")]
    BookmarkSession {
        /// The name.
        name: BookmarkName,
        /// Its session.
        of: SessionId,
        /// The session asked for.
        asked: SessionId,
    },
    /// The session that is to be forgotten is there.
    #[error("session {session} is still there: remove {} first, then forget it", .dir.display())]
    StillThere {
        /// The session.
        session: SessionId,
        /// Its directory.
        dir: PathBuf,
    },
    /// More than one session could be salvaged from.
    #[error(
        "volume {volume} has {} sessions: choose one of them with --session: {}",
        .known.len(), names(.known)
    )]
    WhichSession {
        /// The volume.
        volume: VolumeGuid,
        /// Its sessions.
        known: Vec<SessionId>,
    },
    /// No record of a session can be read.
    #[error("nothing of session {0} can be read: there is nothing to salvage")]
    NothingToSalvage(SessionId),
    /// The point cannot be restored.
    #[error("session {session}: {why}{}", other_point(.other.as_ref()))]
    NotRestorable {
        /// The session.
        session: SessionId,
        /// Why not, and which points can be restored.
        why: NotRestorable,
        /// Another session of the volume, and its last point.
        other: Option<(SessionId, FileTime)>,
    },
    /// The target exists.
    #[error("{} exists: choose another name, or overwrite it with --force", .0.display())]
    TargetExists(PathBuf),
    /// The target is a file that has other names as well.
    #[error(
        "{} has {names} names (hard links), and only this one would stand for the image: with \
         --force it does, and the others keep what is there now", .path.display()
    )]
    TargetLinked {
        /// The target.
        path: PathBuf,
        /// Its names.
        names: u64,
    },
    /// The kernel uses the target's file.
    #[error("{} {by}", .path.display())]
    TargetInUse {
        /// The target.
        path: PathBuf,
        /// How, and how that ends.
        by: String,
    },
    /// The target is neither a file nor a block device.
    #[error("{} is neither a file nor a block device: choose another target", .0.display())]
    TargetKind(PathBuf),
    /// The target lies in the repository.
    #[error("{} lies in the repository, which holds nothing else: choose another target", .0.display())]
    TargetInRepository(PathBuf),
    /// What a point is to be compared with holds no bytes.
    #[error("{} is a folder: name a raw image or a block device", .0.display())]
    NotAnImage(PathBuf),
    /// No volume is as long as an image.
    #[error(
        "{} cannot be the image of a volume: it has {length} bytes, and a volume has whole sectors of \
         512, at least one and not too many; name a raw image of the volume alone", .path.display()
    )]
    ImageLength {
        /// The file.
        path: PathBuf,
        /// Its length.
        length: u64,
    },
    /// Another program put another file in the image's place.
    #[error(
        "{} is not the image: another program removed or replaced the file while it was restored; \
         keep other accounts out of the folder, and restore again", .0.display()
    )]
    TargetReplaced(PathBuf),
    /// The image is complete, but the disk failed to note its name.
    #[error(
        "the image is in {}, whole, but its name may not survive a power loss: {source}; check the \
         disk, and restore again", .path.display()
    )]
    NameInDoubt {
        /// The image.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another image is unfinished at the target.
    #[error(
        "{} has {done} of {length} bytes of another image, which an interrupted restore has left: \
         as of {}, of session {session}. Go on with that one with --resume in place of --at, or \
         discard it with --restart", .path.display(), time::to_text(*.time)
    )]
    Unfinished {
        /// The target.
        path: PathBuf,
        /// The session of the image.
        session: SessionId,
        /// The instant that it shows.
        time: FileTime,
        /// Bytes of it that are there.
        done: u64,
        /// All of its bytes.
        length: u64,
    },
    /// There is nothing to go on with.
    #[error(
        "nothing of an interrupted restore of volume {volume} is left for {}: name an instant with \
         --at", .path.display()
    )]
    NothingLeft {
        /// The target.
        path: PathBuf,
        /// The volume.
        volume: VolumeGuid,
    },
    /// The target is a link to nothing.
    #[error(
        "{} is a link to {}, which does not exist: restore to that name, or remove the link",
        .path.display(), .leads_to.display()
    )]
    TargetNowhere {
        /// The link.
        path: PathBuf,
        /// What it names.
        leads_to: PathBuf,
    },
    /// The target takes a raw image only.
    #[error("{} cannot be a virtual disk: {what}; choose --format raw", .path.display())]
    RawOnly {
        /// The target.
        path: PathBuf,
        /// Why.
        what: &'static str,
    },
    /// `qemu-img` cannot be run.
    #[error(
        "cannot run qemu-img, which makes virtual disks: {0}; install QEMU's tools (qemu-utils or \
         qemu-img), or restore a raw image with --format raw"
    )]
    NoQemuImg(#[source] io::Error),
    /// `qemu-img` is of a release that is not used.
    #[error(
        "qemu-img is too old to make virtual disks: it calls itself \"{found}\"; install {need} or \
         newer, or restore a raw image with --format raw"
    )]
    OldQemuImg {
        /// What it calls itself.
        found: String,
        /// The oldest release that is used.
        need: String,
    },
    /// `qemu-img` failed.
    #[error("qemu-img {what}: {said}; a raw image can be restored with --format raw")]
    QemuImg {
        /// What it was to do.
        what: &'static str,
        /// What it said.
        said: String,
    },
    /// A virtual disk is not the point of which it was made.
    #[error(
        "the virtual disk for {} is not the point, and was removed: {why}; check the disk that it is \
         on, and use another qemu-img", .path.display()
    )]
    DiskDiffers {
        /// The target.
        path: PathBuf,
        /// What differs.
        why: String,
    },
    /// The target device has other sectors than the volume.
    #[error(
        "{} has sectors of {have} bytes, the volume has sectors of {need}: Windows would see no file \
         system there; choose another device, or write it all the same with --other-sector-size",
        .path.display()
    )]
    OtherSectorSize {
        /// The device.
        path: PathBuf,
        /// Bytes of its logical sectors.
        have: u32,
        /// Bytes of the volume's sectors.
        need: u32,
    },
    /// The target device cannot hold the volume.
    #[error("{} has {have} bytes, the volume has {need}: choose a larger device", .path.display())]
    TargetTooShort {
        /// The device.
        path: PathBuf,
        /// Its length.
        have: u64,
        /// The volume's length.
        need: u64,
    },
    /// The point lies before the boundary of a fold, which has not kept it.
    #[error("what the session was before record {0} was folded: only retained points are left")]
    BeforeBoundary(Seq),
    /// The session cannot be folded there.
    #[error("the history cannot be folded at record {boundary}: {why}")]
    CannotFold {
        /// The boundary that was asked for.
        boundary: Seq,
        /// Why not, and what to do.
        why: &'static str,
    },
    /// Another process folds the session, or collects what a fold has left.
    #[error("session {0} is being folded by another process: try again when that has ended")]
    FoldRuns(SessionId),
    /// Another server folds a session that this one began to fold, or has folded it.
    #[error(
        "another server folds session {0} by now, or has folded it: what this one wrote for it is \
         garbage, which the next collection removes"
    )]
    OtherFolds(SessionId),
    /// The image consists of too many pieces.
    #[error("the image consists of pieces of more than 2^32 entries: no point like it is restored")]
    PointTooLarge,
    /// No thread can be started.
    #[error(
        "cannot start a thread: {0}; give the machine more memory, or raise its limit of threads"
    )]
    Thread(#[source] io::Error),
    /// The server cannot listen.
    #[error("cannot listen on {address}: {source}; choose another --listen address")]
    Listen {
        /// The address.
        address: String,
        /// The system's error.
        source: io::Error,
    },
    /// The link to the service is of no further use.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The payload of a frame is not what its kind says.
    #[error("the service sent a bad frame: {0}")]
    Frame(#[from] FrameError),
    /// A frame is out of place.
    #[error("the service sent a {found} frame instead of {expected}")]
    Turn {
        /// The kind of the frame.
        found: &'static str,
        /// The expected frame.
        expected: &'static str,
    },
    /// A frame holds bytes that are not records.
    #[error("the service sent a bad record: {0}")]
    Record(#[from] RecordError),
    /// Records follow an `EpochEnd` in one frame.
    #[error(
        "the service sent record {0} in one frame with the epoch's end before it: an EpochEnd must \
         end its frame; bring service and server to the same release"
    )]
    AfterEpochEnd(Seq),
    /// Content that the server said it has from before the session is not there.
    #[error(
        "the content of record {seq}, which this server said it has from an earlier session of the \
         volume, cannot be found there any more{}: the service sends it", because(.why.as_deref())
    )]
    Seed {
        /// The record.
        seq: Seq,
        /// Why it cannot be read; `None` if it is another one.
        why: Option<Box<Error>>,
    },
    /// The stream breaks a rule.
    #[error("the stream breaks a rule and was refused: {0}")]
    Violation(#[from] Violation),
    /// The volume has too many blocks.
    #[error("the volume has more than {BLOCKS_MAX} blocks: protect it with a larger block size")]
    TooManyBlocks,
    /// The volume of the session had other sectors or blocks before.
    #[error("session {0} began with another sector or block size: start a new session")]
    OtherGeometry(SessionId),
    /// The session's earlier connection did not end in time.
    #[error("session {0} is still served on an earlier connection: try again")]
    SessionBusy(SessionId),
    /// What is left of the session is being removed.
    #[error(
        "session {0} was removed, as the retention policy says, and another command still reads it: \
         start a new session, or try again when that has ended"
    )]
    Going(SessionId),
    /// The server serves the most sessions that it may.
    #[error(
        "the server already serves {0} sessions, its limit: start it with a higher \
         `snapless-server serve --sessions-max`, or use another server"
    )]
    Full(usize),
    /// Too many connections that have not said Hello.
    #[error("too many connections to the server have not said Hello: try again in a few seconds")]
    TooManyGreetings,
    /// The connection waited with its Hello, and made room for a newer one.
    #[error("too many connections have not said Hello, and this one waited longest: try again")]
    MadeRoom,
    /// A newer connection of the session took over.
    #[error("a newer connection of the same session took over")]
    Replaced,
    /// Trust: the authority, a token, a machine.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Without TLS on an address that other machines reach.
    #[error(
        "{0} can be reached from other machines, and without TLS whoever reaches it may write: leave \
         --insecure out, or listen on 127.0.0.1 or [::1]"
    )]
    InsecureAddress(SocketAddr),
    /// A mount at an address that other machines reach.
    #[error(
        "{0} can be reached from other machines, and whoever reaches it could read the volume: \
         listen on 127.0.0.1 or [::1], or use --socket"
    )]
    MountAddress(SocketAddr),
    /// The machine was revoked while it was connected.
    #[error(
        "this machine's certificate was revoked: ask the server's administrator for a token, then \
         run `snapless enroll --force`"
    )]
    Revoked,
    /// The certificate expired while the machine was connected.
    #[error("the certificate of this connection has expired: connect again with the renewed one")]
    CertificateOver,
    /// The machine's role may send nothing.
    #[error("an {0}'s certificate may not send records: enrol the machine with a client's token")]
    Role(Role),
    /// A machine fetches what is behind it, or past the end.
    #[error("a restore asks for bytes at {offset}, behind those at {reached} or past the end")]
    FetchOrder {
        /// Where.
        offset: u64,
        /// What it has asked for before ends there.
        reached: u64,
    },
    /// A policy is not understood.
    #[error(
        "{} is not understood, so nothing is removed: {why}; correct it, or set it with \
         `snapless-server retention set`", .path.display()
    )]
    Policy {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The groups are not understood.
    #[error(
        "{} is not understood, so no group has a common bookmark: {why}; correct it, or remove it \
         and make the groups again with `snapless-server group set`", .path.display()
    )]
    Groups {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A group cannot be as it was asked for, or there is none.
    #[error("{0}")]
    Group(String),
    /// A policy keeps less than must be kept.
    #[error(
        "a minimum lasts until {}, and the policy of {} can only be lengthened until then: {key} \
         would keep less than it did", time::to_text(*.until), of_volume(*.volume)
    )]
    Minimum {
        /// The key that would keep less.
        key: &'static str,
        /// The volume; `None` for the default.
        volume: Option<VolumeGuid>,
        /// When the minimum ends.
        until: FileTime,
    },
    /// A bookmark came too late for a fold that runs.
    #[error(
        "session {0} is being folded, and the point may not survive that: try again when that has \
         ended (`snapless-server gc --dry-run` shows it), or choose a newer point"
    )]
    Folding(SessionId),
    /// A server runs, which folds and collects.
    #[error(
        "{} is in use by a snapless-server, which folds and collects by itself as the policy says: \
         wait for it, or stop it to do that by hand; `gc --dry-run` and `retention show` work \
         meanwhile", .0.display()
    )]
    ServerFolds(PathBuf),
    /// A session cannot be copied into another repository, or an export is not what it must be.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The work was stopped on request.
    #[error("stopped on request")]
    Stopped,
    /// Ctrl-C cannot be handled.
    #[error("cannot handle Ctrl-C: {0}")]
    Signals(#[from] ctrlc::Error),
    /// The report could not be written.
    #[error("cannot print the report: {0}")]
    Report(#[source] io::Error),
}

impl Error {
    /// True if a file or directory is missing.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// True if something else stands in the place of a file.
    pub(crate) fn is_no_file(&self) -> bool {
        matches!(self, Self::Damaged { why: Damage::NotAFile(_), .. })
    }

    /// True if something else stands in the place of a directory.
    pub(crate) fn is_no_directory(&self) -> bool {
        matches!(self, Self::Damaged { why: Damage::NotADirectory, .. })
    }

    /// True if an object is there already, and is not what was to be stored.
    pub(crate) fn is_already_there(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
    }

    /// True for damage of what was stored, that no later attempt finds sound. A newer release may
    /// read what this one cannot: that is no damage.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { why, .. } => {
                !matches!(why, Damage::Format(FormatError::Version { .. }))
            }
            _ => false,
        }
    }

    /// True for an index that is not that of its segment, without which the stream can be read.
    pub(crate) fn is_of_index(&self) -> bool {
        matches!(self, Self::Damaged { why: Damage::Index, .. })
    }

    /// Damage, if this is that a file is missing which must be there.
    pub(crate) fn or_gone(self) -> Self {
        match &self {
            Self::File { path, .. } if self.is_not_found() => Self::damaged(path, 0, Damage::Gone),
            _ => self,
        }
    }

    /// An error of the operating system about a file: `action` is a verb.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.to_owned(), source }
    }

    /// Damage of a file of the repository.
    pub(crate) fn damaged(path: &Path, offset: u64, why: impl Into<Damage>) -> Self {
        Self::Damaged { path: path.to_owned(), offset, why: why.into() }
    }
}

/// The option that names the file of a key.
fn option_of(want: &str) -> &'static str {
    if want == "passphrase" { "--passphrase-file" } else { "--key-file" }
}

/// Why, in parentheses.
fn because(why: Option<&Error>) -> String {
    why.map_or_else(String::new, |why| format!(" ({why})"))
}

/// What to do about an error of the operating system, if that is not obvious.
fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull => "; free some space there",
        io::ErrorKind::PermissionDenied => "; check the permissions",
        io::ErrorKind::ResourceBusy => "; is it mounted or in use?",
        _ => "",
    }
}

fn other_point(other: Option<&(SessionId, FileTime)>) -> String {
    let point = |(session, time): &(SessionId, FileTime)| {
        let time = time::to_text(*time);
        format!("; the last point of session {session} is {time}: `--session {session}`")
    };
    other.map_or_else(String::new, point)
}

fn of_volume(volume: Option<VolumeGuid>) -> String {
    volume.map_or_else(|| "every volume".to_owned(), |volume| format!("volume {volume}"))
}

fn bookmark_names(of: &[BookmarkName]) -> String {
    if of.is_empty() { "none".to_owned() } else { names(of) }
}

fn names(of: &[impl ToString]) -> String {
    if of.is_empty() {
        return "no volume yet".to_owned();
    }
    let names: Vec<_> = of.iter().map(ToString::to_string).collect();
    names.join(", ")
}
