//! The command line of trust: the authority, tokens, machines, revocation.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use snapless_trust::identity::{MachineId, Role, Serial};

use crate::error::Result;
use crate::location::{Location, location};

/// The subcommands of trust.
#[derive(Subcommand, Debug)]
pub enum TrustCommand {
    /// Make or show the server's certificate authority.
    Ca {
        /// What to do.
        #[command(subcommand)]
        command: CaCommand,
    },
    /// Make tokens, with which machines enrol.
    Token {
        /// What to do.
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Refuse a machine or a certificate from now on.
    Revoke(Revoke),
    /// Let a machine restore its own volumes over the network for a time.
    AllowRestore(AllowRestore),
    /// Show the machines that have enrolled.
    Machines(Machines),
}

/// Where the certificate authority is.
#[derive(Args, Debug)]
pub struct TrustPlace {
    /// Directory of the repository, or the URL of one in an object store.
    #[arg(long, value_name = "DIR|URL", value_parser = location())]
    pub repository: Location,
    /// Folder of the certificate authority and the audit log, on this machine [default: `trust` in
    /// the repository's directory; needed for a URL].
    #[arg(long, value_name = "DIR")]
    pub trust: Option<PathBuf>,
}

impl TrustPlace {
    /// The folder of the authority.
    ///
    /// # Errors
    /// [`crate::error::Error::NoTrustFolder`].
    pub fn folder(&self) -> Result<PathBuf> {
        self.repository.trust_folder(self.trust.as_deref())
    }
}

/// `ca`.
#[derive(Subcommand, Debug)]
pub enum CaCommand {
    /// Make the authority, once; its key stays in the repository's folder `trust`, or in --trust.
    #[command(after_help = "\
Keep a copy of the folder `trust` in a safe place: without it every machine must enrol again.

Examples:
  snapless-server ca init --repository /srv/snapless")]
    Init {
        /// Where the authority is.
        #[command(flatten)]
        place: TrustPlace,
    },
    /// Print the SHA-256 of the authority's certificate.
    Show {
        /// Where the authority is.
        #[command(flatten)]
        place: TrustPlace,
    },
}

/// `token`.
#[derive(Subcommand, Debug)]
pub enum TokenCommand {
    /// Make a token and print it; it enrols one machine, once.
    Create(TokenCreate),
}

/// `token create`.
#[derive(Args, Debug)]
#[command(after_help = "\
Prints the token and nothing else. Hand it over like a password. Works while the server runs.

Examples:
  snapless-server token create --repository /srv/snapless
  snapless-server token create --repository /srv/snapless --name web-1 --valid 15m
  snapless-server token create --repository /srv/snapless --machine 0a1b…   (rebuilt machine)")]
pub struct TokenCreate {
    /// Where the authority is.
    #[command(flatten)]
    pub place: TrustPlace,
    /// What the machine may do: client (append to its own volumes) or operator.
    #[arg(long, value_name = "ROLE", default_value_t = Role::Client)]
    pub role: Role,
    /// The machine's name [default: what the machine calls itself].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// A machine that was enrolled before: the new installation continues its volumes, and its
    /// earlier certificates are revoked.
    #[arg(long, value_name = "ID")]
    pub machine: Option<MachineId>,
    /// How long the token is valid: minutes (m), hours (h) or days (d), 7 days at most.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = lifetime)]
    pub valid: Duration,
}

/// `revoke`.
#[derive(Args, Debug)]
#[command(after_help = "\
In force within a second, also for connections that are open. A machine is revoked for ever: if it
comes back, it enrols as a new one.

Examples:
  snapless-server revoke --repository /srv/snapless --machine 0a1b2c3d4e5f60718293a4b5c6d7e8f9")]
pub struct Revoke {
    /// Where the authority is.
    #[command(flatten)]
    pub place: TrustPlace,
    /// Whom or what.
    #[command(flatten)]
    pub subject: Subject,
}

/// Whom or what `revoke` concerns.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct Subject {
    /// The machine, as `machines` shows it: every certificate of it.
    #[arg(long, value_name = "ID")]
    pub machine: Option<MachineId>,
    /// One certificate, as `machines` shows it.
    #[arg(long, value_name = "NUMBER", value_parser = str::parse::<Serial>)]
    pub certificate: Option<Serial>,
}

/// `allow-restore`.
#[derive(Args, Debug)]
#[command(after_help = "\
A machine appends and reads nothing back, so that a stolen key reads nothing, until this is allowed.
`snapless restore` then begins within the time; a restore that has begun goes on after it. Works
while the server runs, and is in the audit log.

Examples:
  snapless-server allow-restore --repository /srv/snapless --machine 0a1b2c3d4e5f60718293a4b5c6d7e8f9
  snapless-server allow-restore --repository /srv/snapless --machine 0a1b… --valid 2h
  snapless-server allow-restore --repository /srv/snapless --machine 0a1b… --end")]
pub struct AllowRestore {
    /// Where the authority is.
    #[command(flatten)]
    pub place: TrustPlace,
    /// The machine, as `machines` shows it.
    #[arg(long, value_name = "ID")]
    pub machine: MachineId,
    /// For how long: minutes (m), hours (h) or days (d), 7 days at most.
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = lifetime)]
    pub valid: Duration,
    /// Allow it no longer.
    #[arg(long, conflicts_with = "valid")]
    pub end: bool,
}

/// `machines`.
#[derive(Args, Debug)]
pub struct Machines {
    /// Where the authority is.
    #[command(flatten)]
    pub place: TrustPlace,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

fn lifetime(text: &str) -> Result<Duration, &'static str> {
    const WANT: &str = "expected a number with m, h or d, such as 30m, 1h or 2d";
    let unit = text.chars().next_back().ok_or(WANT)?;
    let seconds = match unit {
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return Err(WANT),
    };
    let count: u32 = text[..text.len() - 1].parse().map_err(|_| WANT)?;
    if count == 0 { Err(WANT) } else { Ok(Duration::from_secs(u64::from(count) * seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_has_a_unit() {
        assert_eq!(lifetime("30m"), Ok(Duration::from_mins(30)));
        assert_eq!(lifetime("2d"), Ok(Duration::from_hours(48)));
        for bad in ["", "1", "h", "0h", "-1h", "1w", "1ä", "99999999999d"] {
            assert!(lifetime(bad).is_err(), "{bad}");
        }
    }
}
