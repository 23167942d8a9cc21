//! The command line of `bookmark`.

use clap::{Args, Subcommand};
use snapless_wire::id::{SessionId, VolumeGuid};

use super::{Key, WHEN, session, volume};
use crate::bookmarks::new_name;
use crate::format::bookmark::BookmarkName;
use crate::location::{Location, location};
use crate::point_name::PointName;
use crate::retention::policy::Keep;
use crate::trust_cli::TrustPlace;

/// `bookmark`.
#[derive(Subcommand, Debug)]
pub enum BookmarkCommand {
    /// Name a point of a volume.
    Add(BookmarkAdd),
    /// Show the bookmarks.
    List(BookmarkList),
    /// Remove a bookmark; the point stays.
    Remove(BookmarkRemove),
}

/// `bookmark add`.
#[derive(Args, Debug)]
#[command(after_help = "\
The name stands for the point wherever an instant is asked for: `restore`, `mount` and `diff` take
it. It begins with a letter and has letters, digits, '-', '_' and '.', at most 64. Upper and lower
case are the same. Works while the server runs.

Examples:
  snapless-server bookmark add --repository /srv/snapless \\
      --volume 71a27cdd-812a-11d0-bec7-08002be2092f before-upgrade
  snapless-server bookmark add --repository /srv/snapless \\
      --volume 71a27cdd-812a-11d0-bec7-08002be2092f --at \"2h ago\" --keep 90d before-the-crash")]
pub struct BookmarkAdd {
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
    /// The instant: t0, latest, an RFC 3339 time, how long ago, or another bookmark.
    #[arg(long, value_name = WHEN, default_value = "latest")]
    pub at: PointName,
    /// How long retention keeps the point for it, whatever the policy says of bookmarks: days,
    /// weeks or hours such as 30d, or forever.
    #[arg(long, value_name = "TIME", value_parser = keep)]
    pub keep: Option<Keep>,
    /// The name.
    #[arg(value_name = "NAME", value_parser = new_name)]
    pub name: BookmarkName,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `bookmark list`.
#[derive(Args, Debug)]
#[command(after_help = "\
A damaged bookmark is listed as such; remove it, and make it again.

Examples:
  snapless-server bookmark list --repository /srv/snapless
  snapless-server bookmark list --repository /srv/snapless \\
      --volume 71a27cdd-812a-11d0-bec7-08002be2092f --json")]
pub struct BookmarkList {
    /// Directory of the repository, or the URL of one in an object store.
    #[arg(long, value_name = "DIR|URL", value_parser = location())]
    pub repository: Location,
    /// One volume's only.
    #[arg(long, value_name = "GUID", value_parser = volume)]
    pub volume: Option<VolumeGuid>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `bookmark remove`.
#[derive(Args, Debug)]
#[command(after_help = "\
Removes the name only, also a damaged one.

Examples:
  snapless-server bookmark remove --repository /srv/snapless \\
      --volume 71a27cdd-812a-11d0-bec7-08002be2092f before-upgrade")]
pub struct BookmarkRemove {
    /// The repository, and where its acts are noted.
    #[command(flatten)]
    pub place: TrustPlace,
    /// The volume, as `list` shows it.
    #[arg(long, value_name = "GUID", value_parser = volume)]
    pub volume: VolumeGuid,
    /// The name.
    #[arg(value_name = "NAME", value_parser = known_name)]
    pub name: BookmarkName,
}

fn keep(text: &str) -> Result<Keep, String> {
    match text.parse()? {
        Keep::For(0) => Err("a bookmark is kept for some time: expected such as 30d".to_owned()),
        keep => Ok(keep),
    }
}

fn known_name(text: &str) -> Result<BookmarkName, &'static str> {
    BookmarkName::parse(text).ok_or("expected a bookmark's name, as `bookmark list` shows it")
}
