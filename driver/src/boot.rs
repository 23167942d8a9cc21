//! When the machine comes up: what the volumes have kept is read when they are first written to,
//! and their sessions begin before any service is there (rule RESUME, rules.md#resume).
//! PASSIVE_LEVEL throughout.

use wdk_sys::NTSTATUS;

use crate::globals::{self, Globals};
use crate::kernel::log;
use crate::kernel::shared::Shared;
use crate::kernel::thread::Run;
use crate::resolving;
use crate::starting;
use crate::volume::Volume;
use crate::volume_query;

/// Starts the thread that reads areas, if an area is known: without it nothing is known of any
/// volume. PASSIVE_LEVEL.
pub fn start() {
    let Some(globals) = globals::get() else { return };
    if globals.settings.limits.pass_through || globals.settings.with_areas(|it| it.is_empty()) {
        return;
    }
    let started = Shared::new(Reading).map(|context| globals.boot.start(context));
    if !matches!(started, Some(Ok(()))) {
        log::line(c"no thread to read state areas: all volumes are verified");
    }
}

/// Ends the thread, if there is one: every volume is gone. PASSIVE_LEVEL.
pub fn end() {
    if let Some(globals) = globals::get() {
        globals.boot.end();
    }
}

/// The thread that reads areas.
struct Reading;

impl Run for Reading {
    fn run(_context: &Shared<Self>) {
        let Some(globals) = globals::get() else { return };
        while globals.boot.wait() {
            for volume in globals.volumes.volumes() {
                if let Some(at) = volume.state().asked_at() {
                    resolving::resolve_since(globals, &volume, at);
                }
            }
            // No request waits for it any more.
            for volume in globals.volumes.volumes().filter(|volume| volume.state().is_armed()) {
                if start_session(globals, &volume).is_err() {
                    log::line(c"no session yet: changes are noted until the service is there");
                }
            }
        }
    }
}

/// Starts the session whose state the volume has kept, before any service is there: it captures,
/// and reads what the server may lack. The service resumes it. Until then, and if that fails,
/// changes are noted. PASSIVE_LEVEL.
#[inline(never)]
fn start_session(globals: &Globals, volume: &Shared<Volume>) -> Result<(), NTSTATUS> {
    let Some(startup) = volume.with_keeper(|keeper| keeper.startup()) else { return Ok(()) };
    let (volumes, session) = (&globals.volumes, startup.settings.session);
    // Not so of a copy of the volume.
    let is_free = || volumes.by_session(session).is_err();
    let start = || {
        let deadline = volume_query::deadline(volume_query::START_LIMIT);
        starting::start(globals, None, volume, startup, deadline)
    };
    globals.claiming.start(None, Some(session), is_free, start, || {}).map(|_| ())
}
