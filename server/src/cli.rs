//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use snapless_wire::id::{SessionId, VolumeGuid};

use crate::compression::Compression;
use crate::disk_image::DiskFormat;
use crate::error::Result;
use crate::floor::MinFree;
use crate::gate::SESSIONS_MAX;
use crate::location::{Location, location};
use crate::point_name::PointName;
use crate::repository::Repository;
use crate::restore::Source;
use crate::seal::KeySource;
use crate::trust_cli::{TrustCommand, TrustPlace};

mod bookmark;
#[cfg(feature = "console")]
mod console;
mod copy;
mod group;
mod points;
mod retention;

pub use copy::{Copy, CopyOptions, Export, FromKey, Import, ToKey, Upgrade};

pub use bookmark::{BookmarkAdd, BookmarkCommand, BookmarkList, BookmarkRemove};
#[cfg(feature = "console")]
pub use console::{ConsoleCommand, ReadFiles, UserAdd, UserCommand};
pub use group::{GroupCommand, GroupList, GroupRemove, GroupSet};
pub use points::{Points, Stat};
pub use retention::{Compact, Gc, RetentionCommand, RetentionSet, RetentionShow};

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed; the message says what happened, to what, and what to do
  2    the command line is wrong
  3    the point cannot be restored; the message names the nearest ones
  4    damage was found
  5    restored, but the volume's disk could not read all of it: the image has zeros there
  6    `verify --against` found a difference
  130  stopped by Ctrl-C or SIGTERM; of a restore what is named is left, and the next one goes on";

/// Receives, stores, restores and verifies the streams of protected volumes.
#[derive(Parser, Debug)]
#[command(name = "snapless-server", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make a repository.
    Init(Init),
    /// Listen for services and store what they send.
    Serve(Serve),
    /// Write the image of one instant to a file or a block device.
    Restore(Restore),
    /// Serve one instant as a disk, over NBD.
    Mount(Mount),
    /// Show which parts of a volume may differ between two instants.
    Diff(Diff),
    /// Show volumes, sessions, and what can be restored.
    List(List),
    /// Show what of a volume can be restored, and what not and why.
    Points(Points),
    /// Show what takes the space.
    Stat(Stat),
    /// Name points of volumes.
    Bookmark {
        /// What to do.
        #[command(subcommand)]
        command: BookmarkCommand,
    },
    /// Groups of volumes, also of several machines, that get common bookmarks.
    Group {
        /// What to do.
        #[command(subcommand)]
        command: GroupCommand,
    },
    /// What is kept, and for how long.
    Retention {
        /// What to do.
        #[command(subcommand)]
        command: RetentionCommand,
    },
    /// Fold what is old, as the retention policy says.
    Compact(Compact),
    /// Remove files that nothing refers to.
    Gc(Gc),
    /// Read everything and check every checksum.
    Verify(Verify),
    /// No longer miss a session that was removed on purpose.
    Forget(Forget),
    /// Import a raw image, which the first sync of its volume need not send.
    Seed(Seed),
    /// Give an encrypted repository another key file or passphrase.
    Rekey(Rekey),
    /// Copy sessions into another repository: what that lacks of them.
    Copy(Copy),
    /// Copy sessions into a new repository on a disk that is shipped.
    Export(Export),
    /// Copy the sessions of an export, after a check that it is whole.
    Import(Import),
    /// Make what older releases did not: indices, maps, the kept state.
    Upgrade(Upgrade),
    /// Print a script that completes subcommands and options in a shell.
    #[command(after_help = "\
