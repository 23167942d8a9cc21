//! What every scenario does: prepare the rig, begin under load, come to rest, take everything down.

use std::time::{Duration, Instant};

use protocol::names;
use snapless_writer::log::Instant100;

use crate::console::{Console, step};
use crate::error::E2eError;
use crate::image::Image;
use crate::judge::{Beginning, Evidence};
use crate::process::wait_until;
use crate::rig::{Rig, VOLUME_GUID};
use crate::run_folder::RunFolder;
use crate::scenario::Setting;
use crate::server;
use crate::service::ServiceSettings;
use crate::status::Status;
use crate::summary::Summary;
use crate::traces::Trace;

/// The load runs this many writes before the session is asked for.
const WARM_UP_WRITES: u64 = 200;
/// `TRACE_LEVEL_INFORMATION`
const INFORMATION: u32 = 4;
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a sync may go without any progress.
const STALL_LIMIT: Duration = Duration::from_secs(120);
/// How long the volume sits on the writes under way.
const PAUSE: Duration = Duration::from_millis(500);
const REST_LIMIT: Duration = Duration::from_secs(300);

/// A run under way.
pub(super) struct Run<'a> {
    pub(super) setting: &'a Setting,
    pub(super) console: &'a mut dyn Console,
    pub(super) folder: RunFolder,
    pub(super) image: Image,
    pub(super) rig: Rig,
    /// The scenario interrupts protection, so that errors and gaps are to be expected.
    pub(super) disturbed: bool,
    /// Somebody listens to the driver's trace.
    listens: bool,
}

/// The session just after it began.
pub(super) struct Begun {
    pub(super) beginning: Beginning,
    /// Requests in the volume's hands when the session was asked for.
    pub(super) in_flight: u64,
    /// When the session was seen to have begun.
    pub(super) seen: Instant,
}

impl<'a> Run<'a> {
    /// What every run ends with, as of one without load; a scenario adds what it has.
    pub(super) fn summary(&self, first_sync: Duration, synced: Status, last: Status) -> Summary {
        Summary {
            first_sync,
            synced,
            last,
            volume_len: self.image.len,
            writes: 0,
            bytes_written: 0,
            overlaps: 0,
            under_way_at_t0: 0,
            prefix: None,
            files: 0,
        }
    }

    /// Everything up to the load: image, Wine, volume, driver, server.
    pub(super) fn prepare(
        setting: &'a Setting,
        service: &ServiceSettings,
        jitter_us: u32,
        console: &'a mut dyn Console,
    ) -> Result<Self, E2eError> {
        let folder = RunFolder::create(&setting.folder)?;
        let image = step(console, "make an NTFS volume with real files", |_| {
            Image::make(folder.root(), setting.size_mib, setting.seed)
        })?;
        let mut rig = step(console, "start Wine in a prefix of its own", |_| {
            Rig::start(&setting.template, &setting.programs, &folder, setting.seed)
        })?;
        step(console, "start the test volume", |_| rig.start_volume(&image, jitter_us))?;
        step(console, "install the driver and the service from the INF", |_| {
            rig.install_product()
        })?;
        // With every other seed nobody listens to the driver's trace: then nothing may be told.
        let listens = setting.seed % 2 == 1;
        step(console, "start the driver on the volume", |_| {
            if listens {
                let level = INFORMATION.to_string();
                rig.set_driver_value(names::framework::TRACE_LEVEL, "REG_DWORD", &level)?;
            }
            rig.start_driver()
        })?;
        step(console, "start the backup server", |_| rig.start_server(None).map(|_| ()))?;
        rig.configure_service(service)?;
        Ok(Self { setting, console, folder, image, rig, disturbed: false, listens })
    }

    /// Loads the volume with writes.
    pub(super) fn load(&mut self) -> Result<(), E2eError> {
        let Self { setting, console, image, rig, .. } = self;
        step(*console, "load the volume with writes", |_| {
            rig.start_writer(image, setting.rate)?;
            wait_until("the first writes", START_LIMIT, || {
                rig.must_run()?;
                let counters = rig.agent().counters()?;
                Ok((counters.applied >= WARM_UP_WRITES).then_some(()))
            })
        })
    }

