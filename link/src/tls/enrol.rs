//! The conversation in which a machine gets its certificate: one request, one answer.

use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;
use snapless_trust::TrustError;
use snapless_trust::config::Purpose;
use snapless_trust::enrolment::{Answer, LENGTH_LEN, Request, decode, encode, length};
use snapless_trust::keystore::{Applicant, Credentials};
use snapless_trust::rustls::ClientConfig;
use snapless_trust::server::ServerTrust;

use crate::client::LinkLimits;
use crate::error::LinkError;
use crate::frames::send_all;
use crate::stream::{Stream, is_transient};

use super::client::secure;
use super::error::TlsError;
use super::handshake::Secured;
use super::stream::TlsStream;
use crate::client::reach;

/// How long a request, or its answer, may take.
const CONVERSATION_LIMIT: Duration = Duration::from_secs(10);

/// Enrols this machine at the server that the applicant names.
///
/// # Errors
/// [`LinkError::Connect`]; [`LinkError::Untrusted`] if another server answers, or if this one
/// refuses.
pub fn enrol(
    applicant: Applicant,
    address: &str,
    limits: &LinkLimits,
) -> Result<Credentials, LinkError> {
    let answer = ask(&applicant.request, address, limits, &applicant.config, &|| false)?;
    applicant.accept(answer).map_err(|error| TlsError::from(error).into())
}

/// Renews a machine's certificate at `address`.
///
/// # Errors
/// As [`enrol`].
pub fn renew(
    credentials: &Credentials,
    address: &str,
    limits: &LinkLimits,
    cancelled: &dyn Fn() -> bool,
) -> Result<Credentials, LinkError> {
    let config = credentials.config(Purpose::Renew).map_err(TlsError::from)?;
    let request = credentials.renewal().map_err(TlsError::from)?;
    let answer = ask(&request, address, limits, &config, cancelled)?;
    credentials.renewed(answer).map_err(|error| TlsError::from(error).into())
}

/// Answers the request of a machine, and closes.
pub(super) fn answer(
    secured: Secured,
    peer: SocketAddr,
    trust: &ServerTrust,
    cancelled: &dyn Fn() -> bool,
) -> Result<(), LinkError> {
    let Secured { stream, purpose, holder } = secured;
    let request: Request = receive(&stream, cancelled)?;
    let holder = holder.filter(|_| purpose == Purpose::Renew);
    let answer = trust.answer(&request, holder.as_ref(), &peer.to_string(), SystemTime::now());
    send(&stream, &answer)?;
    // The other end closes when it has the answer, which may be before this end does.
    if stream.shutdown(Shutdown::Write).is_ok() {
        let _closed = receive::<Request>(&stream, cancelled);
    }
    Ok(())
}

fn ask(
    request: &Request,
    address: &str,
    limits: &LinkLimits,
    config: &Arc<ClientConfig>,
    cancelled: &dyn Fn() -> bool,
) -> Result<Answer, LinkError> {
    let tcp = reach(address, limits, cancelled)?;
    let stream = secure(tcp, config, cancelled)?;
    // A server that refuses this machine says why before it looks at the request.
    let sent = send(&stream, request);
    let answer = receive(&stream, cancelled);
    if let (Err(error), Err(_)) = (sent, &answer)
        && !matches!(answer, Err(LinkError::Untrusted(_)))
    {
        return Err(error);
    }
    // The answer is there, whatever becomes of the connection.
    drop(stream.shutdown(Shutdown::Both));
    answer
}

fn send<T: Serialize>(stream: &TlsStream, document: &T) -> Result<(), LinkError> {
    let bytes = encode(document).map_err(TlsError::from)?;
    send_all(stream, &bytes).map_err(LinkError::lost)
}

fn receive<T: DeserializeOwned>(
    stream: &TlsStream,
    cancelled: &dyn Fn() -> bool,
) -> Result<T, LinkError> {
    let begun = Instant::now();
    let mut head = [0; LENGTH_LEN];
    fill(stream, &mut head, begun, cancelled)?;
    let mut bytes = vec![0; length(head).map_err(TlsError::from)?];
    fill(stream, &mut bytes, begun, cancelled)?;
    Ok(decode(&bytes).map_err(TlsError::from)?)
}

fn fill(
    stream: &TlsStream,
    mut bytes: &mut [u8],
    begun: Instant,
    cancelled: &dyn Fn() -> bool,
) -> Result<(), LinkError> {
    while !bytes.is_empty() {
        if cancelled() {
            return Err(LinkError::Cancelled);
        }
        if begun.elapsed() >= CONVERSATION_LIMIT {
            return Err(LinkError::Silent(CONVERSATION_LIMIT));
        }
        match stream.receive(bytes) {
            Ok(0) => return Err(TlsError::from(TrustError::Garbled).into()),
            Ok(count) => bytes = &mut bytes[count..],
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(LinkError::lost(error)),
        }
    }
    Ok(())
}
