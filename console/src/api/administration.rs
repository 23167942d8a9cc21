//! Acts of administrators. Each is noted in the audit log before it is done.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::asked::{Body, ByAdministrator, InPath, InQuery, InState};
use super::estate::{Limit, in_range};
use crate::estate::Act;
use crate::fault::{Fault, Result};
use crate::model::{
    AuditEntry, Enrolment, HexId, MachineId, MadeToken, NewEnrolment, NewToken, Retention,
    RetentionChanges, Token, VALID_DAYS_MAX, VALID_MINUTES_MAX, VolumeId,
};

pub(super) async fn set_retention(
    State(console): InState,
    by: ByAdministrator,
    InPath(volume): InPath<VolumeId>,
    Body(new): Body<RetentionChanges>,
) -> Result<Json<Retention>> {
    if new.time_zone.as_ref().is_some_and(|zone| zone.chars().count() > 100) {
        return Err(Fault::bad("time_zone: expected a name such as Europe/Berlin"));
    }
    let wanted = serde_json::to_string(&new).map_err(Fault::internal)?;
    let about = format!("volume {volume}: {wanted}");
    console.note(&by.actor, by.peer, "retention-set", about).await?;
    console.ask(move |estate| estate.set_retention(&volume, &new)).await.map(Json)
}

pub(super) async fn enrol(
    State(console): InState,
    by: ByAdministrator,
    Body(new): Body<NewEnrolment>,
) -> Result<(StatusCode, Json<Enrolment>)> {
    in_range("valid_minutes", new.valid_minutes, 1, VALID_MINUTES_MAX)?;
    let name = new.name.as_ref().map_or("any", |name| name.as_str());
    let about = format!("token of enrolment for {name}, {} minutes", new.valid_minutes);
    console.note(&by.actor, by.peer, "enrolment-token", about).await?;
    let made = console.ask(move |estate| estate.make_enrolment(&new)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

pub(super) async fn revoke(
    State(console): InState,
    by: ByAdministrator,
    InPath(machine): InPath<MachineId>,
) -> Result<StatusCode> {
    let (who, peer) = (by.actor.name, by.peer.0.to_string());
    let revoke = move |estate: &dyn crate::estate::Estate| {
        let (who, peer, act) = (&*who, &*peer, "revoke");
        estate.note(&Act { who, peer, act, machine: Some(&machine), about: "" })?;
        estate.revoke(&machine)
    };
    console.ask(revoke).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize)]
pub(super) struct ListOfTokens {
    tokens: Vec<Token>,
}

pub(super) async fn tokens(
    State(console): InState,
    _: ByAdministrator,
) -> Result<Json<ListOfTokens>> {
    Ok(Json(ListOfTokens { tokens: console.accounts().tokens()? }))
}

pub(super) async fn make_token(
    State(console): InState,
    by: ByAdministrator,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, Json<MadeToken>)> {
    if let Some(days) = new.valid_days {
        in_range("valid_days", days, 1, VALID_DAYS_MAX)?;
    }
    let about = format!("{} as {}", new.name, new.role.name());
    console.note(&by.actor, by.peer, "token-make", about).await?;
    let made = console.accounts().make_token(&new, &by.actor.name)?;
    Ok((StatusCode::CREATED, Json(made)))
}

pub(super) async fn remove_token(
    State(console): InState,
    by: ByAdministrator,
    InPath(token): InPath<HexId>,
) -> Result<StatusCode> {
    console.note(&by.actor, by.peer, "token-remove", token.to_string()).await?;
    console.accounts().remove_token(&token)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize)]
pub(super) struct ListOfEntries {
    entries: Vec<AuditEntry>,
}

pub(super) async fn audit(
    State(console): InState,
    _: ByAdministrator,
    InQuery(limit): InQuery<Limit>,
) -> Result<Json<ListOfEntries>> {
    let limit = limit.get()?;
    let entries = console.ask(move |estate| estate.audit(limit)).await?;
    Ok(Json(ListOfEntries { entries }))
}