    /// Starts the service and waits for t0.
    ///
    /// With `paused`, the volume sits on the writes under way meanwhile: the session must not begin
    /// before they are done (rule T0).
    pub(super) fn begin(&mut self, paused: bool) -> Result<Begun, E2eError> {
        let Self { console, rig, .. } = self;
        step(*console, "begin protection", |_| {
            let before = rig.agent().counters()?;
            let mut in_flight = before.in_flight;
            let asked = Instant100::now();
            if paused {
                in_flight = pause_under_load(rig)?;
            }
            rig.start_service()?;
            if paused {
                stays_starting(rig, in_flight)?;
                rig.agent().resume()?;
            }
            let t0 = wait_until("the session to begin", START_LIMIT, || {
                rig.must_run()?;
                Ok(rig.status()?.and_then(|status| status.t0_filetime))
            })?;
            let started = Instant100::now();
            let after = rig.agent().counters()?;
            let beginning = Beginning {
                entries_before: before.applied,
                entries_after: after.applied,
                asked,
                started,
                t0: Instant100(t0),
            };
            Ok(Begun { beginning, in_flight, seen: Instant::now() })
        })
    }

    /// Shows progress until `done` says so.
    pub(super) fn watch(
        &mut self,
        name: &str,
        begun: Instant,
        mut done: impl FnMut(&Status) -> bool,
    ) -> Result<Status, E2eError> {
        let (rig, disturbed) = (&mut self.rig, self.disturbed);
        step(self.console, name, |console| {
            let mut progress = Progress::new(name);
            loop {
                rig.must_run()?;
                if let Some(status) = rig.status()? {
                    let line = status.line(begun.elapsed());
                    console.detail(&line);
                    if !disturbed {
                        must_be_well(&status)?;
                    }
                    if done(&status) {
                        return Ok(status);
                    }
                    progress.look(&status, line)?;
                }
            }
        })
    }

    /// Lets live replication run on for a while.
    pub(super) fn live_on(&mut self) -> Result<(), E2eError> {
        let (seconds, begun) = (self.setting.live_seconds, Instant::now());
        let time = Duration::from_secs(seconds);
        let name = format!("replicate live for {seconds} s");
        self.watch(&name, begun, |_| begun.elapsed() >= time).map(|_| ())
    }

    /// Stops the load and waits until the server has acknowledged all of it.
    pub(super) fn come_to_rest(&mut self) -> Result<Status, E2eError> {
        let Self { console, rig, .. } = self;
        step(*console, "stop the writer", |_| rig.stop_writer())?;
        self.settle()
    }

    /// Waits until the server has acknowledged everything.
    pub(super) fn settle(&mut self) -> Result<Status, E2eError> {
        let Self { console, rig, .. } = self;
        let mut last_of_load = None;
        step(*console, "wait for the last acknowledgement", |_| {
            wait_until("the server to acknowledge everything", REST_LIMIT, || {
                rig.must_run()?;
                let Some(status) = rig.status()? else { return Ok(None) };
                let settled = status.phase == "live" && status.writes_holding == 0;
                let last = *last_of_load.get_or_insert(status.last_seq);
                Ok((settled && status.acknowledged_seq >= last).then_some(status))
            })
        })
    }

    /// Stops service, volume, drivers, server, Wine; the rig's KMDF checks the driver's unload.
    pub(super) fn shut_down(&mut self) -> Result<(), E2eError> {
        let rig = &mut self.rig;
        step(self.console, "stop the service, unload the drivers", |_| rig.shut_down())
    }

    /// Checks the repository, then restores the image at `at`.
    pub(super) fn restore(&mut self, at: &str) -> Result<(), E2eError> {
        let (files, to) = (self.rig.server_files(), self.folder.restored(at));
        step(self.console, &format!("restore the volume at {at}"), |_| {
            server::restore(files, VOLUME_GUID, at, &to)
        })
    }

