//! The host: volumes, their loops, their sessions, and the socket for NBD clients.
//!
//! Rule: a session begins and ends in the driver's order. The loop has it before writes reach it;
//! t0 is stamped after every older write has completed (rule T0, rules.md#t0); it is dropped after
//! its last write and read.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use snapless_engine::{Host, RundownOwner};
use snapless_nbd::{Access, Export, shake_hands};
use snapless_types::Geometry;

use crate::disk::Disk;
use crate::error::{Error, IoContext, Result};
use crate::host::{BenchHost, Signal};
use crate::protocol::{Comparison, LogReport, Report, Served, Started};
use crate::ring::Ring;
use crate::run::Run;
use crate::sink::digest::Digest;
use crate::sink::image::Images;
use crate::sink::server::Greeted;
use crate::sink::{self, Pace};
use crate::spec::{SessionSpec, SinkSpec};
use crate::volume::Loop;
use crate::volume::log::Logging;
use crate::volume::shared::{self, Beginning, Mail, Parts, Shared};

/// Longest step of a session's start or end, in seconds.
const LIMIT_SECONDS: u64 = 60;
/// How often an awaited state is checked.
const POLL: Duration = Duration::from_millis(1);

/// The host.
pub struct Server {
    engine: bool,
    volumes: Vec<Volume>,
}

/// A volume, as threads other than its loop see it.
struct Volume {
    shared: Arc<Shared>,
    mail: Sender<Mail>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Locked during a start or an end.
    owner: Mutex<RundownOwner>,
    active: Mutex<Option<Active>>,
}

/// A running session.
struct Active {
    run: Arc<Run>,
    digest: Option<Arc<Digest>>,
    signal: Option<Arc<Signal>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a loop per volume, with or without the engine.
    pub fn new(disks: Vec<Disk>, engine: bool) -> Result<Self> {
        // A kernel without io_uring is an error here, before a client connects.
        drop(Ring::<()>::new()?);
        let start = |disk| if engine { start::<true>(disk) } else { start::<false>(disk) };
        Ok(Self { engine, volumes: disks.into_iter().map(start).collect::<Result<_>>()? })
    }

    /// Accepts clients on a unix socket, on threads of its own.
    pub fn listen(self: &Arc<Self>, path: &Path) -> Result<()> {
        let listener = UnixListener::bind(path).on("listen on", path)?;
        let server = Arc::clone(self);
        let accept = move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let server = Arc::clone(&server);
                let greet = move || server.greet(stream);
                if let Err(error) = thread::Builder::new().spawn(greet) {
                    return eprintln!("error: {}", Error::Thread(error));
                }
            }
        };
        thread::Builder::new().name("accept".to_owned()).spawn(accept).map_err(Error::Thread)?;
        Ok(())
    }

    /// Begins a session.
    pub fn start(&self, name: &str, spec: &SessionSpec) -> Result<Started> {
        if !self.engine {
            return Err(Error::EngineOff);
        }
        let volume = self.volume(name)?;
        // Locked until the session has begun: one start or end at a time.
        let mut owner = lock(&volume.owner);
        if lock(&volume.active).is_some() {
            return Err(Error::Busy(name.to_owned()));
        }
        volume.begin(&mut owner, spec)
    }

    /// The state of a session.
    pub fn status(&self, name: &str) -> Result<Report> {
        let volume = self.volume(name)?;
        volume.with_active(|active| {
            let progress = &active.run.progress;
            let status = active.run.session.status();
            let report = Report::new(&status, progress.seq(), progress.has_failed());
            Ok(Report { log: volume.log_report(), ..report })
        })
    }

    /// Compares the stream with the file.
    pub fn verify(&self, name: &str) -> Result<Comparison> {
        let volume = self.volume(name)?;
        let digest = volume.with_active(|active| active.digest.clone().ok_or(Error::NoDigest))?;
        volume.wait("draining", || {
            volume.with_active(|active| {
                let status = active.run.session.status();
                Ok(active.run.progress.seq() >= status.last_seq && status.writes_in_flight == 0)
            })
        })?;
        digest.compare(&volume.shared.disk)
    }

    /// Ends a session.
    pub fn stop(&self, name: &str) -> Result<()> {
        let volume = self.volume(name)?;
        let mut owner = lock(&volume.owner);
        volume.end(&mut owner)
    }

    /// Counters of all volumes.
    pub fn statistics(&self) -> Vec<Served> {
        self.volumes.iter().map(Volume::served).collect()
    }

    /// Ends every session and every loop.
    pub fn shut_down(&self) {
        for volume in &self.volumes {
            let mut owner = lock(&volume.owner);
            match volume.end(&mut owner) {
                Ok(()) | Err(Error::NoSession(_)) => {}
                Err(error) => eprintln!("error: {error}"),
            }
            // The loop may have ended already.
            let _ = volume.post(Mail::Stop);
            if let Some(thread) = lock(&volume.thread).take() {
                let _ = thread.join();
            }
        }
    }

    fn greet(&self, stream: UnixStream) {
        let export = |it: &Volume| Export {
            name: it.shared.disk.name().to_owned(),
            length: it.shared.disk.length(),
            sector: it.shared.disk.sector(),
            access: Access::Write,
            tells_allocation: false,
        };
        let exports: Vec<Export> = self.volumes.iter().map(export).collect();
        match shake_hands(&stream, &exports) {
            Ok(Some(agreed)) => {
                // A stopped volume has closed its connections.
                let _ = self.volumes[agreed.export].post(Mail::Connect(stream, agreed.structured));
            }
            Ok(None) => {}
            Err(error) => eprintln!("error: closed a client's connection: {error}"),
        }
    }

    fn volume(&self, name: &str) -> Result<&Volume> {
        let found = self.volumes.iter().find(|it| it.shared.disk.name() == name);
        found.ok_or_else(|| Error::NoVolume(name.to_owned()))
    }
}

