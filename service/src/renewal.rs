//! Renews the machine's certificate at a server by itself, when two thirds of its time are over.

use std::time::{Duration, SystemTime};

use snapless_link::client::LinkLimits;
use snapless_link::tls::enrol::renew;
use snapless_link::{LinkError, TlsError};
use snapless_trust::audit::text_of;

use crate::connector::Connector;
use crate::event::Event;
use crate::notice;
use crate::stop::StopSignal;

/// How often it is looked whether the certificate is due, and how long after a failure it is tried
/// again.
const LOOK_INTERVAL: Duration = Duration::from_hours(1);
/// When the first look is after the start.
const FIRST_LOOK: Duration = Duration::from_secs(10);

/// Looks until `stop` is set. Returns at once without TLS.
pub fn run(connector: &Connector, limits: &LinkLimits, stop: &StopSignal) {
    if matches!(connector.identity(), Ok(None)) {
        return;
    }
    let server = connector.server();
    let mut wait = FIRST_LOOK;
    let mut has_failed = false;
    while !stop.wait_for(wait) {
        wait = LOOK_INTERVAL;
        match renew_if_due(connector, limits, stop) {
            Ok(Some(until)) => {
                has_failed = false;
                log::info!("the machine's certificate at {server} was renewed, until {until}");
            }
            Ok(None) => {}
            Err(error) => {
                let text =
                    format!("the machine's certificate at {server} cannot be renewed: {error}");
                if has_failed {
                    log::warn!("{text}");
                } else {
                    notice::report(Event::RenewalFailed, &text);
                }
                has_failed = true;
            }
        }
    }
}

/// Renews the certificate if it is due; returns until when the new one is valid.
///
/// # Errors
/// The server cannot be reached or refuses, or the certificate cannot be stored.
pub fn renew_if_due(
    connector: &Connector,
    limits: &LinkLimits,
    stop: &StopSignal,
) -> Result<Option<String>, LinkError> {
    let Some(store) = connector.identity().map_err(TlsError::from)? else { return Ok(None) };
    // A machine that has not enrolled is told so by its pipelines.
    let Some(credentials) = store.find().map_err(TlsError::from)? else { return Ok(None) };
    if !credentials.is_renewal_due(SystemTime::now()) {
        return Ok(None);
    }
    let renewed = renew(&credentials, connector.server(), limits, &|| stop.is_set())?;
    store.save(&renewed).map_err(TlsError::from)?;
    Ok(Some(text_of(renewed.certified.validity.to)))
}
