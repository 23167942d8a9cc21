//! The command lines of `points` and `stat`.

use std::path::PathBuf;

use clap::Args;
use snapless_wire::id::{SessionId, VolumeGuid};

use super::{Stored, session, volume};

/// `points`.
#[derive(Args, Debug)]
#[command(after_help = "\
Lists every stretch of instants that can be restored, each gap between them with its reason, and the
bookmarks. While nothing is written, each instant is a point with the same content: the stretch of
that kind in which the volume is now is told, and with --quiet those before. With --with, tells
instead what the volumes have in common, as those of a consistency group; of volumes of several
machines, whose clocks differ, only bookmarks are of one instant. Works while the server runs.

Examples:
  snapless-server points --repository /srv/snapless 71a27cdd-812a-11d0-bec7-08002be2092f
  snapless-server points --repository /srv/snapless 71a27cdd-812a-11d0-bec7-08002be2092f \\
      --quiet --json
  snapless-server points --repository /srv/snapless 71a27cdd-812a-11d0-bec7-08002be2092f \\
      --with 82b38dee-812a-11d0-bec7-08002be2092f")]
pub struct Points {
    /// The repository.
    #[command(flatten)]
    pub stored: Stored,
    /// The volume, as `list` shows it.
    #[arg(value_name = "VOLUME", value_parser = volume)]
    pub volume: VolumeGuid,
    /// Tell what can be restored of this volume as well at the same instant, and the bookmarks
    /// that both have; once for each other volume of a group.
    #[arg(long, value_name = "VOLUME", value_parser = volume,
          conflicts_with_all = ["session", "quiet"])]
    pub with: Vec<VolumeGuid>,
    /// One session only.
    #[arg(long, value_name = "ID", value_parser = session)]
    pub session: Option<SessionId>,
    /// Also tell the stretches of a minute or more before now in which nothing was written: reads
    /// the indices of the whole history.
    #[arg(long)]
    pub quiet: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `stat`.
#[derive(Args, Debug)]
#[command(after_help = "\
Reads the headers of all records, and no content unless --dedup is given; works while the server
runs.

Examples:
  snapless-server stat --repository /srv/snapless
  snapless-server stat --repository s3://bucket/snapless --prices default
  snapless-server stat --repository /srv/snapless \\
      --volume 71a27cdd-812a-11d0-bec7-08002be2092f --json")]
pub struct Stat {
    /// The repository.
    #[command(flatten)]
    pub stored: Stored,
    /// One volume only, as `list` shows it.
    #[arg(long, value_name = "GUID", value_parser = volume)]
    pub volume: Option<VolumeGuid>,
    /// Also tell what deduplication would save: reads all content.
    #[arg(long)]
    pub dedup: bool,
    /// Also tell what it costs in an object store, at the prices of this file, or at the public
    /// ones of "default". Of a repository in a directory: what it would cost.
    #[arg(long, value_name = "FILE|default")]
    pub prices: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
