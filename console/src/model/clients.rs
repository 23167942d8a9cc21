//! Who may ask: sign-in, sessions, tokens; machines' enrolment; the audit log.

use serde::{Deserialize, Serialize};

use super::{HexId, MachineId, Password, TokenName, UserName};

/// What an account may do. Each may do what those before it may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Also makes bookmarks, mounts, restores, verifies, reads files of a point.
    Operator,
    /// Also sets retention, makes tokens, revokes machines, reads the audit log.
    Administrator,
}

impl Role {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Administrator => "administrator",
        }
    }
}

/// A sign-in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// Who.
    pub name: UserName,
    /// The password.
    pub password: Password,
}

/// Who is signed in.
#[derive(Clone, Debug, Serialize)]
pub struct Session {
    /// Who.
    pub name: String,
    /// What for.
    pub role: Role,
    /// For the header `X-CSRF-Token`; empty for a token.
    pub csrf_token: String,
    /// When it ends.
    pub expires_ms: Option<u64>,
}

/// A token of the API to be made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Its name.
    pub name: TokenName,
    /// What it may do.
    pub role: Role,
    /// How long it is valid; until it is ended if that is not said.
    #[serde(default)]
    pub valid_days: Option<u32>,
}

/// A token of the API.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Its id.
    pub token: HexId,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub made_ms: u64,
    /// By whom.
    pub made_by: String,
    /// When it ends.
    pub expires_ms: Option<u64>,
}

/// A token that was just made.
#[derive(Debug, Serialize)]
pub struct MadeToken {
    /// The token.
    pub token: Token,
    /// Its secret, shown once.
    pub secret: String,
}

/// What a machine may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnrolmentRole {
    /// Send its own volumes.
    #[default]
    Client,
    /// What operators do.
    Operator,
}

/// A token of enrolment to be made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewEnrolment {
    /// The machine's name.
    #[serde(default)]
    pub name: Option<UserName>,
    /// What it may do.
    #[serde(default)]
    pub role: EnrolmentRole,
    /// How long the token is valid.
    #[serde(default = "an_hour")]
    pub valid_minutes: u32,
    /// A machine that was enrolled before.
    #[serde(default)]
    pub machine: Option<MachineId>,
}

/// [`NewEnrolment::valid_minutes`], at most.
pub(crate) const VALID_MINUTES_MAX: u32 = 7 * 24 * 60;
/// [`NewToken::valid_days`], at most.
pub(crate) const VALID_DAYS_MAX: u32 = 3650;

fn an_hour() -> u32 {
    60
}

/// A token of enrolment.
#[derive(Debug, Serialize)]
pub struct Enrolment {
    /// The token.
    pub token: String,
    /// Until when it is valid.
    pub valid_until_ms: u64,
    /// For the machine.
    pub command: String,
}

/// An entry of the audit log.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AuditEntry {
    /// When.
    pub time_ms: Option<u64>,
    /// What was done.
    pub act: String,
    /// Who did it.
    pub who: Option<String>,
    /// From where.
    pub peer: Option<String>,
    /// The machine that it concerns.
    pub machine: Option<String>,
    /// The particulars.
    pub about: String,
}
