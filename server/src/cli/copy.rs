//! The command lines of `copy`, `export`, `import` and `upgrade`.

use std::num::NonZeroU64;
use std::path::PathBuf;

use bytesize::ByteSize;
use clap::{ArgGroup, Args};
use snapless_wire::id::{SessionId, VolumeGuid};

use super::{Key, Stored, session, volume};
use crate::compression::Compression;
use crate::location::{Location, location};
use crate::seal::KeySource;

/// `copy`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").args(["volumes", "all", "session"]).required(true).multiple(true))]
#[command(after_help = "\
Copies what the target lacks of each session, and checks every checksum. The source is only read,
and its server may run. The target must be a repository whose server does not run. Run it again to
go on after a stop, or to copy what came since. Bookmarks go with their sessions. A session that
the target has forgotten is left out, unless --session names it.

A session that cannot be copied keeps no other from it: exit code 1, or 4 if it is damaged. A
session of which the target has more, or another history, is left alone.

Each of the two may be encrypted, compressed, in a directory or in an object store. --key-file and
--passphrase-file are those of the source, --to-key-file and --to-passphrase-file of the target.

Examples:
  snapless-server copy --all --repository /srv/snapless --to /mnt/second/snapless
  snapless-server copy 71a27cdd-812a-11d0-bec7-08002be2092f \\
      --repository /srv/snapless --to /mnt/second/snapless --limit 50MiB --json
  snapless-server copy --all --repository /srv/snapless \\
      --to s3://backups/snapless --to-key-file /etc/snapless/second-key")]
pub struct Copy {
    /// The volumes, as `list` shows them.
    #[arg(value_name = "VOLUME", value_parser = volume)]
    pub volumes: Vec<VolumeGuid>,
    /// All volumes.
    #[arg(long, conflicts_with_all = ["volumes", "session"])]
    pub all: bool,
    /// One session only, as `list` shows it.
    #[arg(long, value_name = "ID", value_parser = session)]
    pub session: Option<SessionId>,
    /// The repository to copy from: its directory, or the URL of one in an object store.
    #[arg(long, value_name = "DIR|URL", value_parser = location())]
    pub repository: Location,
    /// Folder of its certificate authority and audit log [default: `trust` in its directory].
    #[arg(long, value_name = "DIR")]
    pub trust: Option<PathBuf>,
    /// Its key.
    #[command(flatten)]
    pub key: Key,
    /// The repository to copy into, as `init` made it: its directory or its URL.
    #[arg(long, value_name = "DIR|URL", value_parser = location())]
    pub to: Location,
    /// Its key.
    #[command(flatten)]
    pub to_key: ToKey,
    /// How.
    #[command(flatten)]
    pub options: CopyOptions,
}

/// Where the key of an encrypted target is.
#[derive(Args, Debug, Default)]
pub struct ToKey {
    /// The key file of an encrypted target.
    #[arg(long, value_name = "PATH")]
    pub to_key_file: Option<PathBuf>,
    /// A file whose first line is the passphrase of an encrypted target.
    #[arg(long, value_name = "PATH", conflicts_with = "to_key_file")]
    pub to_passphrase_file: Option<PathBuf>,
}

impl ToKey {
    /// Where the key is.
    pub fn source(&self) -> KeySource {
        KeySource::of(self.to_key_file.as_deref(), self.to_passphrase_file.as_deref())
    }
}

/// Where the key of an encrypted export is.
#[derive(Args, Debug, Default)]
pub struct FromKey {
    /// The key file of an encrypted export.
    #[arg(long, value_name = "PATH")]
    pub from_key_file: Option<PathBuf>,
    /// A file whose first line is the passphrase of an encrypted export.
    #[arg(long, value_name = "PATH", conflicts_with = "from_key_file")]
    pub from_passphrase_file: Option<PathBuf>,
}

impl FromKey {
    /// Where the key is.
    pub fn source(&self) -> KeySource {
        KeySource::of(self.from_key_file.as_deref(), self.from_passphrase_file.as_deref())
    }
}

/// What copies have in common.
#[derive(Args, Debug)]
pub struct CopyOptions {
    /// Copy at most so much a second, such as 50MiB.
    #[arg(long, value_name = "BYTES", value_parser = limit)]
    pub limit: Option<NonZeroU64>,
    /// Show what would be copied, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Begin also if the file system of the target's directory has too little free space.
    #[arg(long)]
    pub no_space_check: bool,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `export`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("which").args(["volumes", "all"]).required(true))]
