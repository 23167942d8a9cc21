//! Why a stream broke.

use snapless_driver_client::DriverError;
use snapless_link::LinkError;
use snapless_types::EpochId;
use snapless_wire::record::RecordError;

/// Why a stream broke.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The driver failed.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The link failed, or the server refused.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The driver returned bytes that are not records.
    #[error("the driver returned bytes that are not records: {0}")]
    Records(RecordError),
    /// The server acknowledged an epoch that it cannot have.
    #[error(
        "the server acknowledges epoch {0}, which it cannot have: the link is closed and what it \
         has not acknowledged is sent again; install server and service of the same release"
    )]
    ImpossibleEpoch(EpochId),
    /// What the server lacks is not in the window any more.
    #[error(
        "the link broke in an epoch longer than the resend window, so what the server lacks cannot \
         be sent again from there: the session is claimed anew, and goes on without a gap if the \
         driver has kept it; choose a longer resend_window if this comes again"
    )]
    WindowExceeded,
    /// A thread panicked.
    #[error("a bug ended the stream ({0}); please report it with the log lines above")]
    Panicked(String),
    /// A thread ended without a reason.
    #[error("a bug ended the stream and no thread said why; please report it with the log")]
    Unexplained,
}
