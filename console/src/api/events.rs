//! Live events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use super::Console;
use super::asked::{ByViewer, InQuery, InState};
use super::estate::{in_range, parts};
use crate::clock::now_ms;
use crate::counts::Limits;
use crate::fault::{Fault, Result};
use crate::model::{Live, PARTS_MAX, Role, VolumeId};
use crate::watch::Message;

/// Streams at once, and of one session or token.
pub(super) const STREAMS_MAX: Limits = Limits { all: 256, of_one: 8 };
/// Messages that wait for a browser; then those of the watch do.
const WAITING_MAX: usize = 16;
/// Between two looks at the volume.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks between two looks whether the session lasts.
const SESSION_EVERY: u64 = 5;
/// Looks between two signs of life.
const COMMENT_EVERY: u64 = 15;
/// A browser that takes nothing for so long is disconnected.
const STALL_LIMIT: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
pub(super) struct EventsQuery {
    volume: Option<VolumeId>,
    #[serde(default = "parts")]
    parts: u32,
}

#[derive(Serialize)]
struct Hello<'a> {
    instance: &'a str,
    version: &'a str,
    now_ms: u64,
}

#[derive(Serialize)]
struct LiveEvent<'a> {
    volume: &'a VolumeId,
    live: &'a Live,
}

/// One stream.
struct Stream {
    console: Arc<Console>,
    by: ByViewer,
    volume: Option<VolumeId>,
    parts: u32,
    to: mpsc::Sender<Bytes>,
    map_told: Option<Arc<str>>,
}

/// The browser has gone, or takes nothing.
struct Gone;

pub(super) async fn events(
    State(console): InState,
    by: ByViewer,
    InQuery(query): InQuery<EventsQuery>,
) -> Result<Response> {
    let parts = in_range("parts", query.parts, 1, PARTS_MAX)?;
    let of = match &by.actor.session {
        Some(seat) => seat.csrf_token.clone(),
        None => by.actor.name.clone(),
    };
    let too_many = || Fault::too_many("streams of events at once", 10);
    let counted = console.streams.add(of).ok_or_else(too_many)?;
    let (to, from) = mpsc::channel(WAITING_MAX);
    let stream = Stream { console, by, volume: query.volume, parts, to, map_told: None };
    tokio::spawn(async move {
        let _counted = counted;
        // The end of the channel ends the answer.
        let Gone = stream.run().await;
    });
    let next = |mut from: mpsc::Receiver<Bytes>| async {
        from.recv().await.map(|bytes| (Ok::<_, Infallible>(bytes), from))
    };
    let body = Body::from_stream(futures_util::stream::unfold(from, next));
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], body).into_response())
}

impl Stream {
    async fn run(mut self) -> Gone {
        let Err(gone) = self.send_all().await;
        gone
    }

    async fn send_all(&mut self) -> Result<Infallible, Gone> {
        let mut messages = self.console.watch.subscribe();
        let mut stopped = self.console.stopped.clone();
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        let mut looks = 0u64;
        let Console { instance, version, .. } = &*self.console;
        let hello = Message::of("hello", &Hello { instance, version, now_ms: now_ms() });
        self.send_message(hello.ok_or(Gone)?).await?;
        loop {
            tokio::select! {
                // It is too far behind to be told all: it connects again and loads everything.
                message = messages.recv() => self.send_message(message.map_err(|_| Gone)?).await?,
                () = until_stopped(&mut stopped) => return Err(Gone),
                _ = ticks.tick() => {
                    looks += 1;
                    if looks.is_multiple_of(SESSION_EVERY) && !self.is_here() {
                        let end = Message { name: "end", data: "{}".into() };
                        self.send_message(end).await?;
                        return Err(Gone);
                    }
                    if looks.is_multiple_of(COMMENT_EVERY) {
                        self.send(Bytes::from_static(b": here\n\n")).await?;
                    }
                    self.send_volume().await?;
                }
            }
        }
    }

    fn is_here(&self) -> bool {
        self.console.accounts().is_here(&self.by.actor, self.by.token.as_deref())
    }

    /// Sends what became of the volume, if there is one.
    async fn send_volume(&mut self) -> Result<(), Gone> {
        let Some(volume) = self.volume.clone() else { return Ok(()) };
        let (of, parts) = (volume.clone(), self.parts);
        let asked = self.console.ask(move |estate| Ok((estate.live(&of), estate.map(&of, parts)?)));
        // A volume that is gone, or a server that is busy: the next look may have it.
        let Ok((live, map)) = asked.await else { return Ok(()) };
        if let Some(live) = live
            && let Some(message) = Message::of("live", &LiveEvent { volume: &volume, live: &live })
        {
            self.send_message(message).await?;
        }
        // The time alone is no change.
        let runs = Message::of("map", &(&map.parts, &map.states, &map.runs)).ok_or(Gone)?;
        if self.map_told.as_ref() != Some(&runs.data) {
            self.map_told = Some(runs.data);
            self.send_message(Message::of("map", &map).ok_or(Gone)?).await?;
        }
        Ok(())
    }

    async fn send_message(&self, message: Message) -> Result<(), Gone> {
        // A job shows where a mount listens: to operators only.
        if message.name == "job" && self.by.actor.role < Role::Operator {
            let Ok(mut job) = serde_json::from_str::<serde_json::Value>(&message.data) else {
                return Ok(());
            };
            job["mount"] = serde_json::Value::Null;
            return self.send(format!("event: job\ndata: {job}\n\n").into()).await;
        }
        self.send(format!("event: {}\ndata: {}\n\n", message.name, message.data).into()).await
    }

    async fn send(&self, bytes: Bytes) -> Result<(), Gone> {
        match tokio::time::timeout(STALL_LIMIT, self.to.send(bytes)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }
}

/// Returns when the console is stopped.
async fn until_stopped(stopped: &mut watch::Receiver<bool>) {
    // An error: the console is gone.
    drop(stopped.wait_for(|stopped| *stopped).await);
}
