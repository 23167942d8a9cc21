//! The command line of `group`.

use clap::{Args, Subcommand};
use snapless_wire::id::VolumeGuid;

use super::volume;
use crate::groups::GroupName;
use crate::location::{Location, location};
use crate::trust_cli::TrustPlace;

/// `group`.
#[derive(Subcommand, Debug)]
pub enum GroupCommand {
    /// Make a group, or replace its volumes.
    Set(GroupSet),
    /// Show the groups.
    List(GroupList),
    /// Remove a group; its bookmarks stay.
    Remove(GroupRemove),
}

/// `group set`.
#[derive(Args, Debug)]
#[command(after_help = "\
The volumes of a group get common bookmarks, also those of several machines: `snapless bookmark
--group NAME` on any of them. Each machine has to have its volumes in a group of the same name
(`snapless protect D: --group NAME`). For a moment, tens of milliseconds as a rule, writes on all of
them wait (docs/groups.md). Works while the server runs, and counts from the next bookmark on.

Example:
  snapless-server group set --repository /srv/snapless sql \\
      71a27cdd-812a-11d0-bec7-08002be2092f 71a27cde-812a-11d0-bec7-08002be2092f")]
pub struct GroupSet {
    /// The repository, and where its acts are noted.
    #[command(flatten)]
    pub place: TrustPlace,
    /// The group.
    #[arg(value_name = "NAME")]
    pub name: GroupName,
    /// All of its volumes, as `list` shows them.
    #[arg(value_name = "VOLUME", value_parser = volume, required = true)]
    pub volumes: Vec<VolumeGuid>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `group list`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  snapless-server group list --repository /srv/snapless --json")]
pub struct GroupList {
    /// Directory of the repository, or the URL of one in an object store.
    #[arg(long, value_name = "DIR|URL", value_parser = location())]
    pub repository: Location,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `group remove`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  snapless-server group remove --repository /srv/snapless sql")]
pub struct GroupRemove {
    /// The repository, and where its acts are noted.
    #[command(flatten)]
    pub place: TrustPlace,
    /// The group.
    #[arg(value_name = "NAME")]
    pub name: GroupName,
}
