//! Why something is not trusted, or could not be made or read.

use std::io;
use std::path::{Path, PathBuf};

/// Why something is not trusted, or could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The operating system refused an operation on a file.
    #[error("cannot {action} {}: {source}", .path.display())]
    File {
        /// The operation, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file does not hold what its name says.
    #[error("{} is damaged or no file of Snapless: {why}; put back a copy of it", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// There is an authority already.
    #[error(
        "{} exists: the server has its certificate authority already, and every enrolled machine \
         depends on it; to begin anew, move that folder away and enrol every machine again",
        .0.display()
    )]
    AuthorityExists(PathBuf),
    /// There is no authority.
    #[error(
        "the server has no certificate authority in {}: make one with `snapless-server ca init`, \
         then let machines enrol with `snapless-server token create`", .0.display()
    )]
    NoAuthority(PathBuf),
    /// A text is not a token.
    #[error(
        "this is not an enrolment token: copy the whole line that `snapless-server token create` \
         printed"
    )]
    NotAToken,
    /// The server does not know the token.
    #[error(
        "the token is not valid: it is unknown to this server, or it was copied incompletely; ask \
         the server's administrator for a new one"
    )]
    UnknownToken,
    /// The token was used before.
    #[error(
        "the token was used before: each enrols one machine; ask the server's administrator for a \
         new one, and tell him if it was not you who used it"
    )]
    UsedToken,
    /// The token's time is over.
    #[error("the token has expired: ask the server's administrator for a new one")]
    ExpiredToken,
    /// A request cannot be granted.
    #[error("the request was refused: {0}")]
    Refused(String),
    /// The machine is revoked.
    #[error(
        "this machine was revoked at the server: ask its administrator for a token for a new \
         enrolment, and run `snapless enroll --force`"
    )]
    Revoked,
    /// The server has no such machine.
    #[error("no machine {0} has enrolled: `snapless-server machines` lists them")]
    NoMachine(String),
    /// A machine's id or certificate number is no such thing.
    #[error("{0} is neither a machine's id nor a certificate's number: both are hexadecimal")]
    NotAnId(String),
    /// The machine has not enrolled.
    #[error(
        "this machine is not enrolled (no identity in {}): get a token from the server's \
         administrator and run `snapless enroll SERVER --token TOKEN`", .0.display()
    )]
    NotEnrolled(PathBuf),
    /// The machine has not enrolled at this server, a further one.
    #[error(
        "this machine is not enrolled at {0}: get a token from that server's administrator and run \
         `snapless enroll {0} --token TOKEN`"
    )]
    NotEnrolledAt(String),
    /// The machine has enrolled before.
    #[error(
        "this machine is enrolled at this server already, which it calls {server} ({}): `--renew` \
         extends its certificate, `--force` replaces its identity with a new one", .file.display()
    )]
    Enrolled {
        /// The identity's file.
        file: PathBuf,
        /// The server, by the address that the configuration may name.
        server: String,
    },
    /// The server that answered is not the one that the token is for.
    #[error(
        "the server is not the one that the token was made for, or another program answers in its \
         place: check the address, and ask the server's administrator"
    )]
    OtherAuthority,
    /// A certificate cannot be used.
    #[error("the certificate cannot be used: {0}")]
    Certificate(String),
    /// What the other end said makes no sense.
    #[error(
        "the other end answered something else than an enrolment: check that it is a \
         snapless-server of the same release"
    )]
    Garbled,
    /// A step of cryptography failed.
    #[error("a cryptographic operation failed: {0}")]
    Cryptography(String),
}

impl TrustError {
    /// An error of the operating system about a file: `action` is a verb.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.to_owned(), source }
    }

    /// A damaged file.
    pub(crate) fn damaged(path: &Path, why: impl ToString) -> Self {
        Self::Damaged { path: path.to_owned(), why: why.to_string() }
    }
}

impl From<rcgen::Error> for TrustError {
    fn from(error: rcgen::Error) -> Self {
        Self::Cryptography(error.to_string())
    }
}

impl From<rustls::Error> for TrustError {
    fn from(error: rustls::Error) -> Self {
        Self::Certificate(error.to_string())
    }
}
