//! Why an attempt failed.

use snapless_driver_client::DriverError;
use snapless_link::LinkError;

use crate::event::Event;
use crate::session::SessionError;
use crate::state::StateError;
use crate::stream::StreamError;

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum PipelineError {
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("a bug ended this attempt ({0}); please report it with the log lines above")]
    Panicked(String),
}

impl PipelineError {
    /// True if the records that were drained may have been the cause.
    pub(super) fn is_about_records(&self) -> bool {
        matches!(
            self,
            Self::Panicked(_)
                | Self::Stream(
                    StreamError::Records(_) | StreamError::Panicked(_) | StreamError::Unexplained
                )
        )
    }

    /// The event for the event log.
    pub(super) fn event(&self) -> Event {
        match self {
            Self::Driver(error) | Self::Stream(StreamError::Driver(error)) => of_driver(error),
            Self::Session(SessionError::Unprotectable { .. }) => Event::Unprotectable,
            Self::Session(SessionError::StartsFailed { .. }) => Event::StartsFailed,
            Self::Session(_) | Self::Stream(StreamError::Records(_)) => Event::DriverFailed,
            Self::Link(LinkError::Untrusted(_))
            | Self::Stream(StreamError::Link(LinkError::Untrusted(_))) => Event::Untrusted,
            Self::Link(_)
            | Self::Stream(
                StreamError::Link(_)
                | StreamError::ImpossibleEpoch(_)
                | StreamError::WindowExceeded,
            ) => Event::LinkFailed,
            Self::State(_) => Event::StateFailed,
            Self::Stream(StreamError::Panicked(_) | StreamError::Unexplained)
            | Self::Panicked(_) => Event::Bug,
        }
    }
}

fn of_driver(error: &DriverError) -> Event {
    match error {
        DriverError::Absent | DriverError::AccessDenied(_) => Event::DriverAbsent,
        DriverError::NoMemory(_) => Event::OutOfMemory,
        DriverError::FileSystem { .. } => Event::Unprotectable,
        _ => Event::DriverFailed,
    }
}
