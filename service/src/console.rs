//! `snapless-service --console`: logs to standard error too; Ctrl-C stops it.

use snapless_service::logging::Audience;
use snapless_service::stop::StopSignal;

use crate::arguments::Arguments;
use crate::host::{self, HostError};

/// Runs until Ctrl-C.
pub(crate) fn run(arguments: &Arguments) -> Result<(), HostError> {
    let stop = StopSignal::new();
    ctrlc::set_handler({
        let stop = stop.clone();
        move || stop.set()
    })?;
    host::run(arguments, Audience::Console, &stop, || Ok(()))
}
