//! Steps of all scenarios: prepare the rig, begin under load, come to rest, shut everything down.

use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::time::{Duration, Instant};

use protocol::names;
use snapless_writer::log::Instant100;

use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::image::Image;
use crate::journal::Journal;
use crate::process::wait_until;
use crate::rig::Rig;
use crate::run_folder::RunFolder;
use crate::scenario::Setting;
use crate::server;
use crate::service::ServiceSettings;
use crate::status::Status;
use crate::summary::Summary;
use crate::traces::Trace;
use crate::truth::Truth;
use crate::verdict::{self, Beginning, Evidence, Moment};

/// The load runs this many writes before the session is asked for.
const WARM_UP_WRITES: u64 = 200;
/// `TRACE_LEVEL_INFORMATION`
const INFORMATION: u32 = 4;
const START_LIMIT: Duration = Duration::from_mins(1);
/// How long a sync may go without any progress.
const STALL_LIMIT: Duration = Duration::from_mins(2);
/// How long the volume holds the writes in flight.
const PAUSE: Duration = Duration::from_millis(500);
const REST_LIMIT: Duration = Duration::from_mins(5);

/// A run under way.
pub(super) struct Run<'a> {
    pub(super) setting: &'a Setting,
    pub(super) console: &'a mut dyn Console,
    pub(super) folder: RunFolder,
    pub(super) image: Image,
    pub(super) rig: Rig,
    /// The scenario interrupts protection, so that errors and gaps are expected.
    pub(super) disturbed: bool,
    /// Bytes of the volume that a replica may have anything in.
    pub(super) dont_care: Vec<Range<u64>>,
    /// The driver's trace has a consumer.
    listens: bool,
}

/// The session just after it began.
pub(super) struct Begun {
    pub(super) beginning: Beginning,
    /// Writes in flight when the session was asked for.
    pub(super) in_flight: u64,
    /// When the session was seen to have begun.
    pub(super) seen: Instant,
}

impl<'a> Run<'a> {
    /// The summary of a run without load; a scenario fills in more.
    pub(super) fn summary(&self, first_sync: Duration, last: Status) -> Summary {
        Summary { first_sync, last, volume_len: self.image.len, ..Summary::default() }
    }

