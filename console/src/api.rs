//! The operations of the API, as `openapi.yaml` describes them.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use tokio::sync::{Semaphore, watch};

use crate::accounts::{Accounts, Actor, secret};
use crate::alarms::Alarms;
use crate::assets;
use crate::counts::Counts;
use crate::estate::{Act, Estate};
use crate::fault::{Code, Fault, Result};
use crate::guard::{self, Guard, Peer};
use crate::jobs::Jobs;
use crate::model::{Event, Job, JobKind, Level, Server};
use crate::notify::Notifier;
use crate::received::received;
use crate::settings::Settings;
use crate::watch::Watch;

mod acts;
mod administration;
mod asked;
mod estate;
mod events;
mod files;
mod session;

/// Requests that may wait for the estate at once.
const BLOCKING_MAX: usize = 8;
/// The longest wait for a place among them.
const BLOCKING_WAIT: Duration = Duration::from_secs(10);
/// Between two looks at the estate.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks between two looks at the server's disk and certificate.
const SERVER_EVERY: u64 = 10;

/// Everything that requests share.
pub struct Console {
    estate: Arc<dyn Estate>,
    accounts: Accounts,
    settings: Settings,
    guard: Guard,
    jobs: Jobs,
    watch: Arc<Watch>,
    alarms: Arc<Mutex<Alarms>>,
    server: Mutex<Option<Server>>,
    blocking: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
    streams: Counts<String>,
    instance: String,
    version: String,
    stopped: watch::Receiver<bool>,
}

/// What a console is made of.
pub(crate) struct Parts<'a> {
    pub(crate) estate: Arc<dyn Estate>,
    /// The folder of accounts.
    pub(crate) folder: &'a Path,
    pub(crate) settings: Settings,
    /// This machine's name.
    pub(crate) machine: &'a str,
    /// The release of the server.
    pub(crate) version: String,
    pub(crate) stopped: watch::Receiver<bool>,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

impl Console {
    pub(crate) fn new(parts: Parts<'_>) -> Result<Self> {
        let Parts { estate, folder, settings, machine, version, stopped } = parts;
        let watch = Arc::new(Watch::default());
        let alarms = Arc::new(Mutex::new(Alarms::new(folder)));
        let tell = {
            let (watch, alarms) = (Arc::clone(&watch), Arc::clone(&alarms));
            Arc::new(move |job: &Job| tell_job(job, &watch, &alarms))
        };
        Ok(Self {
            estate,
            accounts: Accounts::new(folder),
            guard: Guard::new(&settings, machine),
            settings,
            jobs: Jobs::new(tell),
            watch,
            alarms,
            server: Mutex::default(),
            blocking: Arc::new(Semaphore::new(BLOCKING_MAX)),
            downloads: Arc::new(Semaphore::new(files::DOWNLOADS_MAX)),
            streams: Counts::new(events::STREAMS_MAX),
            instance: secret::make_id()?,
            version,
            stopped,
        })
    }

    pub(crate) fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    pub(crate) fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// Asks the estate, on one of a few threads.
    ///
    /// # Errors
    /// What the estate says; [`Code::Busy`] if no thread is free in time.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Estate) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let place = Arc::clone(&self.blocking).acquire_owned();
        let Ok(Ok(place)) = tokio::time::timeout(BLOCKING_WAIT, place).await else {
            return Err(Fault::busy("the server has too much to do for the console now"));
        };
        let estate = Arc::clone(&self.estate);
        let asked = tokio::task::spawn_blocking(move || {
            // Held until it is answered, also if the browser has gone.
            let _place = place;
            question(&*estate)
        });
        asked.await.map_err(Fault::internal)?
    }

    /// Notes an act before it is done. What cannot be noted is not done.
    async fn note(
        &self,
        actor: &Actor,
        peer: Peer,
        act: &'static str,
        about: String,
    ) -> Result<()> {
        let (who, peer) = (actor.name.clone(), peer.0.to_string());
        self.ask(move |estate| {
            let (who, peer, about) = (&*who, &*peer, &*about);
            estate.note(&Act { who, peer, act, machine: None, about })
        })
        .await
    }

    fn alarms(&self) -> MutexGuard<'_, Alarms> {
        // A look mends what one before has left.
        self.alarms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the estate until the console is stopped.
    pub(crate) async fn run_watch(self: Arc<Self>, notifier: Notifier) {
        let mut stopped = self.stopped.clone();
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks = 0u64;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            let console = Arc::clone(&self);
            let is_turn = looks.is_multiple_of(SERVER_EVERY);
            looks += 1;
            let looked = tokio::task::spawn_blocking(move || console.look(is_turn)).await;
            for alarm in looked.unwrap_or_default() {
                self.watch.tell("alarm", &alarm);
                let is_over = alarm.ended_ms.is_some();
                let what = if is_over { "an alarm ended" } else { "an alarm began" };
                self.watch.note(Event {
                    time_ms: alarm.ended_ms.unwrap_or(alarm.since_ms),
                    level: if is_over { Level::Ok } else { alarm.level },
                    kind: "alarm".to_owned(),
                    volume: alarm.volume.clone(),
                    machine: alarm.machine.clone(),
                    text: format!("{what}: {}", alarm.text),
                });
                notifier.send(alarm);
            }
        }
    }

    fn look(&self, server_too: bool) -> Vec<crate::model::Alarm> {
        if server_too {
            match self.estate.server() {
                Ok(server) => *self.server() = Some(server),
                Err(fault) => log::warn!("console: the server's state is not known: {fault}"),
            }
        }
        match self.estate.overview() {
            Ok(overview) => {
                self.watch.look(overview, |volume| self.estate.live(volume));
                let (overview, server) = (self.watch.overview(), self.server().clone());
                self.alarms().look(&overview, server.as_ref(), &self.settings)
            }
            Err(fault) => {
                log::warn!("console: the estate is not known: {fault}");
                Vec::new()
            }
        }
    }
}

