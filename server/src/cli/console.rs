//! The command line of the console.

use clap::{Args, Subcommand};
use snapless_console::model::{Role, UserName};
use snapless_wire::id::VolumeGuid;

use super::{Key, volume};
use crate::location::{Location, location};
use crate::point_name::PointName;
use crate::trust_cli::TrustPlace;

/// `console`.
#[derive(Subcommand, Debug)]
pub enum ConsoleCommand {
    /// Who may sign in.
    User {
        /// What to do.
        #[command(subcommand)]
        command: UserCommand,
    },
}

/// `console user`.
#[derive(Subcommand, Debug)]
pub enum UserCommand {
    /// Add a user, or give one another role and password.
    #[command(after_help = "\
Asks for the password, or reads the first line of its input. In force at once, also for a console
that runs: what the user has open ends.

Examples:
  snapless-server console user add alice --role operator --repository /srv/snapless
  snapless-server console user add ci --role viewer --repository /srv/snapless < password")]
    Add(UserAdd),
    /// List the users.
    List {
        /// Where the accounts are.
        #[command(flatten)]
        place: TrustPlace,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove a user; what the user has open ends at once.
    Remove {
        /// The user.
        name: UserNameArgument,
        /// Where the accounts are.
        #[command(flatten)]
        place: TrustPlace,
    },
}

/// `console user add`.
#[derive(Args, Debug)]
pub struct UserAdd {
    /// The user.
    pub name: UserNameArgument,
    /// What the user may do: viewer (look), operator (also bookmark, mount, restore, verify, read
    /// files), administrator (also retention, tokens, revocation, the audit log).
    #[arg(long, value_name = "ROLE", value_parser = role)]
    pub role: Role,
    /// Where the accounts are.
    #[command(flatten)]
    pub place: TrustPlace,
}

/// A user's name on the command line.
#[derive(Clone, Debug)]
pub struct UserNameArgument(pub UserName);

impl std::str::FromStr for UserNameArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_plain = |it: char| it.is_alphanumeric() || "._-@ ".contains(it);
        if !text.chars().all(is_plain) {
            return Err("expected letters, digits, '.', '_', '-', '@' and spaces".to_owned());
        }
        UserName::parse(text).map(Self).map_err(str::to_owned)
    }
}

/// `read-files`: the console's own.
#[derive(Args, Debug)]
pub struct ReadFiles {
    /// The repository.
    #[arg(long, value_parser = location())]
    pub repository: Location,
    /// Its key.
    #[command(flatten)]
    pub key: Key,
    /// The volume.
    #[arg(long, value_parser = volume)]
    pub volume: VolumeGuid,
    /// The point.
    #[arg(long)]
    pub at: PointName,
    /// The folder, or the file.
    #[arg(long)]
    pub path: String,
    /// Entries behind this name.
    #[arg(long, conflicts_with = "content")]
    pub after: Option<String>,
    /// Write the content of a file.
    #[arg(long)]
    pub content: bool,
}

fn role(text: &str) -> Result<Role, &'static str> {
    let roles = [Role::Viewer, Role::Operator, Role::Administrator];
    let found = roles.into_iter().find(|role| role.name() == text);
    found.ok_or("expected viewer, operator or administrator")
}