fn start<const ENGINE: bool>(disk: Disk) -> Result<Volume> {
    let name = disk.name().to_owned();
    let Parts { shared, sender, receiver, owner } = shared::parts(disk)?;
    let for_loop = Arc::clone(&shared);
    let serve = move || {
        // After a panic the kernel may still use the loop's memory, and requests stay unanswered.
        let abort = AbortOnPanic;
        if let Err(error) = Loop::<ENGINE>::run(for_loop, receiver) {
            eprintln!("error: volume {name:?} has stopped: {error}");
            std::process::exit(1);
        }
        std::mem::forget(abort);
    };
    let thread = thread::Builder::new().name("volume".to_owned()).spawn(serve);
    Ok(Volume {
        shared,
        mail: sender,
        thread: Mutex::new(Some(thread.map_err(Error::Thread)?)),
        owner: Mutex::new(owner),
        active: Mutex::new(None),
    })
}

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        std::process::abort();
    }
}

impl Volume {
    fn begin(&self, owner: &mut RundownOwner, spec: &SessionSpec) -> Result<Started> {
        let began = Instant::now();
        let disk = &self.shared.disk;
        let geometry = spec.geometry(disk)?;
        if spec.log.is_some() && spec.sink.has_thread() {
            return Err(Error::LogSink);
        }
        let has_digest = spec.sink.has_digest();
        let digest = has_digest.then(|| Digest::new(disk.length(), disk.sector())).transpose()?;
        let digest = digest.map(Arc::new);
        let signal = spec.sink.has_thread().then(Arc::<Signal>::default);
        let host = BenchHost::new(Arc::clone(&self.shared.alarm), signal.clone());
        let run = Arc::new(Run::new(host, geometry, spec)?);
        let thread = self.start_sink(spec, &run, signal.as_ref())?;
        let allocate_us = micros(began);

        let log = spec
            .log
            .as_ref()
            .map(|log| Logging::new(log, disk, &geometry, run.session.host().now()));
        let log = log.transpose()?;
        let beginning = Beginning {
            run: Arc::clone(&run),
            pace: Pace::new(&spec.sink, digest.clone()),
            awaits_holes: spec.skip_holes,
            depth: if spec.depth == 0 { usize::MAX } else { spec.depth },
            log,
        };
        let memory = run.memory;
        *lock(&self.active) = Some(Active { run: Arc::clone(&run), digest, signal, thread });
        self.ask(|reply| Mail::Begin(Box::new(beginning), reply))?;
        // Interception on, then wait for all writes issued before it (rule T0).
        self.intercept(owner, true);
        run.session.begin();
        let t0_us = micros(began);
        if spec.skip_holes {
            self.report_holes(owner, &geometry)?;
        }
        Ok(Started { allocate_us, t0_us, memory })
    }