Examples:
  snapless-server completions bash > /usr/share/bash-completion/completions/snapless-server
  snapless-server completions zsh > /usr/local/share/zsh/site-functions/_snapless-server")]
    Completions {
        /// The shell.
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Write the manual pages, one of each subcommand.
    #[command(after_help = "\
Example:
  snapless-server man /usr/local/share/man/man1")]
    Man {
        /// The folder, which is made if it is missing; pages in it are replaced.
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
    /// Who may speak.
    #[command(flatten)]
    Trust(TrustCommand),
    /// Make, list and remove who may sign in to the console.
    #[cfg(feature = "console")]
    Console {
        /// What to do.
        #[command(subcommand)]
        command: ConsoleCommand,
    },
    /// Read files of a point for the console.
    #[cfg(feature = "console")]
    #[command(hide = true)]
    ReadFiles(ReadFiles),
}

/// `init`.
#[derive(Args, Debug)]
#[command(after_help = "\
Only this makes a repository: `serve` refuses a directory without one, as when its disk is not
mounted. What operating systems put into the root of every drive may be there, nothing else.

A URL names a prefix in an object store: s3://BUCKET/PREFIX, az://CONTAINER/PREFIX or
gs://BUCKET/PREFIX. Credentials come from the environment, under the names that the tools of these
stores use (AWS_ACCESS_KEY_ID, AZURE_STORAGE_ACCOUNT_NAME, GOOGLE_APPLICATION_CREDENTIALS, …). The
store is tried first: of 32 creations of one name at the same time exactly one must succeed.

Encryption and compression apply to the whole repository and cannot be changed later. Without the
key file or the passphrase all content of an encrypted repository is lost: keep a copy elsewhere. A
key file is the stronger of the two.

Examples:
  snapless-server init /srv/snapless
  snapless-server init --compression zstd /srv/snapless
  snapless-server init --encryption key-file=/etc/snapless/key --compression zstd /srv/snapless
  snapless-server init s3://backups/snapless")]
pub struct Init {
    /// Directory of the repository, missing or empty, or the URL of one in an object store.
    #[arg(value_name = "DIR|URL", value_parser = location())]
    pub repository: Location,
    /// Encrypt content (AES-256-GCM) with a key file, which is made if it is missing, or with a
    /// passphrase, the first line of a file.
    #[arg(
        long,
        value_name = "none|key-file=PATH|passphrase-file=PATH",
        default_value = "none",
        hide_default_value = true
    )]
    pub encryption: KeySource,
    /// Compress content that shrinks, at a level from 1 to 19 [default level: 3].
    #[arg(
        long,
        value_name = "none|zstd[=LEVEL]",
        default_value = "none",
        hide_default_value = true
    )]
    pub compression: Compression,
}

/// Where the key of an encrypted repository is.
#[derive(Args, Debug, Default)]
pub struct Key {
    /// The key file of an encrypted repository.
    #[arg(long, value_name = "PATH", env = "SNAPLESS_KEY_FILE", hide_env_values = true)]
    pub key_file: Option<PathBuf>,
    /// A file whose first line is the passphrase of an encrypted repository.
    #[arg(
        long,
        value_name = "PATH",
        env = "SNAPLESS_PASSPHRASE_FILE",
        hide_env_values = true,
        conflicts_with = "key_file"
    )]
    pub passphrase_file: Option<PathBuf>,
}

impl Key {
    /// Where the key is.
    pub fn source(&self) -> KeySource {
        KeySource::of(self.key_file.as_deref(), self.passphrase_file.as_deref())
    }

    /// Opens a repository for reading, with this key.
    ///
    /// # Errors
    /// As [`Location::open`] and [`Repository::unlock`].
    pub fn open(&self, repository: &Location) -> Result<Repository> {
        repository.open()?.unlock(&self.source())
    }
}

/// A repository, and its key.
#[derive(Args, Debug)]
pub struct Stored {
    /// Directory of the repository, or the URL of one in an object store.
    #[arg(long, value_name = "DIR|URL", value_parser = location())]
    pub repository: Location,
    /// Its key.
    #[command(flatten)]
    pub key: Key,
}

impl Stored {
    /// Opens it for reading.
    ///
    /// # Errors
    /// As [`Key::open`].
    pub fn open(&self) -> Result<Repository> {
        self.key.open(&self.repository)
    }
}

/// `serve`.
#[derive(Args, Debug)]
#[command(after_help = "\
Prints `listening on ADDRESS` when it is ready. Stops cleanly on Ctrl-C or SIGTERM.
RUST_LOG=warn|info|debug sets what it logs to standard error.
Machines connect over TLS and must have enrolled; see `snapless-server ca init` and `token create`.

Examples:
  snapless-server serve --listen 0.0.0.0:4850 --repository /srv/snapless
  snapless-server serve --listen 0.0.0.0:4850 --repository s3://backups/snapless \\
      --trust /etc/snapless/trust
  snapless-server serve --listen 127.0.0.1:0 --repository ./repository --insecure")]
