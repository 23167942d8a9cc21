//! A request to the service, and its answer.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use snapless_control::channel::connect;
use snapless_control::exchange::{self, ExchangeError};
use snapless_control::message::{Answer, Request};

use crate::error::CliError;

/// How long the service may take. A change ends pipelines, which send what is captured first; an
/// instant that gets a name is waited for.
const LIMIT: Duration = Duration::from_mins(2);

/// Asks the service that listens at `channel`.
///
/// # Errors
/// [`CliError::Refused`] if it refuses; otherwise why it gave no answer.
pub(super) fn ask(request: Request, channel: &Path) -> Result<Answer, CliError> {
    let mut stream = connect(channel).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => CliError::NoService,
        ErrorKind::PermissionDenied => CliError::ServiceDenied,
        _ => CliError::Service(error.into()),
    })?;
    // A pipe has no time limit of its own.
    let (answered, answer) = mpsc::channel();
    thread::spawn(move || {
        // The caller may have given up.
        _ = answered.send(exchange::ask(&mut stream, &request));
    });
    match answer.recv_timeout(LIMIT) {
        Ok(Ok(Answer::Refused(refusal))) => Err(CliError::Refused(refusal)),
        Ok(answer) => answer.map_err(CliError::Service),
        Err(_) => Err(CliError::Service(ExchangeError::Io(ErrorKind::TimedOut.into()))),
    }
}

/// For an answer to another request.
pub(super) fn other_answer() -> CliError {
    CliError::Service(ExchangeError::Io(ErrorKind::InvalidData.into()))
}