    /// Looks up which blocks hold no data. A block that is unsynced now has t0's content, so what
    /// is found after t0 was so at t0; what is found before may have been written to since (rule
    /// T0, rules.md#t0).
    fn report_holes(&self, owner: &mut RundownOwner, geometry: &Geometry) -> Result<()> {
        match self.shared.disk.holes(geometry) {
            // The loop takes them from the end.
            Ok(holes) => self.post(Mail::Holes(holes.into_iter().rev().collect())),
            Err(error) => {
                self.end(owner)?;
                Err(error)
            }
        }
    }

    fn end(&self, owner: &mut RundownOwner) -> Result<()> {
        let run = self.with_active(|active| Ok(Arc::clone(&active.run)))?;
        run.session.stop();
        // Interception off, then wait for all writes of this session.
        self.intercept(owner, false);
        self.wait("the end of its reads", || Ok(run.session.is_settled()))?;
        self.ask(Mail::End)?;
        let Some(active) = lock(&self.active).take() else { return Ok(()) };
        if let Some(signal) = &active.signal {
            snapless_engine::Event::set(&**signal);
        }
        // The sink's thread has reported its own errors.
        let _ = active.thread.map(JoinHandle::join);
        Ok(())
    }

    fn start_sink(
        &self,
        spec: &SessionSpec,
        run: &Arc<Run>,
        signal: Option<&Arc<Signal>>,
    ) -> Result<Option<JoinHandle<()>>> {
        let Some(signal) = signal.cloned() else { return Ok(None) };
        let disk = &self.shared.disk;
        match &spec.sink {
            SinkSpec::Image { latest, t0 } => {
                let images = Images::create(latest, t0.as_deref(), disk.length())?;
                sink::start(images, Arc::clone(run), signal).map(Some)
            }
            SinkSpec::Server { address, volume, token } => {
                let server =
                    Greeted::connect(address, volume, token.as_deref(), run.session.geometry())?
                        .into_sink(run)?;
                sink::start(server, Arc::clone(run), signal).map(Some)
            }
            SinkSpec::Null { .. } | SinkSpec::Throttled { .. } => Ok(None),
        }
    }

    fn intercept(&self, owner: &mut RundownOwner, to_session: bool) {
        let set = |to| move |slot: &AtomicBool| slot.store(to, Ordering::Relaxed);
        self.shared.rundown.replace(owner, set(to_session), set(false), || ());
    }

    fn with_active<R>(&self, look: impl FnOnce(&Active) -> Result<R>) -> Result<R> {
        match &*lock(&self.active) {
            Some(active) => look(active),
            None => Err(Error::NoSession(self.shared.disk.name().to_owned())),
        }
    }

    fn wait(&self, what: &'static str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
        let limit = Instant::now() + Duration::from_secs(LIMIT_SECONDS);
        while !is_so()? {
            if Instant::now() > limit {
                let volume = self.shared.disk.name().to_owned();
                return Err(Error::Slow { volume, what, seconds: LIMIT_SECONDS });
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn ask(&self, mail: impl FnOnce(std::sync::mpsc::SyncSender<()>) -> Mail) -> Result<()> {
        let (reply, answered) = sync_channel(1);
        self.post(mail(reply))?;
        answered.recv().map_err(|_| Error::Stopped(self.shared.disk.name().to_owned()))
    }

    fn post(&self, mail: Mail) -> Result<()> {
        let stopped = |_| Error::Stopped(self.shared.disk.name().to_owned());
        self.mail.send(mail).map_err(stopped)?;
        self.shared.alarm.raise(crate::host::Alarm::MAIL);
        Ok(())
    }

    fn log_report(&self) -> LogReport {
        let it = &self.shared.statistics.log;
        LogReport {
            is_live: it.is_live.load(Ordering::Relaxed),
            slots: it.slots.load(Ordering::Relaxed),
            waits: it.waits.load(Ordering::Relaxed),
            marked: it.marked.load(Ordering::Relaxed),
        }
    }

    fn served(&self) -> Served {
        let it = &self.shared.statistics;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Served {
            volume: self.shared.disk.name().to_owned(),
            length: self.shared.disk.length(),
            reads: get(&it.reads),
            read_bytes: get(&it.read_bytes),
            writes: get(&it.writes),
            write_bytes: get(&it.write_bytes),
            flushes: get(&it.flushes),
            errors: get(&it.errors),
            connections: get(&it.connections),
        }
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Ignores poisoning: no holder leaves a half-made change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
