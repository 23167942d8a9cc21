//! Why something was not done, for programs and for people.

use serde::Serialize;

/// The kind of a fault: its code in the API.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The request is not what the API describes.
    BadRequest,
    /// Nobody is signed in.
    NotSignedIn,
    /// No account of this name has this password.
    WrongPassword,
    /// The role does not permit it.
    Forbidden,
    /// The CSRF token is missing or wrong.
    Csrf,
    /// The request comes from a page of another origin.
    Origin,
    /// The request names another server.
    Host,
    /// There is no such thing.
    NotFound,
    /// Not with this method.
    MethodNotAllowed,
    /// Something of this name is there, or in the way.
    Conflict,
    /// The body is too long.
    TooLarge,
    /// The body is no JSON.
    UnsupportedMediaType,
    /// The point cannot be restored.
    NotRestorable,
    /// The point has no file system that can be read.
    NoFileSystem,
    /// The file cannot be read.
    Unreadable,
    /// Too many requests.
    TooManyRequests,
    /// Something broke.
    Internal,
    /// Too much is going on.
    Busy,
}

impl Code {
    /// The status of HTTP.
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::NotSignedIn | Self::WrongPassword => 401,
            Self::Forbidden | Self::Csrf | Self::Origin => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Host => 421,
            Self::NotRestorable | Self::NoFileSystem | Self::Unreadable => 422,
            Self::TooManyRequests => 429,
            Self::Internal => 500,
            Self::Busy => 503,
        }
    }
}

/// A fault.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Its kind.
    pub code: Code,
    /// What happened and what to do.
    pub message: String,
    /// Seconds after which it may be tried again.
    #[serde(skip)]
    pub retry_after: Option<u64>,
}

/// A result of the console.
pub type Result<T, E = Fault> = std::result::Result<T, E>;

impl Fault {
    /// A fault of this kind.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None }
    }

    /// A request that is not what the API describes.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, message)
    }

    /// Something that is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// Something that broke. The log has the particulars, the answer has not.
    pub fn internal(particulars: impl std::fmt::Display) -> Self {
        log::error!("{particulars}");
        Self::new(Code::Internal, "something broke on the server: its log says what")
    }

    /// Too many requests.
    pub fn too_many(what: &str, seconds: u64) -> Self {
        let seconds = seconds.max(1);
        let message = format!("too many {what}: try again in {seconds} s");
        Self { code: Code::TooManyRequests, message, retry_after: Some(seconds) }
    }

    /// Too much is going on.
    pub fn busy(message: impl Into<String>) -> Self {
        Self { code: Code::Busy, message: message.into(), retry_after: Some(5) }
    }
}