    /// Runs a step, and shows its answer.
    pub(super) fn step_and_say(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Rig) -> Result<String, E2eError>,
    ) -> Result<(), E2eError> {
        let rig = &mut self.rig;
        let said = step(self.console, name, |_| work(rig))?;
        self.console.line(&format!("    {said}"));
        Ok(())
    }

    /// Everything up to the load: image, Wine, volume, driver, server.
    pub(super) fn prepare(
        setting: &'a Setting,
        service: &ServiceSettings,
        jitter_us: u32,
        console: &'a mut dyn Console,
    ) -> Result<Self, E2eError> {
        Self::prepare_on(setting, service, jitter_us, Image::make, console)
    }

    /// The same, on an image that `make` makes.
    pub(super) fn prepare_on(
        setting: &'a Setting,
        service: &ServiceSettings,
        jitter_us: u32,
        make: impl FnOnce(&Path, u64, u64) -> Result<Image, E2eError>,
        console: &'a mut dyn Console,
    ) -> Result<Self, E2eError> {
        let folder = RunFolder::create(&setting.folder)?;
        let image = step(console, "make an NTFS volume with real files", |_| {
            make(&folder.root, setting.size_mib, setting.seed)
        })?;
        let mut rig = step(console, "start Wine in a prefix of its own", |_| {
            Rig::start(&setting.template, &setting.programs, &folder, setting.seed)
        })?;
        step(console, "start the test volume", |_| rig.start_volume(&image, jitter_us))?;
        let from = if setting.programs.package.is_some() { "MSI" } else { "INF" };
        step(console, &format!("install the driver and the service from the {from}"), |_| {
            rig.install_product()
        })?;
        // With even seeds the driver's trace has no consumer; then it must have no events.
        let listens = setting.seed % 2 == 1;
        step(console, "start the driver on the volume", |_| {
            if listens {
                let level = INFORMATION.to_string();
                rig.set_driver_value(names::framework::TRACE_LEVEL, "REG_DWORD", &level)?;
            }
            rig.start_driver()
        })?;
        step(console, "start the backup server", |_| rig.start_server(None).map(|_| ()))?;
        step(console, "enrol the machine at the server", |_| rig.enrol())?;
        rig.configure_service(service)?;
        Ok(Self {
            setting,
            console,
            folder,
            image,
            rig,
            disturbed: false,
            dont_care: Vec::new(),
            listens,
        })
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
    /// With `paused`, the volume holds the writes in flight meanwhile: the session must not begin
    /// before they are done: rule T0 (rules.md#t0).
    pub(super) fn begin(&mut self, paused: bool) -> Result<Begun, E2eError> {
        self.begin_by(paused, Rig::start_service)
    }

    /// The same, with something else than the service's start that begins protection.
    pub(super) fn begin_by(
        &mut self,
        paused: bool,
        protect: impl FnOnce(&mut Rig) -> Result<(), E2eError>,
    ) -> Result<Begun, E2eError> {
        let Self { console, rig, .. } = self;
        step(*console, "begin protection", |_| {
            let before = rig.agent().counters()?;
            let mut in_flight = before.in_flight;
            let asked = Instant100::now();
            if paused {
                in_flight = pause_under_load(rig)?;
            }
            protect(rig)?;
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

    /// Shows progress until `done`.
    pub(super) fn watch(
        &mut self,
        name: &str,
        mut done: impl FnMut(&Status) -> bool,
    ) -> Result<Status, E2eError> {
        let (rig, disturbed) = (&mut self.rig, self.disturbed);
        step(self.console, name, |console| {
            let (mut place, mut moved) = ((0, 0), Instant::now());
            loop {
                rig.must_run()?;
                if let Some(status) = rig.status()? {
                    let line = status.line();
                    console.detail(&line);
                    if let Some(why) = status.interruption().filter(|_| !disturbed) {
                        return Err(E2eError::Rule(format!("protection was interrupted: {why}")));
                    }
                    if done(&status) {
                        return Ok(status);
                    }
                    ensure!(status.phase != "failed", Rule, "the driver gave the session up");
                    let reached = (status.blocks_synced, status.acknowledged_seq);
                    if reached != place {
                        (place, moved) = (reached, Instant::now());
                    } else if moved.elapsed() > STALL_LIMIT {
                        let tail = format!(" without progress; last seen: {line}");
                        return Err(E2eError::Timeout {
                            what: name.into(),
                            limit: STALL_LIMIT,
                            tail,
                        });
                    }
                }
            }
        })
    }

    /// Lets live replication run on for a while; returns an instant in the midst of it.
    pub(super) fn live_on(&mut self) -> Result<Moment, E2eError> {
        let (seconds, begun) = (self.setting.live_seconds, Instant::now());
        let time = Duration::from_secs(seconds);
        let name = format!("replicate live for {seconds} s");
        self.watch(&name, |_| begun.elapsed() >= time / 2)?;
        let entries_before = self.rig.agent().counters()?.applied;
        let at = Instant100::now();
        self.watch(&name, |_| begun.elapsed() >= time)?;
        let entries_after = self.rig.agent().counters()?.applied;
        Ok(Moment { at, entries_before, entries_after })
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

    /// Checks the repository, then restores the images at t0 and of the latest point.
    pub(super) fn restore_both(&mut self) -> Result<(), E2eError> {
        self.verify_repository()?;
        self.restore("t0")?;
        self.restore("latest")
    }

    /// Restores the image at `at`.
    pub(super) fn restore(&mut self, at: &str) -> Result<(), E2eError> {
        let (server, folder) = (&self.setting.programs.server, &self.folder);
        step(self.console, &format!("restore the volume at {at}"), |_| {
            server::restore(server, folder, at)
        })
    }

    /// Mounts the volume at an instant, copies it through the mount, and compares the copy with the
    /// truth.
    pub(super) fn mount(&mut self, moment: &Moment, evidence: &Evidence) -> Result<(), E2eError> {
        let (server, folder) = (&self.setting.programs.server, &self.folder);
        step(self.console, "mount the volume in the midst of it, read all by NBD", |_| {
            server::copy_mounted(server, folder, moment.at)
        })?;
        let truth = evidence.truth(&self.image, folder)?;
        step(self.console, "compare the mounted image with the truth", |_| {
            let entries = moment.entries_before..=moment.entries_after;
            verdict::compare_moment(truth, folder, "mounted", entries)
        })
    }

    /// Compares the image that was restored `at` an instant under load with the truth.
    pub(super) fn compare_moment(
        &mut self,
        at: &'static str,
        entries: RangeInclusive<u64>,
        evidence: &Evidence,
    ) -> Result<(), E2eError> {
        let (image, folder) = (&self.image, &self.folder);
        step(self.console, &format!("compare the {at} image with the truth"), |_| {
            verdict::compare_moment(evidence.truth(image, folder)?, folder, at, entries)
        })
    }

    /// The trace events of a session, which have to contain those that `wanted` names; none without
    /// a consumer. The driver has been stopped.
    pub(super) fn traces(&self, session: &str, wanted: &[&str]) -> Result<Vec<Trace>, E2eError> {
        let mut told = Trace::read(&self.folder)?;
        // Other programs may have had a session before it.
        told.retain(|trace| !self.listens || trace.field("session") == session);
        let names: Vec<&str> = told.iter().map(|trace| trace.name.as_str()).collect();
        if !self.listens {
            ensure!(told.is_empty(), Rule, "trace: events without a consumer: {names:?}");
            return Ok(told);
        }
        let ends = [names.first(), names.last()];
        let whole = ends == [Some(&"SessionStarted"), Some(&"SessionEnded")];
        ensure!(whole, Rule, "trace: not from the session's start to its end: {names:?}");
        let missing = wanted.iter().find(|name| !names.contains(name));
        ensure!(missing.is_none(), Rule, "trace: {missing:?} is missing: {names:?}");
        let (length, said) = (self.image.len.to_string(), told[0].field("length"));
        ensure!(said == length, Rule, "trace: the volume has {length} bytes, not {said}");
        Ok(told)
    }

    /// Checks every checksum of the repository.
    pub(super) fn verify_repository(&mut self) -> Result<(), E2eError> {
        let (server, folder) = (&self.setting.programs.server, &self.folder);
        step(self.console, "verify the repository", |_| server::verify(server, folder))
    }

    /// Matches the volume's journal with the writer's log.
    pub(super) fn evidence(&mut self) -> Result<Evidence, E2eError> {
        let (folder, seed) = (&self.folder, self.setting.seed);
        step(self.console, "match the volume's journal with the writer's log", |_| {
            Evidence::read(folder, seed)
        })
    }

    /// Compares the restored images of a run with load; without `t0`, the latest one only. Returns
    /// the t0 image's prefix.
    pub(super) fn compare_loaded(
        &mut self,
        begun: &Begun,
        evidence: &Evidence,
        t0: bool,
    ) -> Result<Option<usize>, E2eError> {
        let truth = evidence.truth(&self.image, &self.folder)?;
        let truth = self.dont_care.iter().cloned().fold(truth, Truth::without);
        let t0 = t0.then(|| evidence.t0_window(&begun.beginning)).transpose()?;
        verdict::compare(self.console, truth, &self.folder, t0, evidence.matched().writes().len())
    }

    /// The same for a run without load, whose writes are in the journal only: the t0 image with a
    /// prefix in `t0`, the latest image with the first `latest` entries, or all. Returns how many
    /// entries that is, and the journal's bytes.
    pub(super) fn compare_unloaded(
        &mut self,
        t0: Option<RangeInclusive<u64>>,
        latest: Option<u64>,
    ) -> Result<(usize, u64), E2eError> {
        let journal = Journal::open(&self.folder.journal)?;
        let truth = Truth::new(&journal, &self.image.pristine, &self.folder.model)?
            .without(self.image.state_area.clone());
        let truth = self.dont_care.iter().cloned().fold(truth, Truth::without);
        let t0 = t0.map(|t0| verdict::as_len(*t0.start())..=verdict::as_len(*t0.end()));
        let latest = latest.map_or(journal.entries().len(), verdict::as_len);
        verdict::compare(self.console, truth, &self.folder, t0, latest)?;
        Ok((latest, journal.bytes()))
    }

    /// Checks that the restored image is a sound NTFS with the same files; returns how many. It is
    /// the last look at the image, which goes: images fill disks.
    pub(super) fn check_ntfs(&mut self, at: &str) -> Result<usize, E2eError> {
        let (image, restored) = (&self.image, self.folder.restored(at));
        step(self.console, &format!("check NTFS and files of the {at} image"), |_| {
            let files = image.check_restored(&restored)?;
            std::fs::remove_file(&restored).map_err(E2eError::file("remove", &restored))?;
            Ok(files)
        })
    }
}

/// The session, which has to be in its first sync.
pub(super) fn in_first_sync(rig: &mut Rig) -> Result<Status, E2eError> {
    match rig.status()? {
        Some(status) if status.blocks_synced < status.blocks_total => Ok(status),
        other => Err(E2eError::NotExercised(format!("a first sync: the session is {other:?}"))),
    }
}

/// Waits until the volume has that many writes in flight.
pub(super) fn wait_for_in_flight(rig: &mut Rig, count: u64) -> Result<(), E2eError> {
    wait_until("writes to be with the volume", START_LIMIT, || {
        Ok((rig.agent().counters()?.in_flight == count).then_some(()))
    })
}

/// Pauses the volume with writes in flight; returns how many.
fn pause_under_load(rig: &mut Rig) -> Result<u64, E2eError> {
    rig.agent().pause()?;
    wait_until("writes to be under way in the paused volume", START_LIMIT, || {
        let in_flight = rig.agent().counters()?.in_flight;
        Ok((in_flight > 0).then_some(in_flight))
    })
}

/// Rule T0 (rules.md#t0): while writes from before the session are in flight, t0 is not stamped.
fn stays_starting(rig: &mut Rig, in_flight: u64) -> Result<(), E2eError> {
    let mut seen = None;
    wait_until("the session to be asked for", START_LIMIT, || {
        if let Some(status) = rig.status()? {
            ensure!(
                status.t0_filetime.is_none() && status.phase == "starting",
                Rule,
                "T0: the session is in phase {} although {in_flight} writes from before it are \
                 still under way",
                status.phase
            );
            let since = *seen.get_or_insert_with(Instant::now);
            return Ok((since.elapsed() >= PAUSE).then_some(()));
        }
        Ok(None)
    })
}
