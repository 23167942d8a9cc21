//! A machine with two volumes behind one driver, whose records share a clock; and a service on it.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use snapless_control::channel::connect;
use snapless_control::exchange::ask;
use snapless_control::message::{Answer, Done, Refusal, Request};
use snapless_driver_client::error::Call;
use snapless_driver_client::file_system::Unanswered;
use snapless_driver_client::port::KeptPlace;
use snapless_driver_client::state_place::NoPlace;
use snapless_driver_client::unused_blocks::UnusedBlocks;
use snapless_driver_client::{Driver, DriverError, DriverPort, SessionStatus, Volume, VolumeName};
use snapless_link::client::LinkLimits;
use snapless_service::runner;
use snapless_service::settings_file::SettingsFile;
use snapless_service::stop::StopSignal;
use snapless_types::{BlockIndex, EpochId, Extent, Geometry};
use snapless_wire::id::{SessionId, VolumeGuid};
use snapless_wire::ioctl::{
    ABI_VERSION, CutTime, DeviceName, DrainFrom, KeepStateRequest, MapReply, Protection,
    StartRequest, SweepLimits, UnusedRequest, Verify,
};
use tempfile::TempDir;

use super::support::driver::{Clock, FakeDriver, Seen};
use super::support::{limits, wait_until};

/// The volumes' devices.
pub const DEVICES: [&str; 2] = [r"\Device\HarddiskVolume3", r"\Device\HarddiskVolume4"];

/// A driver of two volumes.
pub struct TwoVolumes(pub [Arc<FakeDriver>; 2]);

impl TwoVolumes {
    pub fn new(clock: &Clock) -> Arc<Self> {
        Arc::new(Self(DEVICES.map(|device| FakeDriver::with_clock(device, clock))))
    }
}

impl Driver for TwoVolumes {
    fn open(&self) -> Result<Box<dyn DriverPort>, DriverError> {
        let ports = self.0.iter().map(|it| it.open()).collect::<Result<_, _>>()?;
        let (volumes, claimed) = (self.0.clone(), AtomicUsize::new(usize::MAX));
        Ok(Box::new(Port { volumes, ports, claimed }))
    }

    fn device_of(&self, name: &VolumeName) -> Result<DeviceName, DriverError> {
        let name = name.to_string();
        let is_there = DEVICES.contains(&&*name);
        let device = is_there.then(|| DeviceName::new(name.encode_utf16())).flatten();
        device.ok_or(DriverError::NoSuchVolume(name))
    }

    fn guid_of(&self, _device: &DeviceName) -> Result<Option<VolumeGuid>, DriverError> {
        Ok(None)
    }

    fn file_system_protection(&self, device: &DeviceName) -> Result<Protection, DriverError> {
        self.0[0].file_system_protection(device)
    }

    fn special_extents(
        &self,
        _device: &DeviceName,
        _special_files: u32,
    ) -> Result<Vec<Extent>, Unanswered> {
        Ok(Vec::new())
    }

    fn unused_blocks(
        &self,
        _device: &DeviceName,
        _block_size: u32,
    ) -> Result<Option<UnusedBlocks>, Unanswered> {
        Ok(None)
    }

    fn state_place(&self, device: &DeviceName) -> Result<KeptPlace, NoPlace> {
        self.0[0].state_place(device)
    }
}

/// A handle, of which each volume has one of its own.
struct Port {
    volumes: [Arc<FakeDriver>; 2],
    ports: Vec<Box<dyn DriverPort>>,
    /// The volume whose session it has claimed.
    claimed: AtomicUsize,
}

impl Port {
    /// That of the volume that has a session.
    fn of(&self, session: SessionId, call: Call) -> Result<&dyn DriverPort, DriverError> {
        let index = self.volumes.iter().position(|it| it.session() == Some(session));
        Ok(&*self.ports[index.ok_or(DriverError::NotFound(call))?])
    }

    fn claimed(&self) -> &dyn DriverPort {
        &*self.ports[self.claimed.load(Ordering::SeqCst)]
    }

    fn claim(&self, is_it: impl Fn(&FakeDriver) -> bool) -> &dyn DriverPort {
        let index = self.volumes.iter().position(|it| is_it(it)).expect("a volume to claim");
        self.claimed.store(index, Ordering::SeqCst);
        self.claimed()
    }
}

/// True if this is the driver of the device's volume.
fn is_of(driver: &FakeDriver, device: &DeviceName) -> bool {
    DeviceName::new(driver.device().encode_utf16()).is_some_and(|own| own.matches(device))
}

impl DriverPort for Port {
    fn version(&self) -> u32 {
        ABI_VERSION
    }

    fn list(&self) -> Result<Vec<Volume>, DriverError> {
        let lists: Vec<_> = self.ports.iter().map(|it| it.list()).collect::<Result<_, _>>()?;
        Ok(lists.concat())
    }

    fn start(&self, request: &StartRequest) -> Result<Geometry, DriverError> {
        self.claim(|it| is_of(it, &request.device)).start(request)
    }

    fn note(&self, device: &DeviceName, block_size: u32) -> Result<(), DriverError> {
        let index = self.volumes.iter().position(|it| is_of(it, device));
        self.ports[index.ok_or(DriverError::NotFound(Call::Note))?].note(device, block_size)
    }

    fn unused(&self, request: &UnusedRequest) -> Result<BlockIndex, DriverError> {
        self.claimed().unused(request)
    }

    fn resume(&self, session: SessionId) -> Result<Geometry, DriverError> {
        self.claim(|it| it.session() == Some(session)).resume(session)
    }

