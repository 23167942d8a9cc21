//! What is, and what was.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};

use super::Console;
use super::asked::{ByViewer, InPath, InQuery, InState};
use crate::estate::Stretch;
use crate::fault::{Fault, Result};
use crate::metrics::{self, Told};
use crate::model::{
    Alarm, At, BlockMap, Event, Heat, History, INSTANT_MAX_MS, Overview, PARTS_MAX, Point,
    Retention, Server, Timeline, Volume, VolumeId,
};

/// The most buckets of a timeline.
const BUCKETS_MAX: u32 = 2000;
/// The most entries of a list.
const LIMIT_MAX: u32 = 1000;

pub(super) async fn server(State(console): InState, _: ByViewer) -> Result<Json<Server>> {
    console.ask(|estate| estate.server()).await.map(Json)
}

pub(super) async fn overview(State(console): InState, _: ByViewer) -> Result<Json<Overview>> {
    console.ask(|estate| estate.overview()).await.map(Json)
}

#[derive(Serialize)]
pub(super) struct ListOfAlarms {
    alarms: Vec<Alarm>,
}

pub(super) async fn alarms(State(console): InState, _: ByViewer) -> Json<ListOfAlarms> {
    Json(ListOfAlarms { alarms: console.alarms().all() })
}

pub(super) async fn volume(
    State(console): InState,
    _: ByViewer,
    InPath(volume): InPath<VolumeId>,
) -> Result<Json<Volume>> {
    console.ask(move |estate| estate.volume(&volume)).await.map(Json)
}

/// Into how many parts a volume is divided.
#[derive(Deserialize)]
pub(super) struct Parts {
    #[serde(default = "parts")]
    parts: u32,
}

pub(super) fn parts() -> u32 {
    1024
}

impl Parts {
    fn get(&self) -> Result<u32> {
        in_range("parts", self.parts, 1, PARTS_MAX)
    }
}

pub(super) fn in_range(name: &str, number: u32, min: u32, max: u32) -> Result<u32> {
    if (min..=max).contains(&number) {
        Ok(number)
    } else {
        Err(Fault::bad(format!("{name}: expected a number from {min} to {max}")))
    }
}

pub(super) async fn map(
    State(console): InState,
    _: ByViewer,
    InPath(volume): InPath<VolumeId>,
    InQuery(query): InQuery<Parts>,
) -> Result<Json<BlockMap>> {
    let parts = query.get()?;
    console.ask(move |estate| estate.map(&volume, parts)).await.map(Json)
}

pub(super) async fn history(
    State(console): InState,
    _: ByViewer,
    InPath(volume): InPath<VolumeId>,
) -> Result<Json<History>> {
    must_be_known(&console, &volume)?;
    Ok(Json(console.watch.history(&volume)))
}

fn must_be_known(console: &Console, volume: &VolumeId) -> Result<()> {
    match console.watch.line(volume) {
        Some(_) => Ok(()),
        None => Err(Fault::not_found("there is no such volume")),
    }
}

/// How long a list may be.
#[derive(Deserialize)]
pub(super) struct Limit {
    #[serde(default = "limit")]
    limit: u32,
}

fn limit() -> u32 {
    200
}

impl Limit {
    pub(super) fn get(&self) -> Result<usize> {
        in_range("limit", self.limit, 1, LIMIT_MAX).map(|limit| limit as usize)
    }
}

#[derive(Serialize)]
pub(super) struct ListOfEvents {
    events: Vec<Event>,
}

pub(super) async fn volume_events(
    State(console): InState,
    _: ByViewer,
    InPath(volume): InPath<VolumeId>,
    InQuery(limit): InQuery<Limit>,
) -> Result<Json<ListOfEvents>> {
    let limit = limit.get()?;
    must_be_known(&console, &volume)?;
    Ok(Json(ListOfEvents { events: console.watch.events(&volume, limit) }))
}

/// A stretch of time, and into how much it is divided.
#[derive(Deserialize)]
pub(super) struct TimelineQuery {
    from_ms: Option<u64>,
    to_ms: Option<u64>,
    #[serde(default = "buckets")]
    buckets: u32,
}

fn buckets() -> u32 {
    400
}

fn stretch(from_ms: Option<u64>, to_ms: Option<u64>) -> Result<Stretch> {
    if let Some(late) = [from_ms, to_ms].into_iter().flatten().find(|at| *at > INSTANT_MAX_MS) {
        return Err(Fault::bad(format!("{late} ms are later than the year 2100")));
    }
    if from_ms.zip(to_ms).is_some_and(|(from, to)| to < from) {
        return Err(Fault::bad("to_ms is before from_ms"));
    }
    Ok(Stretch { from_ms, to_ms })
}

pub(super) async fn timeline(
    State(console): InState,
    _: ByViewer,
    InPath(volume): InPath<VolumeId>,
    InQuery(query): InQuery<TimelineQuery>,
) -> Result<Json<Timeline>> {
    let stretch = stretch(query.from_ms, query.to_ms)?;
    let buckets = in_range("buckets", query.buckets, 0, BUCKETS_MAX)?;
    console.ask(move |estate| estate.timeline(&volume, stretch, buckets)).await.map(Json)
}

#[derive(Deserialize)]
pub(super) struct HeatQuery {
    from_ms: Option<u64>,
    to_ms: Option<u64>,
    #[serde(default = "parts")]
    parts: u32,
}

pub(super) async fn heat(
    State(console): InState,
    _: ByViewer,
    InPath(volume): InPath<VolumeId>,
    InQuery(query): InQuery<HeatQuery>,
) -> Result<Json<Heat>> {
    let stretch = stretch(query.from_ms, query.to_ms)?;
    let parts = in_range("parts", query.parts, 1, PARTS_MAX)?;
    console.ask(move |estate| estate.heat(&volume, stretch, parts)).await.map(Json)
}

#[derive(Deserialize)]
pub(super) struct PointQuery {
    at: At,
}

pub(super) async fn point(
    State(console): InState,
    _: ByViewer,
    InPath(volume): InPath<VolumeId>,
    InQuery(query): InQuery<PointQuery>,
) -> Result<Json<Point>> {
    console.ask(move |estate| estate.point(&volume, &query.at)).await.map(Json)
}

pub(super) async fn retention(
    State(console): InState,
    _: ByViewer,
    InPath(volume): InPath<VolumeId>,
) -> Result<Json<Retention>> {
    console.ask(move |estate| estate.retention(&volume)).await.map(Json)
}

pub(super) async fn metrics(State(console): InState, _: ByViewer) -> Result<impl IntoResponse> {
    let watched = Arc::clone(&console);
    let text = console.ask(move |estate| {
        let server = estate.server()?;
        let overview = watched.watch.overview();
        let alarms = watched.alarms();
        metrics::text(&Told {
            server: &server,
            overview: &overview,
            live: &|volume| estate.live(volume),
            alarms: &alarms,
            jobs: &watched.jobs().all(),
        })
    });
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text.await?))
}
