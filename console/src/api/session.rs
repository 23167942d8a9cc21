//! Sign-in and sign-out.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap};
use axum::response::{IntoResponse, Response};

use super::asked::{Body, ByViewer, COOKIE, InState, cookie};
use crate::accounts::Actor;
use crate::fault::Result;
use crate::guard::Peer;
use crate::model::{Session, SignIn};

/// Signs in. The session's secret is always a new one: one that was put into the browser before is
/// worth nothing.
pub(super) async fn sign_in(
    State(console): InState,
    headers: HeaderMap,
    peer: Peer,
    Body(sign_in): Body<SignIn>,
) -> Result<Response> {
    let (session, secret) = console.accounts().sign_in(sign_in, peer.0.ip()).await?;
    if let Some(before) = cookie(&headers) {
        console.accounts().sign_out(before);
    }
    let (name, role) = (session.name.clone(), session.role);
    let actor = Actor { name, role, session: None, expires_ms: None };
    let noted = console.note(&actor, peer, "sign-in", role.name().to_owned()).await;
    if let Err(fault) = noted {
        console.accounts().sign_out(&secret);
        return Err(fault);
    }
    let set = format!("{COOKIE}={secret}; Path=/; Secure; HttpOnly; SameSite=Strict");
    Ok(([(header::SET_COOKIE, set)], Json(session)).into_response())
}

/// Who is signed in.
pub(super) async fn get(by: ByViewer) -> Json<Session> {
    let Actor { name, role, session, expires_ms } = by.actor;
    let csrf_token = session.map(|seat| seat.csrf_token).unwrap_or_default();
    Json(Session { name, role, csrf_token, expires_ms })
}

/// Signs out.
pub(super) async fn sign_out(State(console): InState, _: ByViewer, headers: HeaderMap) -> Response {
    if let Some(secret) = cookie(&headers) {
        console.accounts().sign_out(secret);
    }
    let clear = format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0");
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, clear)]).into_response()
}
