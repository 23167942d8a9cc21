//! Acts of operators. Each is noted in the audit log before it is done.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Console;
use super::asked::{Body, ByOperator, ByViewer, InPath, InState};
use crate::estate::Estate;
use crate::fault::{Code, Fault, Result};
use crate::jobs::{NewJob, Progressing};
use crate::model::{
    Bookmark, BookmarkName, HexId, Job, JobKind, JobResult, NewBookmark, NewMount, NewRestore,
    VolumeId,
};

pub(super) async fn add_bookmark(
    State(console): InState,
    by: ByOperator,
    InPath(volume): InPath<VolumeId>,
    Body(new): Body<NewBookmark>,
) -> Result<(StatusCode, Json<Bookmark>)> {
    let about = format!("{} at {} of volume {volume}", new.name, new.at);
    console.note(&by.actor, by.peer, "bookmark-add", about).await?;
    let made = console.ask(move |estate| estate.add_bookmark(&volume, &new)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

#[derive(Deserialize)]
pub(super) struct NamedBookmark {
    volume: VolumeId,
    name: BookmarkName,
}

pub(super) async fn remove_bookmark(
    State(console): InState,
    by: ByOperator,
    InPath(NamedBookmark { volume, name }): InPath<NamedBookmark>,
) -> Result<StatusCode> {
    let about = format!("{name} of volume {volume}");
    console.note(&by.actor, by.peer, "bookmark-remove", about).await?;
    console.ask(move |estate| estate.remove_bookmark(&volume, &name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn mount(
    State(console): InState,
    by: ByOperator,
    InPath(volume): InPath<VolumeId>,
    Body(new): Body<NewMount>,
) -> Result<(StatusCode, Json<Job>)> {
    let at = new.at.to_string();
    let point = (volume.clone(), new.at.clone());
    must_be_restorable(&console, point).await?;
    let how = if new.writable { ", writable" } else { "" };
    let about = format!("{at} of volume {volume}{how}");
    console.note(&by.actor, by.peer, "mount", about).await?;
    let text = format!("serves {at} as a disk");
    let (kind, by) = (JobKind::Mount, by.actor.name);
    let job = NewJob { kind, volume: volume.clone(), at: Some(at), by, text };
    begin(&console, job, move |estate, job| estate.mount(&volume, &new, job))
}

/// Begins a job, which the estate does.
fn begin(
    console: &Console,
    job: NewJob,
    work: impl FnOnce(&dyn Estate, &Progressing) -> Result<JobResult> + Send + 'static,
) -> Result<(StatusCode, Json<Job>)> {
    let estate = Arc::clone(&console.estate);
    let job = console.jobs().start(job, move |job| work(&*estate, job))?;
    Ok((StatusCode::ACCEPTED, Json(job)))
}

/// A point that is none is said at once, not by a job that fails.
async fn must_be_restorable(
    console: &Console,
    (volume, at): (VolumeId, crate::model::At),
) -> Result<()> {
    let point = console.ask(move |estate| estate.point(&volume, &at)).await?;
    match point.why.filter(|_| !point.restorable) {
        Some(why) => Err(Fault::new(Code::NotRestorable, why)),
        None => Ok(()),
    }
}

pub(super) async fn restore(
    State(console): InState,
    by: ByOperator,
    InPath(volume): InPath<VolumeId>,
    Body(new): Body<NewRestore>,
) -> Result<(StatusCode, Json<Job>)> {
    let server = console.ask(|estate| estate.server()).await?;
    if !server.restore_folders.contains(&new.folder) {
        let message = "the folder is none of the server's folders for restores: see \
            `restore_folders` in the console's settings";
        return Err(Fault::bad(message));
    }
    if !server.restore_formats.contains(&new.format) {
        let formats = server.restore_formats.join(", ");
        return Err(Fault::bad(format!("format: expected one of {formats}")));
    }
    let at = new.at.to_string();
    must_be_restorable(&console, (volume.clone(), new.at.clone())).await?;
    let about = format!("{at} of volume {volume} to {} in {}", new.file, new.folder);
    console.note(&by.actor, by.peer, "restore", about).await?;
    let text = format!("restores {at} to {}", new.file);
    let (kind, by) = (JobKind::Restore, by.actor.name);
    let job = NewJob { kind, volume: volume.clone(), at: Some(at), by, text };
    begin(&console, job, move |estate, job| estate.restore(&volume, &new, job))
}

pub(super) async fn verify(
    State(console): InState,
    by: ByOperator,
    InPath(volume): InPath<VolumeId>,
) -> Result<(StatusCode, Json<Job>)> {
    let known = volume.clone();
    console.ask(move |estate| estate.retention(&known)).await?;
    console.note(&by.actor, by.peer, "verify", format!("volume {volume}")).await?;
    let text = "checks all that is stored".to_owned();
    let (kind, by) = (JobKind::Verify, by.actor.name);
    let job = NewJob { kind, volume: volume.clone(), at: None, by, text };
    begin(&console, job, move |estate, job| estate.verify(&volume, job))
}

#[derive(Serialize)]
pub(super) struct ListOfJobs {
    jobs: Vec<Job>,
}

pub(super) async fn jobs(State(console): InState, by: ByViewer) -> Json<ListOfJobs> {
    let jobs = console.jobs().all();
    Json(ListOfJobs { jobs: jobs.into_iter().map(|job| shown(job, &by)).collect() })
}

pub(super) async fn job(
    State(console): InState,
    by: ByViewer,
    InPath(job): InPath<HexId>,
) -> Result<Json<Job>> {
    console.jobs().get(&job).map(|job| Json(shown(job, &by)))
}

/// A job as one sees it who looks only.
fn shown(job: Job, by: &ByViewer) -> Job {
    if by.actor.role < crate::model::Role::Operator { Job { mount: None, ..job } } else { job }
}

pub(super) async fn stop(
    State(console): InState,
    by: ByOperator,
    InPath(job): InPath<HexId>,
) -> Result<(StatusCode, Json<Job>)> {
    let known = console.jobs().get(&job)?;
    let about = format!("{} of volume {}", known.kind.name(), known.volume);
    console.note(&by.actor, by.peer, "stop", about).await?;
    Ok((StatusCode::ACCEPTED, Json(console.jobs().stop(&job)?)))
}