pub struct Serve {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// The repository, and where its acts are noted.
    #[command(flatten)]
    pub place: TrustPlace,
    /// Its key.
    #[command(flatten)]
    pub key: Key,
    /// Speak without TLS, to whoever reaches the port; only on the loopback, for tests.
    #[arg(long)]
    pub insecure: bool,
    /// Most sessions at a time, one a protected volume. Each takes up to 16 MiB, and 4 bits a block
    /// of its volume at most.
    #[arg(long, value_name = "N", default_value_t = SESSIONS_MAX, value_parser = sessions)]
    pub sessions_max: usize,
    /// Space of the repository's disk that stays free: a size, a share of the disk, or the lower of
    /// both; 0 for none. With less, nothing is taken from services until there is more.
    #[arg(long, value_name = "SIZE|SHARE%", default_value = "1GiB,5%")]
    pub min_free: MinFree,
    /// Serve the console on this address too, over HTTPS: a page, an API, metrics, alarms. `console
    /// user add` makes who may sign in. Without a port of its own there is no console.
    #[cfg(feature = "console")]
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "insecure")]
    pub console: Option<SocketAddr>,
    /// The console's settings [default: `console.toml` in the folder of trust, if it is there].
    #[cfg(feature = "console")]
    #[arg(long, value_name = "FILE", requires = "console")]
    pub console_settings: Option<PathBuf>,
}

/// Where a point is: the volume in a repository, and maybe the session.
#[derive(Args, Debug)]
pub struct Point {
    /// The repository, and where its acts are noted.
    #[command(flatten)]
    pub place: TrustPlace,
    /// Its key.
    #[command(flatten)]
    pub key: Key,
    /// The volume, as `list` shows it.
    #[arg(long, value_name = "GUID", value_parser = volume)]
    pub volume: VolumeGuid,
    /// The session; without it, the newest that has the point, or that had begun at the time.
    #[arg(long, value_name = "ID", value_parser = session)]
    pub session: Option<SessionId>,
}

/// How an instant is named.
const WHEN: &str = "t0|latest|TIME|AGO|BOOKMARK";

impl Point {
    /// The image at an instant.
    ///
    /// # Errors
    /// The bookmark is missing, damaged, or of another session.
    pub fn source(&self, at: &PointName, repository: &Repository) -> Result<Source> {
        at.source(repository, self.volume, self.session)
    }
}

/// `restore`.
#[derive(Args, Debug)]
#[command(after_help = "\
Works while the server runs. A file is written beside the target and renamed when it is complete;
only its owner reads it, or who could read the file that it replaces. A link is followed.

A device is written in place. Its first and last MiB are written last. Until then, and for ever if
the restore is stopped or fails, the device begins with the text `SNAPLESS: HALF RESTORED`, and no
system finds a file system on it.

A restore to a raw image or a device that was stopped, killed, failed or lost power goes on when
it is run again for the same image. If the instant is another one by now, as `latest` may be,
--resume in place of --at goes on with the earlier one, and --restart discards it.

A virtual disk (qcow2, VHDX, VHD, VMDK, VDI: by the extension, or --format) is made by `qemu-img`,
4.0 or newer, and compared with the point before it gets its name.

Exit code 5 if the volume's disk could not read all of it: the image has zeros there, and the report
lists where.

Examples:
  snapless-server restore --repository /srv/snapless \\
      --volume 71a27cdd-812a-11d0-bec7-08002be2092f --at latest --to volume.img
  snapless-server restore --repository /srv/snapless \\
      --volume 71a27cdd-812a-11d0-bec7-08002be2092f --at before-upgrade --to volume.vhdx
  snapless-server restore --repository /srv/snapless \\
      --volume 71a27cdd-812a-11d0-bec7-08002be2092f --at 2026-11-23T14:00:00Z --to /dev/sdx --force")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Restore {
    /// The image.
    #[command(flatten)]
    pub point: Point,
    /// The instant: t0 (the begin of the session), latest, an RFC 3339 time, how long ago
    /// ("2h ago", by this machine's clock), or a bookmark.
    #[arg(long, value_name = WHEN, required_unless_present = "resume")]
    pub at: Option<PointName>,
    /// The image file, or a block device that is long enough.
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// The format of the image [default: by the extension; raw for any other name].
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<DiskFormat>,
    /// Do not compare a virtual disk with the point after it was made.
    #[arg(long)]
    pub no_compare: bool,
    /// Overwrite an existing file, or the device.
    #[arg(long)]
    pub force: bool,
    /// Write to a device whose sectors have another size than the volume's: Windows would see no
    /// file system there.
    #[arg(long)]
    pub other_sector_size: bool,
    /// Go on with the image that an interrupted restore of the volume to the same target has left,
    /// whatever its instant.
    #[arg(long, conflicts_with_all = ["at", "restart", "salvage"])]
    pub resume: bool,
    /// Discard what an interrupted restore to the same target has left, and begin anew.
    #[arg(long)]
    pub restart: bool,
    /// Make the image from what is there of a damaged session, and list what is not. Exit code 4 if
    /// anything is damaged or missing.
    #[arg(long)]
    pub salvage: bool,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// The port of NBD.