    fn drain_from(&self, from: DrainFrom) -> Result<bool, DriverError> {
        self.claimed().drain_from(from)
    }

    fn drain(&self, buffer: &mut [u8]) -> Result<usize, DriverError> {
        self.claimed().drain(buffer)
    }

    fn acknowledge(&self, epoch: EpochId) -> Result<(), DriverError> {
        self.claimed().acknowledge(epoch)
    }

    fn review(&self, are_still: bool) -> Result<(), DriverError> {
        self.claimed().review(are_still)
    }

    fn limit_sweep(&self, limits: SweepLimits) -> Result<(), DriverError> {
        self.claimed().limit_sweep(limits)
    }

    fn keep_state(&self, request: &KeepStateRequest) -> Result<(), DriverError> {
        self.claimed().keep_state(request)
    }

    fn status(&self, session: SessionId) -> Result<SessionStatus, DriverError> {
        self.of(session, Call::Status)?.status(session)
    }

    fn map(&self, session: SessionId) -> Result<MapReply, DriverError> {
        self.of(session, Call::Map)?.map(session)
    }

    fn verify(&self, session: SessionId, verify: Verify) -> Result<(), DriverError> {
        self.of(session, Call::Verify)?.verify(session, verify)
    }

    fn cut(&self, session: SessionId, cut: CutTime) -> Result<(), DriverError> {
        self.of(session, Call::Cut)?.cut(session, cut)
    }

    fn stop(&self, session: SessionId) -> Result<(), DriverError> {
        self.of(session, Call::Stop)?.stop(session)
    }

    fn cancel(&self) {
        self.ports.iter().for_each(|port| port.cancel());
    }
}

/// A machine with two volumes and a service that runs.
pub struct Machine {
    pub volumes: [Arc<FakeDriver>; 2],
    pub clock: Clock,
    folder: TempDir,
    service: Option<(StopSignal, JoinHandle<()>)>,
}

impl Machine {
    /// With a service that may use servers without TLS, and whose configuration is `text`.
    pub fn new(text: &str) -> Self {
        Self::with_clock(text, Clock::default())
    }

    /// The same with this clock.
    pub fn with_clock(text: &str, clock: Clock) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let driver = TwoVolumes::new(&clock);
        let volumes = driver.0.clone();
        let mut machine = Self { volumes, clock, folder, service: None };
        let state = machine.folder.path().join("state");
        let dirs = format!("state_dir = '{0}'\nlog_dir = '{0}'\n", state.display());
        machine.write(&format!("insecure = true\n{dirs}{text}"));
        let (settings, channel) = (SettingsFile::named(machine.file()), machine.channel());
        let limits = limits(LinkLimits::default(), Duration::from_mins(1));
        let stop = StopSignal::new();
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let config = settings.config().unwrap();
            let driver: Arc<dyn Driver> = driver;
            let clock = Arc::new(Default::default);
            runner::run(settings, config, &channel, &driver, limits, clock, &stopped).unwrap();
        });
        machine.service = Some((stop, thread));
        machine
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("service.toml")
    }

    fn channel(&self) -> PathBuf {
        self.folder.path().join("control")
    }

    pub fn text(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    pub fn write(&self, text: &str) {
        std::fs::write(self.file(), text).unwrap();
    }

    pub fn ask(&self, request: &Request) -> Answer {
        wait_until("the service listens", || connect(&self.channel()).is_ok());
        ask(&mut connect(&self.channel()).unwrap(), request).unwrap()
    }

    #[track_caller]
    pub fn done(&self, request: &Request) -> Done {
        match self.ask(request) {
            Answer::Done(done) => done,
            other => panic!("{request:?} was not done: {other:?}"),
        }
    }

    #[track_caller]
    pub fn refused(&self, request: &Request) -> Refusal {
        match self.ask(request) {
            Answer::Refused(refusal) => refusal,
            other => panic!("{request:?} was carried out: {other:?}"),
        }
    }

    /// Asks for something that needs the driver, while a program writes to both volumes: one sector
    /// after the other, each when the write before is done, until well after the instant at which
    /// it was asked.
    pub fn write_meanwhile<T>(&self, ask: impl FnOnce() -> T) -> T {
        let opened = || {
            let seen = self.volumes[0].seen();
            seen.into_iter().filter(|it| *it == Seen::Opened).count()
        };
        let before = opened();
        let write = || {
            let mut until = None;
            for number in 0_u64.. {
                let volume = &self.volumes[usize::try_from(number * number / 7 % 2).unwrap()];
                volume.write(number * 512, &[1]);
                if number % 3 == 0 {
                    self.clock.pass(1_000);
                }
                if number % 16 == 0 {
                    volume.end_epoch();
                }
                let now = self.clock.now();
                if until.is_none() && opened() > before {
                    until = Some(now + 3_000_000);
                }
                if until.is_some_and(|until| now >= until) {
                    break;
                }
                thread::sleep(Duration::from_micros(100));
            }
            self.volumes.iter().for_each(|volume| _ = volume.end_epoch());
        };
        thread::scope(|scope| {
            scope.spawn(write);
            ask()
        })
    }

    /// The session of a volume, which is waited for.
    #[track_caller]
    pub fn session(&self, index: usize) -> SessionId {
        wait_until("a session", || self.volumes[index].session().is_some());
        self.volumes[index].session().unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.service.take() {
            stop.set();
            thread.join().unwrap();
        }
    }
}

/// Asks for the protection of a volume.
pub fn protect(index: usize, server: Option<&str>, group: Option<&str>) -> Request {
    let (server, group) = (server.map(str::to_owned), group.map(str::to_owned));
    Request::Protect { volume: DEVICES[index].to_owned(), server, group }
}