/// Tells the streams of a job, and the alarms what a verification has found.
fn tell_job(job: &Job, watch: &Watch, alarms: &Mutex<Alarms>) {
    watch.tell("job", job);
    let Some(ended_ms) = job.ended_ms else { return };
    let result = job.result.as_ref();
    let is_sound = result.is_none_or(|result| result.sound);
    if let Some(result) = result.filter(|_| job.kind == JobKind::Verify) {
        let first = result.findings.first().cloned();
        let damage = first.unwrap_or_else(|| "a verification found damage".to_owned());
        let mut alarms = alarms.lock().unwrap_or_else(PoisonError::into_inner);
        alarms.note_check(&job.volume, (!is_sound).then_some(damage));
    }
    let name = job.kind.name();
    let text = match &job.error {
        Some(error) => format!("{name} by {}: {error}", job.by),
        None => format!("{name} by {}: {}", job.by, job.text),
    };
    watch.note(Event {
        time_ms: ended_ms,
        level: if job.error.is_some() || !is_sound { Level::Warning } else { Level::Ok },
        kind: "job".to_owned(),
        volume: Some(job.volume.clone()),
        machine: None,
        text,
    });
}

/// Everything that is answered.
pub(crate) fn router(console: Arc<Console>) -> Router {
    let api = Router::new()
        .route("/session", get(session::get).post(session::sign_in).delete(session::sign_out))
        .route("/server", get(estate::server))
        .route("/overview", get(estate::overview))
        .route("/alarms", get(estate::alarms))
        .route("/events", get(events::events))
        .route("/volumes/{volume}", get(estate::volume))
        .route("/volumes/{volume}/map", get(estate::map))
        .route("/volumes/{volume}/history", get(estate::history))
        .route("/volumes/{volume}/events", get(estate::volume_events))
        .route("/volumes/{volume}/timeline", get(estate::timeline))
        .route("/volumes/{volume}/heat", get(estate::heat))
        .route("/volumes/{volume}/point", get(estate::point))
        .route("/volumes/{volume}/bookmarks", post(acts::add_bookmark))
        .route("/volumes/{volume}/bookmarks/{name}", delete(acts::remove_bookmark))
        .route("/volumes/{volume}/mounts", post(acts::mount))
        .route("/volumes/{volume}/restores", post(acts::restore))
        .route("/volumes/{volume}/verifications", post(acts::verify))
        .route("/volumes/{volume}/files", get(files::folder))
        .route("/volumes/{volume}/files/content", get(files::download))
        .route(
            "/volumes/{volume}/retention",
            get(estate::retention).put(administration::set_retention),
        )
        .route("/jobs", get(acts::jobs))
        .route("/jobs/{job}", get(acts::job).delete(acts::stop))
        .route("/enrolments", post(administration::enrol))
        .route("/machines/{machine}/revocation", put(administration::revoke))
        .route("/tokens", get(administration::tokens).post(administration::make_token))
        .route("/tokens/{token}", delete(administration::remove_token))
        .route("/audit", get(administration::audit));
    Router::new()
        .nest("/api/v1", api)
        .route("/metrics", get(estate::metrics))
        .method_not_allowed_fallback(wrong_method)
        .fallback(assets::page)
        .layer(middleware::from_fn_with_state(Arc::clone(&console), pass))
        .with_state(console)
}

/// Lets a request pass or refuses it; completes the answer.
async fn pass(
    State(console): State<Arc<Console>>,
    peer: Result<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let checked = peer.and_then(|peer| console.guard.check(peer, &request));
    let received = received(request).await;
    let mut response = match checked.and(received) {
        Ok(request) => next.run(request).await,
        Err(fault) => fault.into_response(),
    };
    guard::complete(response.headers_mut());
    response
}

async fn wrong_method() -> Fault {
    Fault::new(Code::MethodNotAllowed, "the operation does not exist with this method")
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&self)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = axum::http::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
