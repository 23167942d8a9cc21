//! The command lines of `retention`, `compact` and `gc`.

use clap::{Args, Subcommand};
use snapless_wire::id::VolumeGuid;

use super::{Key, volume};
use crate::location::{Location, location};
use crate::retention::policy::{Changes, Keep, Slots, Zone};

/// `retention`.
#[derive(Subcommand, Debug)]
pub enum RetentionCommand {
    /// Show what is kept, and what the next fold would keep and drop.
    Show(RetentionShow),
    /// Set what is kept.
    Set(RetentionSet),
}

/// `retention show`.
#[derive(Args, Debug)]
#[command(after_help = "\
Changes nothing; works while the server runs. Reads the headers of what is old enough to be folded.

Examples:
  snapless-server retention show --repository /srv/snapless
  snapless-server retention show --repository /srv/snapless \\
      --volume 71a27cdd-812a-11d0-bec7-08002be2092f --json")]
pub struct RetentionShow {
    /// Directory of the repository, or the URL of one in an object store.
    #[arg(long, value_name = "DIR|URL", value_parser = location())]
    pub repository: Location,
    /// One volume only, as `list` shows it.
    #[arg(long, value_name = "GUID", value_parser = volume)]
    pub volume: Option<VolumeGuid>,
    /// Its key.
    #[command(flatten)]
    pub key: Key,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `retention set`.
#[derive(Args, Debug)]
#[command(after_help = "\
Sets what is given and leaves the rest as it is; without a policy everything is kept. It is in
force with the next fold, also of a server that runs. Every instant is kept for --keep-all, then a
point an hour, then a point a day, and so on: each level begins where the one before ends. The
times are those for which the volume was protected (docs/retention.md).

--lock-for makes a minimum that lasts as long as it says: until then nothing younger is removed, and
no policy can be shortened, not by this command either. It cannot be taken back.

Examples:
  snapless-server retention set --repository /srv/snapless \\
      --keep-all 14d --daily 30 --weekly 8 --monthly 12
  snapless-server retention set --repository /srv/snapless \\
      --volume 71a27cdd-812a-11d0-bec7-08002be2092f --keep-all forever
  snapless-server retention set --repository /srv/snapless --lock-for 30d")]
pub struct RetentionSet {
    /// Directory of the repository, or the URL of one in an object store.
    #[arg(long, value_name = "DIR|URL", value_parser = location())]
    pub repository: Location,
    /// For this volume only, as `list` shows it, in place of what holds for all.
    #[arg(long, value_name = "GUID", value_parser = volume)]
    pub volume: Option<VolumeGuid>,
    /// How long every instant is kept, such as 14d, 8w or 36h, or forever.
    #[arg(long, value_name = "SPAN")]
    pub keep_all: Option<Keep>,
    /// Points by the hour.
    #[arg(long, value_name = "N")]
    pub hourly: Option<Slots>,
    /// Points by the day.
    #[arg(long, value_name = "N")]
    pub daily: Option<Slots>,
    /// Points by the week, which begins on Monday.
    #[arg(long, value_name = "N")]
    pub weekly: Option<Slots>,
    /// Points by the month.
    #[arg(long, value_name = "N")]
    pub monthly: Option<Slots>,
    /// Points by the year.
    #[arg(long, value_name = "N")]
    pub yearly: Option<Slots>,
    /// How long a bookmark keeps its point.
    #[arg(long, value_name = "SPAN")]
    pub bookmarks: Option<Keep>,
    /// Where hours, days, weeks, months and years begin, such as UTC or Europe/Berlin.
    #[arg(long, value_name = "NAME")]
    pub time_zone: Option<Zone>,
    /// Let what holds for all hold for the volume again.
    #[arg(long, requires = "volume")]
    pub unset: bool,
    /// Until so long from now remove nothing younger than that, and let no policy be shortened.
    #[arg(long, value_name = "SPAN", value_parser = span, conflicts_with = "volume")]
    pub lock_for: Option<Keep>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

impl RetentionSet {
    /// What is given.
    pub fn changes(&self) -> Changes {
        Changes {
            keep_all: self.keep_all,
            hourly: self.hourly,
            daily: self.daily,
            weekly: self.weekly,
            monthly: self.monthly,
            yearly: self.yearly,
            bookmarks: self.bookmarks,
            time_zone: self.time_zone.clone(),
        }
    }
}

/// `compact`.
#[derive(Args, Debug)]
#[command(after_help = "\
Folds what is older than the policy's --keep-all to the points that the policy keeps, and removes
what nothing refers to then. A server does that by itself when it is worth it; by hand no server
may run on the repository, unless it is in an object store. `retention show` tells before what
would become of it.

A `compact` that is stopped or killed loses nothing: the volume is folded as before or anew. What it
leaves that nothing refers to takes space until `gc` or a server removes it.

Examples:
  snapless-server compact --repository /srv/snapless --all
  snapless-server compact --repository /srv/snapless 71a27cdd-812a-11d0-bec7-08002be2092f --json")]
pub struct Compact {
    /// Directory of the repository, or the URL of one in an object store.
    #[arg(long, value_name = "DIR|URL", value_parser = location())]
    pub repository: Location,
    /// The volume, as `list` shows it.
    #[arg(value_name = "VOLUME", value_parser = volume, required_unless_present = "all")]
    pub volume: Option<VolumeGuid>,
    /// Every volume.
    #[arg(long, conflicts_with = "volume")]
    pub all: bool,
    /// Its key.
    #[command(flatten)]
    pub key: Key,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `gc`.
#[derive(Args, Debug)]
#[command(after_help = "\
Removes the files to which nothing refers: what folds, removed sessions and crashes have left. A
server does that by itself; by hand no server may run on the repository, unless it is in an object
store. With --dry-run it lists them and who reads their sessions, and works while the server runs.
What an object store does not let be removed is told, and is no failure.

Examples:
  snapless-server gc --repository /srv/snapless --dry-run
  snapless-server gc --repository /srv/snapless --json")]
pub struct Gc {
    /// Directory of the repository, or the URL of one in an object store.
    #[arg(long, value_name = "DIR|URL", value_parser = location())]
    pub repository: Location,
    /// Remove nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Its key.
    #[command(flatten)]
    pub key: Key,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

fn span(text: &str) -> Result<Keep, String> {
    match text.parse()? {
        Keep::Forever => Err("a minimum must have an end: expected such as 30d".to_owned()),
        span @ Keep::For(_) => Ok(span),
    }
}