pub const NBD_PORT: u16 = 10809;

/// `mount`.
#[derive(Args, Debug)]
#[command(after_help = "\
Prints the address and commands to use it with, and serves until Ctrl-C or SIGTERM. Several clients
may use it at once. Works while the server runs. Who may open the socket may read the volume: it is
a Unix socket of this user alone, unless --listen names a port, which every user of this machine
reaches.

Examples:
  snapless-server mount --repository /srv/snapless \\
      --volume 71a27cdd-812a-11d0-bec7-08002be2092f --at \"10 minutes ago\"
  snapless-server mount --repository /srv/snapless \\
      --volume 71a27cdd-812a-11d0-bec7-08002be2092f --at latest --listen 127.0.0.1:10809")]
pub struct Mount {
    /// The image.
    #[command(flatten)]
    pub point: Point,
    /// The instant: t0 (the begin of the session), latest, an RFC 3339 time, how long ago
    /// ("2h ago", by this machine's clock), or a bookmark.
    #[arg(long, value_name = WHEN)]
    pub at: PointName,
    /// Listen on this address of the loopback; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Make a Unix socket here. Without this and --listen: in a new folder, on Windows
    /// 127.0.0.1:10809.
    #[arg(long, value_name = "FILE", conflicts_with = "listen")]
    pub socket: Option<PathBuf>,
    /// Let clients write. It goes into a temporary file (in $TMPDIR) that covers the image, and is
    /// gone when the mount ends.
    #[arg(long)]
    pub writable: bool,
    /// Print what is served, and where, as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `diff`.
#[derive(Args, Debug)]
#[command(after_help = "\
Reads no content unless --content is given: a part that was written again with the same bytes counts
as one that may differ. Works while the server runs.

Examples:
  snapless-server diff --repository /srv/snapless \\
      --volume 71a27cdd-812a-11d0-bec7-08002be2092f --from t0 --to latest
  snapless-server diff --repository /srv/snapless \\
      --volume 71a27cdd-812a-11d0-bec7-08002be2092f \\
      --from 2026-11-23T14:00:00Z --to 2026-11-23T15:00:00Z --content --json")]
pub struct Diff {
    /// The repository.
    #[command(flatten)]
    pub stored: Stored,
    /// The volume, as `list` shows it.
    #[arg(long, value_name = "GUID", value_parser = volume)]
    pub volume: VolumeGuid,
    /// The session of both instants; without it, of each the newest that has it, or that had begun
    /// at the time.
    #[arg(long, value_name = "ID", value_parser = session)]
    pub session: Option<SessionId>,
    /// The one instant: t0, latest, an RFC 3339 time, how long ago ("2h ago"), or a bookmark.
    #[arg(long, value_name = WHEN)]
    pub from: PointName,
    /// The other instant.
    #[arg(long, value_name = WHEN)]
    pub to: PointName,
    /// Read what may differ, and show what does.
    #[arg(long)]
    pub content: bool,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `list`.
#[derive(Args, Debug)]
#[command(after_help = "\
Lists what has been acknowledged; works while the server runs. `latest` and how long ago that was
(the RPO, `rpo_seconds` in JSON) go on while nothing is written to a volume whose service is
connected.

Examples:
  snapless-server list --repository /srv/snapless
  snapless-server list --repository /srv/snapless --json")]
pub struct List {
    /// The repository.
    #[command(flatten)]
    pub stored: Stored,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `verify`.
#[derive(Args, Debug)]
#[command(after_help = "\
Reads all that has been acknowledged, or what of it is selected; works while the server runs. Exit
code 4 if there is damage.

With --against it compares a point with a raw image or a device instead, sector by sector, and
names the ranges that differ. It leaves out what the point does not know: paging, swap and
hibernation files, and what the volume's disk could not read. Exit code 6 if anything differs.

Of an encrypted repository whose key is not given, it checks the checksums of what is stored, and
says so. --against needs the key.

Examples:
  snapless-server verify --repository /srv/snapless
  snapless-server verify --repository /srv/snapless \
      --volume 71a27cdd-812a-11d0-bec7-08002be2092f
  snapless-server verify --repository /srv/snapless \
      --volume 71a27cdd-812a-11d0-bec7-08002be2092f --at latest --against volume.img")]
pub struct Verify {
    /// The repository.
    #[command(flatten)]
    pub stored: Stored,
    /// One volume only, as `list` shows it.
    #[arg(long, value_name = "GUID", value_parser = volume)]
    pub volume: Option<VolumeGuid>,
    /// One session only.
    #[arg(long, value_name = "ID", value_parser = session)]
    pub session: Option<SessionId>,
    /// Compare a point of the volume with this raw image or block device.
    #[arg(long, value_name = "FILE", requires_all = ["volume", "at"])]
    pub against: Option<PathBuf>,
    /// The instant to compare: t0, latest, an RFC 3339 time, how long ago ("2h ago"), or a
    /// bookmark.
    #[arg(long, value_name = WHEN, requires = "against")]
    pub at: Option<PointName>,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `forget`.
#[derive(Args, Debug)]
#[command(after_help = "\
A session whose directory was removed is damage, which `verify` and `list` name. This tells that it
was removed on purpose. It removes nothing itself; works while the server runs.

Examples:
  snapless-server forget --repository /srv/snapless \\
      --volume 71a27cdd-812a-11d0-bec7-08002be2092f --session 3f2504e0-4f89-11d3-9a0c-0305e82c3301")]
pub struct Forget {
    /// Directory of the repository, or the URL of one in an object store.
    #[arg(long, value_name = "DIR|URL", value_parser = location())]
    pub repository: Location,
    /// The volume, as `list` shows it.
    #[arg(long, value_name = "GUID", value_parser = volume)]
    pub volume: VolumeGuid,
    /// The session, as `list` shows it.
    #[arg(long, value_name = "ID", value_parser = session)]
    pub session: SessionId,
}

/// `seed`.
#[derive(Args, Debug)]
#[command(after_help = "\
The image is of the volume alone, from its first sector on, as `restore` writes it: an earlier restore,
a copy on a shipped disk, the volume's block device. It becomes a session of the volume, with one
point: the image as it is read, at the instant at which the import begins. It need not be current: a
first sync that begins afterwards sends what differs from it, and only names the rest. An earlier
session of the volume is used in the same way, without this command.

Not while `serve` runs on a repository in a directory. Do not write to the image meanwhile. Once the
first sync is complete nothing needs the session of the image: see docs/server.md for its removal.

Example:
  snapless-server seed --repository /srv/snapless \\
      --volume 71a27cdd-812a-11d0-bec7-08002be2092f --image /dev/sdx2")]
pub struct Seed {
    /// The repository.
    #[command(flatten)]
    pub stored: Stored,
    /// The volume, as `snapless volumes` and `list` show it.
    #[arg(long, value_name = "GUID", value_parser = volume)]
    pub volume: VolumeGuid,
    /// The raw image, or a block device.
    #[arg(long, value_name = "FILE")]
    pub image: PathBuf,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `rekey`.
#[derive(Args, Debug)]
#[command(after_help = "\
Touches no data: the key that encrypts them stays, and is wrapped anew. With a copy of the earlier
header of the repository, the old key file or passphrase still opens it. Not while `serve` runs. If
it is interrupted, the old or the new key is in force: keep both until it is done.

Examples:
  snapless-server rekey --repository /srv/snapless \\
      --key-file /etc/snapless/key --to key-file=/etc/snapless/key-2")]
pub struct Rekey {
    /// Directory of the repository, or the URL of one in an object store.
    #[arg(long, value_name = "DIR|URL", value_parser = location())]
    pub repository: Location,
    /// The key that is in force.
    #[command(flatten)]
    pub key: Key,
    /// A key file, which is made if it is missing, or a file whose first line is the passphrase.
    #[arg(long, value_name = "key-file=PATH|passphrase-file=PATH")]
    pub to: KeySource,
}

/// More threads than these are of no use on any machine.
const SESSIONS_LIMIT: usize = 1 << 16;

const WANT_VOLUME: &str = "expected the GUID of a volume, alone or as `mountvol` shows it: \
    \\\\?\\Volume{71a27cdd-812a-11d0-bec7-08002be2092f}\\";
const WANT_GUID: &str = "expected a GUID such as 71a27cdd-812a-11d0-bec7-08002be2092f";

fn sessions(text: &str) -> Result<usize, &'static str> {
    let number = text.parse().ok().filter(|number| (1..=SESSIONS_LIMIT).contains(number));
    number.ok_or("expected a number from 1 to 65536")
}

pub(crate) fn volume(text: &str) -> Result<VolumeGuid, &'static str> {
    VolumeGuid::parse_name(text).ok_or(WANT_VOLUME)
}

pub(crate) fn session(text: &str) -> Result<SessionId, &'static str> {
    SessionId::parse(text).filter(|session| !session.is_nil()).ok_or(WANT_GUID)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
