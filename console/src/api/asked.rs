//! What a request says: who asks, and for what. Whatever is not as the API describes it is refused
//! before an operation begins.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::http::header::{self, HeaderMap};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::Console;
use crate::accounts::{Actor, secret};
use crate::fault::{Code, Fault, Result};
use crate::guard::Peer;
use crate::model::Role;
use crate::received::BODY_MAX;

/// The cookie of a session. Browsers take this name from a secure origin only, for the whole host.
pub(super) const COOKIE: &str = "__Host-snapless";
/// What each request of a session that changes something must say.
const CSRF_HEADER: &str = "x-csrf-token";

/// Who asks, and from where; the role is at least the one that is asked for.
pub(super) struct By<const ROLE: u8> {
    pub(super) actor: Actor,
    pub(super) peer: Peer,
    /// The secret of the token, if it is one.
    pub(super) token: Option<String>,
}

pub(super) type ByViewer = By<0>;
pub(super) type ByOperator = By<1>;
pub(super) type ByAdministrator = By<2>;

impl<const ROLE: u8> FromRequestParts<Arc<Console>> for By<ROLE> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, console: &Arc<Console>) -> Result<Self> {
        let peer = Peer::from_request_parts(parts, console).await?;
        let token = bearer(&parts.headers).map(str::to_owned);
        let actor = if let Some(secret) = &token {
            console.accounts().of_token(secret)?
        } else {
            let secret = cookie(&parts.headers).unwrap_or_default();
            let actor = console.accounts().of_session(secret)?;
            if !parts.method.is_safe() {
                check_csrf(&parts.headers, &actor)?;
            }
            actor
        };
        let needed = match ROLE {
            0 => Role::Viewer,
            1 => Role::Operator,
            _ => Role::Administrator,
        };
        if actor.role < needed {
            let (has, needs) = (actor.role.name(), needed.name());
            let message = format!("the role is {has}; this needs {needs}");
            return Err(Fault::new(Code::Forbidden, message));
        }
        Ok(Self { actor, peer, token })
    }
}

fn check_csrf(headers: &HeaderMap, actor: &Actor) -> Result<()> {
    let expected = actor.session.as_ref().map_or("", |seat| &seat.csrf_token);
    let said = headers.get(CSRF_HEADER).map_or(&b""[..], |it| it.as_bytes());
    if !expected.is_empty() && secret::is_same(expected.as_bytes(), said) {
        return Ok(());
    }
    Err(Fault::new(Code::Csrf, "the header X-CSRF-Token is missing or wrong: load the page again"))
}

/// The token of a program.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(secret.trim())
}

/// The secret of a session.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let texts = headers.get_all(header::COOKIE).iter().filter_map(|it| it.to_str().ok());
    let mut pairs = texts.flat_map(|text| text.split(';')).filter_map(|it| it.split_once('='));
    pairs.find(|(name, _)| name.trim() == COOKIE).map(|(_, secret)| secret.trim())
}

impl FromRequestParts<Arc<Console>> for Peer {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Console>) -> Result<Self> {
        let peer = parts.extensions.get::<Self>().copied();
        peer.ok_or_else(|| Fault::internal("a request without a peer"))
    }
}

/// What requests share.
pub(super) type InState = State<Arc<Console>>;

/// A part of the path.
pub(super) struct InPath<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Console>> for InPath<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, console: &Arc<Console>) -> Result<Self> {
        let found: Result<Path<T>, PathRejection> = Path::from_request_parts(parts, console).await;
        // An id that cannot be one is of nothing.
        found.map(|Path(it)| Self(it)).map_err(|why| Fault::not_found(why.body_text()))
    }
}

/// The query.
pub(super) struct InQuery<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Console>> for InQuery<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, console: &Arc<Console>) -> Result<Self> {
        let found: Result<Query<T>, QueryRejection> =
            Query::from_request_parts(parts, console).await;
        found.map(|Query(it)| Self(it)).map_err(|why| Fault::bad(why.body_text()))
    }
}

/// A body of JSON.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Console>> for Body<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, _: &Arc<Console>) -> Result<Self> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            let message = "expected a body of the type application/json";
            return Err(Fault::new(Code::UnsupportedMediaType, message));
        }
        let bytes = axum::body::to_bytes(request.into_body(), BODY_MAX).await;
        let bytes = bytes.map_err(Fault::internal)?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| Fault::bad(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, "a=b; __Host-snapless=secret ;c=d".parse().unwrap());
        assert_eq!(cookie(&headers), Some("secret"));
        headers.insert(header::COOKIE, "x__Host-snapless=secret; snapless=other".parse().unwrap());
        assert_eq!(cookie(&headers), None);
    }
}