#[command(after_help = "\
The target becomes a repository, which can also be listed, verified and restored from where it is.
It is complete when the command says so: `import` refuses it until then. Run it again to go on after
a stop, or to add what came since: an encrypted one with the same --encryption. Without that the
export is not encrypted, also if the repository is.

Examples:
  snapless-server export --all --repository /srv/snapless --to /mnt/usb/snapless
  snapless-server export --all --repository /srv/snapless --to /mnt/usb/snapless \\
      --encryption key-file=/etc/snapless/export-key --compression zstd
  snapless-server export 71a27cdd-812a-11d0-bec7-08002be2092f \\
      --repository /srv/snapless --to /mnt/usb/snapless --dry-run")]
pub struct Export {
    /// The volumes, as `list` shows them.
    #[arg(value_name = "VOLUME", value_parser = volume)]
    pub volumes: Vec<VolumeGuid>,
    /// All volumes.
    #[arg(long, conflicts_with = "volumes")]
    pub all: bool,
    /// The repository to copy from: its directory, or the URL of one in an object store.
    #[arg(long, value_name = "DIR|URL", value_parser = location())]
    pub repository: Location,
    /// Folder of its certificate authority and audit log [default: `trust` in its directory].
    #[arg(long, value_name = "DIR")]
    pub trust: Option<PathBuf>,
    /// Its key.
    #[command(flatten)]
    pub key: Key,
    /// Directory or URL of the export: missing, empty, or an earlier export of the same repository.
    #[arg(long, value_name = "DIR|URL", value_parser = location())]
    pub to: Location,
    /// Encrypt the export (AES-256-GCM) with a key file, which is made if it is missing, or with a
    /// passphrase, the first line of a file. Who imports it needs that.
    #[arg(
        long,
        value_name = "none|key-file=PATH|passphrase-file=PATH",
        default_value = "none",
        hide_default_value = true
    )]
    pub encryption: KeySource,
    /// Compress a new export, at a level from 1 to 19 [default level: 3].
    #[arg(
        long,
        value_name = "none|zstd[=LEVEL]",
        default_value = "none",
        hide_default_value = true
    )]
    pub compression: Compression,
    /// How.
    #[command(flatten)]
    pub options: CopyOptions,
}

/// `import`.
#[derive(Args, Debug)]
#[command(after_help = "\
Checks first that the export was finished and that each session is as long as it was then; each
checksum is checked while it is copied. Nothing of the export is changed. Run it again to go on
after a stop. --from-key-file and --from-passphrase-file are those of the export, --key-file and
--passphrase-file of the repository.

Examples:
  snapless-server import --from /mnt/usb/snapless --repository /srv/snapless
  snapless-server import --from /mnt/usb/snapless --from-key-file /root/export-key \\
      --repository s3://backups/snapless")]
pub struct Import {
    /// Some volumes only, as `list` shows them.
    #[arg(value_name = "VOLUME", value_parser = volume)]
    pub volumes: Vec<VolumeGuid>,
    /// Directory or URL of the export.
    #[arg(long, value_name = "DIR|URL", value_parser = location())]
    pub from: Location,
    /// Its key.
    #[command(flatten)]
    pub from_key: FromKey,
    /// The repository to copy into, as `init` made it: its directory, or the URL of one in an
    /// object store.
    #[arg(long, value_name = "DIR|URL", value_parser = location())]
    pub repository: Location,
    /// Its key.
    #[command(flatten)]
    pub key: Key,
    /// How.
    #[command(flatten)]
    pub options: CopyOptions,
}

/// `upgrade`.
#[derive(Args, Debug)]
#[command(after_help = "\
A server does the same in the background for the sessions that connect. The stored streams are as
they were, and the repository's server must not run. An older release that cannot read what a newer
one wrote says so.

Examples:
  snapless-server upgrade --repository /srv/snapless")]
pub struct Upgrade {
    /// The repository.
    #[command(flatten)]
    pub stored: Stored,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

fn limit(text: &str) -> Result<NonZeroU64, &'static str> {
    let size = text.strip_suffix("/s").unwrap_or(text).parse::<ByteSize>();
    let bytes = size.ok().and_then(|size| NonZeroU64::new(size.as_u64()));
    bytes.ok_or("expected bytes a second with a unit, such as 50MiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_has_a_unit_and_is_not_zero() {
        let bytes = |text| limit(text).map(NonZeroU64::get);
        assert_eq!(bytes("50MiB"), Ok(50 << 20));
        assert_eq!(bytes("1.5 GiB/s"), Ok(3 << 29));
        assert_eq!(bytes("20MB"), Ok(20_000_000));
        for bad in ["", "0", "fast", "-1MiB", "MiB"] {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }
}
