//! Requests with all of their body.

use std::time::Duration;

use axum::extract::Request;
use axum::http::header;

use crate::fault::{Code, Fault, Result};

/// The longest body.
pub(crate) const BODY_MAX: usize = 64 << 10;
/// The longest time in which it must be there.
const BODY_LIMIT: Duration = Duration::from_secs(10);

/// The request with all of its body. A connection is closed if a body is left on it, and a client
/// that is still sending would then miss the answer; so even a request that is refused is read.
///
/// # Errors
/// The body is too long (as its head says: nothing of it is read), or comes too slowly.
pub(crate) async fn received(request: Request) -> Result<Request> {
    let too_large = || Fault::new(Code::TooLarge, "the body is longer than 64 KiB");
    let (parts, body) = request.into_parts();
    let length = parts.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > BODY_MAX) {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_LIMIT, axum::body::to_bytes(body, BODY_MAX)).await {
        Ok(Ok(bytes)) => Ok(Request::from_parts(parts, bytes.into())),
        Ok(Err(_)) => Err(too_large()),
        Err(_) => Err(Fault::bad("the body came too slowly")),
    }
}