    /// What the driver told of a session, with events that `wanted` names between the first and the last; none if nobody
    /// listened. The driver has been stopped.
    pub(super) fn traces(&self, session: &str, wanted: &[&str]) -> Result<Vec<Trace>, E2eError> {
        let mut told = Trace::read(&self.folder)?;
        // A session of other programs may have been before it.
        told.retain(|trace| !self.listens || trace.field("session") == session);
        let names: Vec<&str> = told.iter().map(|trace| trace.name.as_str()).collect();
        let complain = |what: &str| Err(E2eError::Rule(format!("trace: {what}: {names:?}")));
        if !self.listens {
            return if told.is_empty() { Ok(told) } else { complain("nobody listened") };
        }
        let ends = [names.first(), names.last()];
        if ends != [Some(&"SessionStarted"), Some(&"SessionEnded")] {
            return complain("not from the session's start to its end");
        }
        if let Some(missing) = wanted.iter().find(|name| !names.contains(name)) {
            return complain(&format!("no {missing}"));
        }
        let length = self.image.len.to_string();
        if told.first().is_none_or(|trace| trace.field("length") != length) {
            return complain(&format!("the volume has {length} bytes"));
        }
        Ok(told)
    }

    /// Checks every checksum of the repository.
    pub(super) fn verify_repository(&mut self) -> Result<(), E2eError> {
        let files = self.rig.server_files();
        step(self.console, "verify the repository", |_| server::verify(files))
    }

    /// Matches the volume's journal with the writer's log.
    pub(super) fn evidence(&mut self) -> Result<Evidence, E2eError> {
        let (folder, seed) = (&self.folder, self.setting.seed);
        step(self.console, "match the volume's journal with the writer's log", |_| {
            Evidence::read(folder, seed)
        })
    }

    /// Checks that the restored image is a sound NTFS with the same files; returns how many.
    pub(super) fn check_ntfs(&mut self, at: &str) -> Result<usize, E2eError> {
        let (image, restored) = (&self.image, self.folder.restored(at));
        step(self.console, &format!("check NTFS and files of the {at} image"), |_| {
            image.check_restored(&restored)
        })
    }
}

/// Lets the volume sit on what is under way; returns how many writes that are.
fn pause_under_load(rig: &mut Rig) -> Result<u64, E2eError> {
    rig.agent().pause()?;
    wait_until("writes to be under way in the paused volume", START_LIMIT, || {
        let in_flight = rig.agent().counters()?.in_flight;
        Ok((in_flight > 0).then_some(in_flight))
    })
}

/// Rule T0: while the volume sits on writes from before the session, t0 is not stamped.
fn stays_starting(rig: &mut Rig, in_flight: u64) -> Result<(), E2eError> {
    let mut seen = None;
    wait_until("the session to be asked for", START_LIMIT, || {
        if let Some(status) = rig.status()? {
            if status.t0_filetime.is_some() || status.phase != "starting" {
                return Err(E2eError::Rule(format!(
                    "T0: the session is in phase {} although {in_flight} writes from before it are \
                     still under way",
                    status.phase
                )));
            }
            let since = *seen.get_or_insert_with(Instant::now);
            return Ok((since.elapsed() >= PAUSE).then_some(()));
        }
        Ok(None)
    })
}

/// Nothing has happened to a session that nobody disturbs.
fn must_be_well(status: &Status) -> Result<(), E2eError> {
    match status.interruption() {
        Some(why) => Err(E2eError::Rule(format!("protection was interrupted: {why}"))),
        None => Ok(()),
    }
}

/// Notices when nothing moves any more.
struct Progress<'a> {
    name: &'a str,
    moved: Instant,
    place: (u64, u64),
}

impl<'a> Progress<'a> {
    fn new(name: &'a str) -> Self {
        Self { name, moved: Instant::now(), place: (0, 0) }
    }

    fn look(&mut self, status: &Status, line: String) -> Result<(), E2eError> {
        if status.phase == "failed" {
            return Err(E2eError::Rule("the driver gave the session up".into()));
        }
        let place = (status.blocks_synced, status.acknowledged_seq);
        if place != self.place {
            (self.place, self.moved) = (place, Instant::now());
        } else if self.moved.elapsed() > STALL_LIMIT {
            let (what, tail) =
                (self.name.to_owned(), format!(" without progress; last seen: {line}"));
            return Err(E2eError::Timeout { what, limit: STALL_LIMIT, tail });
        }
        Ok(())
    }
}
