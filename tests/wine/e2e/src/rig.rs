//! The rig of one run: a Wine prefix with the test volume, the product's driver and service in it,
//! the server beside it. Each method does what an administrator (or plug and play) does, with the
//! shipped programs.
//!
//! The rule: when the value is dropped, nothing that it started is left.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::ioctl;
pub use protocol::names::VOLUME_GUID;
use protocol::names::{VOLUME_DEVICE, VOLUME_PATH, VOLUME_SERVICE, parameters};
use protocol::violations;

use crate::agent::Agent;
use crate::error::{E2eError, ensure};
use crate::image::Image;
use crate::prefix::{DRIVERS, Prefix, RESTART, nt_path, windows_path};
use crate::process::{Program, wait_until};
use crate::run_folder::{RunFolder, read_if_there};
use crate::server::{self, Server};
use crate::service::{self, ServiceSettings};
use crate::status::Status;
use crate::status_watch::StatusWatch;

/// The service that starts the product's driver.
const DRIVER_SERVICE: &str = "snapless";
/// All drivers of a run are in the INF's group: Wine then runs them in one process, as one kernel.
const LOAD_ORDER_GROUP: &str = "PnP Filter";

/// Requests that the volume works on at once.
const VOLUME_WORKERS: u32 = 12;
/// Every fourth write is slow, by up to this: writes are under way at every instant and overtake
/// each other.
const SLOW_PERCENT: u32 = 25;
const SLOW_MS: u32 = 120;

/// Where the product's files wait for their installation.
const PACKAGE: &str = "snapless-package";

/// How the setup program asks for a restart: 3010, of which Linux has eight bits.
const SETUP_RESTART: &str = "exit status: 194";
/// Where the setup program puts the command line.
const COMMAND_LINE: &str = r"C:\Program Files\Snapless\snapless.exe";

const COMMAND_LIMIT: Duration = Duration::from_mins(1);
/// How long the load or the service may take until it is as it has to be.
const LOAD_LIMIT: Duration = Duration::from_secs(20);
/// How long a verification may take under load.
const VERIFY_LIMIT: Duration = Duration::from_mins(5);
/// How long a restore over the network may take.
const RESTORE_LIMIT: Duration = Duration::from_mins(5);
/// Threads of a writer.
const WRITER_THREADS: u16 = 24;

/// The files under test, and the rig's own.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `snapless.sys`
    pub driver: PathBuf,
    /// `snapless.inf`
    pub inf: PathBuf,
    /// `snapless-service.exe`
    pub service: PathBuf,
    /// `snapless.exe`
    pub command_line: PathBuf,
    /// `snapless-setup.exe`
    pub installer: PathBuf,
    /// The MSI, to install from; without it, from the INF.
    pub package: Option<PathBuf>,
    /// `snapless-server`, for Linux
    pub server: PathBuf,
    /// `wdfldr.sys`: KMDF for Wine
    pub framework: PathBuf,
    /// `snapless-test-volume.sys`
    pub volume: PathBuf,
    /// `snapless-writer.exe`
    pub writer: PathBuf,
    /// `snapless-rig-agent.exe`
    pub agent: PathBuf,
}

/// One run's rig. Fields are dropped in this order: programs first, the prefix with its Wine server
/// last.
#[derive(Debug)]
pub struct Rig {
    writer: Option<Program>,
    watch: Option<StatusWatch>,
    agent: Agent,
    server: Option<Server>,
    prefix: Prefix,
    programs: Programs,
    folder: RunFolder,
    seed: u64,
    /// Number of the next writer's first thread: no two writes of a run have the same content.
    next_thread: u16,
}

impl Rig {
    /// Makes the prefix from `template` and starts Wine in it.
    pub fn start(
        template: &Path,
        programs: &Programs,
        folder: &RunFolder,
        seed: u64,
    ) -> Result<Self, E2eError> {
        let prefix = Prefix::copy_of(template, &folder.prefix, &folder.logs)?;
        prefix.install(&programs.framework, DRIVERS)?;
        for file in [
            &programs.driver,
            &programs.inf,
            &programs.service,
            &programs.command_line,
            &programs.installer,
        ] {
            prefix.install(file, PACKAGE)?;
        }
        let agent = Agent::start(&prefix, &windows_path(&programs.agent))?;
        let (programs, folder) = (programs.clone(), folder.clone());
        Ok(Self {
            writer: None,
            watch: None,
            agent,
            server: None,
            prefix,
            programs,
            folder,
            seed,
            next_thread: 1,
        })
    }

    /// The agent, for questions to the volume.
    pub fn agent(&mut self) -> &mut Agent {
        &mut self.agent
    }

    /// Starts the test volume on a copy of the image. Each request takes it up to `jitter_us`
    /// microseconds.
    pub fn start_volume(&mut self, image: &Image, jitter_us: u32) -> Result<(), E2eError> {
        self.copy_image(image)?;
        let path = self.prefix.install(&self.programs.volume, DRIVERS)?;
        let kind = ["type=", "kernel", "start=", "demand", "group=", LOAD_ORDER_GROUP];
        self.sc(&[&["create", VOLUME_SERVICE][..], &kind, &["binpath=", &path]].concat())?;
        let state_area_kib = u32::try_from(image.state_area.start >> 10).unwrap_or(0);
        let (image, journal) = (nt_path(&self.folder.volume), nt_path(&self.folder.journal));
        self.set_parameter(parameters::IMAGE_PATH, "REG_SZ", &image)?;
        self.set_parameter(parameters::JOURNAL_PATH, "REG_SZ", &journal)?;
        self.set_parameter(parameters::SEED, "REG_DWORD", &(self.seed & 0x7fff_ffff).to_string())?;
        for (name, value) in [
            (parameters::WORKERS, VOLUME_WORKERS),
            (parameters::SLOW_PERCENT, SLOW_PERCENT),
            (parameters::SLOW_MS, SLOW_MS),
            (parameters::JITTER_US, jitter_us),
            (parameters::STATE_AREA_KIB, state_area_kib),
            (parameters::IO_MODEL, 0),
        ] {
            self.set_parameter(name, "REG_DWORD", &value.to_string())?;
        }
        self.sc(&["start", VOLUME_SERVICE])
    }

    /// Installs the product from its MSI, or from its INF with its own setup program.
    pub fn install_product(&mut self) -> Result<(), E2eError> {
        match &self.programs.package {
            Some(package) => {
                // The MSI is for this one and later; Wine is an older one by itself.
                self.prefix.run("winecfg", &["-v", "win10"])?;
                self.msiexec("install", "/i", package)
            }
            None => self.setup(&["install", "--untrusted"]).map(|_| ()),
        }
    }

    fn msiexec(&self, name: &str, verb: &str, package: &Path) -> Result<(), E2eError> {
        self.prefix.msiexec(name, &[verb, &windows_path(package)], RESTART).map(|_| ())
    }

    /// Runs the product's setup program, which may ask for a restart; returns what it printed.
    pub fn setup(&self, arguments: &[&str]) -> Result<String, E2eError> {
        let log = self.prefix.logs().join("snapless-setup.exe.log");
        let before = read_if_there(&log)?.len();
        match self.prefix.run(&format!(r"C:\{PACKAGE}\snapless-setup.exe"), arguments) {
            Err(E2eError::Exit { status, .. }) if status == SETUP_RESTART => {}
            ended => drop(ended?),
        }
        Ok(read_if_there(&log)?.get(before..).unwrap_or_default().to_owned())
    }

    /// Runs the setup program once more, then after a program was lost: it changes what is wrong
    /// and nothing else. The command line is not in use.
    pub fn set_up_again(&mut self) -> Result<(), E2eError> {
        let again = self.setup(&["install", "--untrusted"])?;
        ensure!(again.contains("Nothing to do"), Rule, "a second installation: {again}");
        let lost = self.prefix.on_c("Program Files/Snapless/snapless.exe");
        fs::remove_file(&lost).map_err(E2eError::file("remove", &lost))?;
        let repaired = self.setup(&["repair", "--untrusted"])?;
        let is_said = repaired.contains("snapless.exe is missing");
        ensure!(is_said && lost.is_file(), Rule, "a repair: {repaired}");
        let status = self.setup(&["status", "--json"])?;
        ensure!(status.contains("\"faults\": []"), Rule, "after a repair: {status}");
        let quiet = self.setup(&["install", "--untrusted", "--quiet"])?;
        ensure!(!quiet.contains("Nothing to do"), Rule, "--quiet prints {quiet}");
        Ok(())
    }

    /// Uninstalls the product; Wine has stopped.
    pub fn uninstall_product(&mut self) -> Result<(), E2eError> {
        match &self.programs.package {
            Some(package) => self.msiexec("remove", "/x", package)?,
            None => drop(self.setup(&["uninstall"])?),
        }
        let status = self.setup(&["status", "--json"])?;
        for part in ["\"installed\": false", "\"filter_registered\": false"] {
            ensure!(status.contains(part), Rule, "after an uninstallation: {status}");
        }
        self.prefix.stop()
    }

    /// Starts the product's driver and builds the volume's stack with it.
    pub fn start_driver(&mut self) -> Result<(), E2eError> {
        self.start_driver_with(|rig| rig.agent.command(ioctl::ATTACH, &()))
    }

    /// The same, with the stack built by `attach`.
    pub fn start_driver_with<T>(
        &mut self,
        attach: impl FnOnce(&mut Self) -> Result<T, E2eError>,
    ) -> Result<T, E2eError> {
        self.sc(&["start", DRIVER_SERVICE])?;
        self.unwatched(attach)
    }

    /// The same without a program that reaches the driver.
    pub fn start_driver_in_vain(&mut self) -> Result<(), E2eError> {
        self.sc(&["start", DRIVER_SERVICE])?;
        self.agent.command(ioctl::ATTACH, &())
    }

    /// Runs `act` without the status program: its queries need memory in the driver, and it ends if
    /// they fail.
    pub fn unwatched<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, E2eError>,
    ) -> Result<T, E2eError> {
        if let Some(watch) = self.watch.take() {
            watch.end();
        }
        let done = act(self)?;
        self.watch = Some(StatusWatch::start(&self.prefix, COMMAND_LINE)?);
        Ok(done)
    }

    /// Stops the volume and starts it on another copy of the image as one that takes data in
    /// another way: 0 by memory descriptor lists, 1 by system buffers, 2 by its caller's addresses.
    /// The driver is stopped.
    pub fn restart_volume(&mut self, image: &Image, io_model: u32) -> Result<(), E2eError> {
        self.sc(&["stop", VOLUME_SERVICE])?;
        self.copy_image(image)?;
        self.set_parameter(parameters::IO_MODEL, "REG_DWORD", &io_model.to_string())?;
        self.sc(&["start", VOLUME_SERVICE])
    }

    /// Starts a server with the run's repository, or starts it again where it listened before.
    pub fn start_server(&mut self, address: Option<&str>) -> Result<&mut Server, E2eError> {
        let server = Server::start(&self.programs.server, &self.folder, address)?;
        Ok(self.server.insert(server))
    }

    /// Enrols the machine at the running server, as its administrator does.
    pub fn enrol(&mut self) -> Result<(), E2eError> {
        let token = server::token(&self.programs.server, &self.folder)?;
        let address = self.server().address().to_owned();
        self.prefix.run(COMMAND_LINE, &["enroll", &address, "--token", &token]).map(|_| ())
    }

    /// The running server.
    pub fn server(&mut self) -> &mut Server {
        self.server.as_mut().expect("the scenario started the server")
    }

    /// Sets a value that the product's driver reads when it is started.
    pub fn set_driver_value(&self, name: &str, kind: &str, value: &str) -> Result<(), E2eError> {
        self.prefix.set_parameter(DRIVER_SERVICE, name, kind, value)
    }

    /// Takes the volume's stack down and stops the product's driver; the rig's KMDF checks for
    /// leaks.
    pub fn stop_driver(&mut self) -> Result<(), E2eError> {
        self.detach_volume()?;
        self.sc(&["stop", DRIVER_SERVICE])?;
        check_violations(&self.folder)
    }

    /// Takes the volume's stack down; the product's driver stays loaded.
    pub fn detach_volume(&mut self) -> Result<(), E2eError> {
        // It keeps the driver's control device open.
        self.watch = None;
        self.agent.command(ioctl::REMOVE, &())
    }

    /// The same, with something done while that is under way.
    pub fn detach_volume_while(
        &mut self,
        act: impl FnOnce(&mut Agent) -> Result<(), E2eError>,
    ) -> Result<(), E2eError> {
        self.watch = None;
        self.agent.ask("begin-remove")?;
        act(&mut self.agent)?;
        self.agent.ask("end-remove").map(|_| ())
    }

    /// Builds the volume's stack again with the product's driver.
    pub fn attach_volume(&mut self) -> Result<(), E2eError> {
        self.unwatched(|rig| rig.agent.command(ioctl::ATTACH, &()))
    }

    /// What the product's command line prints.
    pub fn command_line(&self, arguments: &[&str]) -> Result<String, E2eError> {
        self.prefix.run(COMMAND_LINE, arguments)
    }

    /// The product's command line's list of volumes, as JSON.
    pub fn volumes(&self) -> Result<String, E2eError> {
        self.command_line(&["volumes", "--json"])
    }

    /// Verifies the copy while the volume is in use, and waits for the outcome.
    pub fn verify_copy(&self) -> Result<String, E2eError> {
        let verify = ["verify", VOLUME_DEVICE, "--wait"];
        self.prefix.run_within(COMMAND_LINE, &verify, VERIFY_LIMIT)
    }

    /// As [`Rig::verify_copy`]; has what differs read again and sent.
    pub fn repair_copy(&self) -> Result<String, E2eError> {
        let repair = ["verify", VOLUME_DEVICE, "--repair"];
        self.prefix.run_within(COMMAND_LINE, &repair, VERIFY_LIMIT)
    }

    /// Has the machine restore a point of the volume over the network.
    pub fn restore(&self, words: &[&str]) -> Result<String, E2eError> {
        let words = [&["restore", VOLUME_DEVICE, "--json"], words].concat();
        self.prefix.run_within(COMMAND_LINE, &words, RESTORE_LIMIT)
    }

    /// Moves a file off drive C.
    pub fn take_from_c(&self, file: &str, to: &Path) -> Result<(), E2eError> {
        let path = self.prefix.on_c(file);
        fs::rename(&path, to).map_err(E2eError::file("rename", &path))
    }

    /// Writes the service's configuration.
    pub fn configure_service(&mut self, settings: &ServiceSettings) -> Result<(), E2eError> {
        let path = self.prefix.on_c(service::CONFIG_ON_C);
        let folder = path.parent().expect("a file on drive C has a folder");
        fs::create_dir_all(folder).map_err(E2eError::file("create", folder))?;
        let text = settings.to_toml(self.server().address(), VOLUME_GUID, VOLUME_DEVICE);
        fs::write(&path, text).map_err(E2eError::file("write", &path))
    }

    /// Removes the service's configuration.
    pub fn forget_configuration(&self) -> Result<(), E2eError> {
        let path = self.prefix.on_c(service::CONFIG_ON_C);
        fs::remove_file(&path).map_err(E2eError::file("remove", &path))
    }

    /// Writes a file on drive C.
    pub fn write_on_c(&self, file: &str, text: &str) -> Result<(), E2eError> {
        let path = self.prefix.on_c(file);
        fs::write(&path, text).map_err(E2eError::file("write", &path))
    }

    /// The text of a file on drive C.
    pub fn read_on_c(&self, file: &str) -> Result<String, E2eError> {
        let path = self.prefix.on_c(file);
        fs::read_to_string(&path).map_err(E2eError::file("read", &path))
    }

    /// Starts the service: protection begins, or goes on.
    pub fn start_service(&mut self) -> Result<(), E2eError> {
        self.sc(&["start", service::NAME])
    }

    /// Checks that the service's log has these events.
    pub fn service_logged(&self, events: &[u16]) -> Result<(), E2eError> {
        for &event in events {
            let logged = self.times_logged(event)? > 0;
            ensure!(logged, Rule, "the service's log has no event {event}");
        }
        Ok(())
    }

    /// How often the service's log has this event.
    pub fn times_logged(&self, event: u16) -> Result<usize, E2eError> {
        let log = read_if_there(&self.prefix.on_c(service::LOG_ON_C))?;
        Ok(log.matches(&format!("(event {event})")).count())
    }

    /// Waits until the service's log has this event as often as that, and no more often.
    pub fn must_have_logged(&self, event: u16, count: usize) -> Result<(), E2eError> {
        // The driver knows of the end of a gap before the service does.
        wait_until("the service to say so", LOAD_LIMIT, || {
            Ok((self.times_logged(event)? >= count).then_some(()))
        })?;
        let logged = self.times_logged(event)?;
        ensure!(logged == count, Rule, "RESUME: event {event} {logged} times instead of {count}");
        Ok(())
    }

    /// Waits until so many more writes have been applied.
    pub fn written_to(&mut self, more: u64) -> Result<(), E2eError> {
        let before = self.agent().counters()?.applied;
        wait_until("writes to the volume", LOAD_LIMIT, || {
            Ok((self.agent().counters()?.applied >= before + more).then_some(()))
        })
    }

    /// Stops the service as an administrator does.
    pub fn stop_service(&mut self) -> Result<(), E2eError> {
        self.sc(&["stop", service::NAME])?;
        self.service_is_gone()
    }

    /// Lets the service, which does not run, forget its session: the next one is new.
    pub fn forget_session(&mut self) -> Result<(), E2eError> {
        let folder = self.prefix.on_c(service::STATE_ON_C);
        for entry in fs::read_dir(&folder).map_err(E2eError::file("read", &folder))? {
            let path = entry.map_err(E2eError::file("read", &folder))?.path();
            if path.to_string_lossy().ends_with(".session.json") {
                fs::remove_file(&path).map_err(E2eError::file("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Kills the service's process as a crash does.
    pub fn kill_service(&mut self) -> Result<(), E2eError> {
        let pids = self.prefix.processes(service::PROGRAM)?;
        ensure!(!pids.is_empty(), Rule, "there is no process of the service to kill");
        for pid in pids {
            let killed = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            killed.map_err(|e| E2eError::file("kill", &self.folder.logs)(e.into()))?;
        }
        self.service_is_gone()
    }

    fn service_is_gone(&self) -> Result<(), E2eError> {
        wait_until("the service's process to end", COMMAND_LIMIT, || {
            Ok(self.prefix.processes(service::PROGRAM)?.is_empty().then_some(()))
        })
    }

    /// Starts the writer, without an end, at `rate` bytes per second.
    pub fn start_writer(&mut self, image: &Image, rate: u64) -> Result<(), E2eError> {
        let regions = &self.folder.regions;
        fs::write(regions, image.regions.to_text()).map_err(E2eError::file("write", regions))?;
        let mut command = self.prefix.wine(&windows_path(&self.programs.writer));
        command.args(["--device", VOLUME_PATH, "--regions", &windows_path(regions)]);
        command.args(["--log", &windows_path(&self.folder.writes)]);
        command.args(["--seed", &self.seed.to_string(), "--rate", &rate.to_string()]);
        command.args(["--threads", &WRITER_THREADS.to_string()]);
        command.args(["--first-thread", &self.next_thread.to_string()]);
        let writer = Program::start("writer", &mut command, self.prefix.logs())?;
        self.next_thread += WRITER_THREADS;
        self.writer = Some(writer);
        Ok(())
    }

    /// An error if a program that should run has ended.
    pub fn must_run(&mut self) -> Result<(), E2eError> {
        if let Some(writer) = &mut self.writer {
            writer.must_run()?;
        }
        if let Some(server) = &mut self.server {
            server.program.must_run()?;
        }
        check_violations(&self.folder)
    }

    /// Lets the writer finish what is under way; any error it met is an error here.
    pub fn stop_writer(&mut self) -> Result<(), E2eError> {
        match self.writer.take() {
            Some(mut writer) => writer.finish(COMMAND_LIMIT),
            None => Err(E2eError::Rule("the writer does not run".into())),
        }
    }

    /// The product's command line's report of the session; `None` while there is none.
    pub fn status(&mut self) -> Result<Option<Status>, E2eError> {
        self.watch.as_mut().expect("the scenario started the driver").look()
    }

    /// Takes everything down in the order of a clean shutdown: service, volume stack, drivers.
    pub fn shut_down(&mut self) -> Result<(), E2eError> {
        self.stop_service()?;
        self.unload()?;
        if let Some(mut server) = self.server.take() {
            server.stop()?;
        }
        Ok(())
    }

    /// Takes the volume's stack and the drivers down; the rig's KMDF then checks for leaks.
    pub fn unload(&mut self) -> Result<(), E2eError> {
        self.agent.command(ioctl::FLUSH, &())?;
        self.stop_driver()?;
        self.sc(&["stop", VOLUME_SERVICE])?;
        check_violations(&self.folder)?;
        self.agent.finish()?;
        self.prefix.stop()
    }

    /// Shuts the machine down, or cuts its power. The writer has ended, and in an orderly shutdown
    /// the service; image and server stay.
    pub fn power_off(&mut self, in_order: bool) -> Result<(), E2eError> {
        for service in [DRIVER_SERVICE, service::NAME] {
            // Wine would start them in an order of its own.
            let key = format!(r"HKLM\SYSTEM\CurrentControlSet\Services\{service}");
            let demand = ["add", &key, "/v", "Start", "/t", "REG_DWORD", "/d", "3", "/f"];
            self.prefix.run("reg", &demand)?;
        }
        if in_order {
            self.agent.shutdown()?;
            return self.unload();
        }
        self.agent.command(ioctl::FLUSH, &())?;
        self.prefix.stop()?;
        self.watch = None;
        check_violations(&self.folder)
    }

    /// Starts the machine on the image that it had, up to the product's driver.
    pub fn power_on(&mut self) -> Result<(), E2eError> {
        self.agent = Agent::start(&self.prefix, &windows_path(&self.programs.agent))?;
        self.sc(&["start", VOLUME_SERVICE])?;
        self.start_driver()
    }

    fn copy_image(&self, image: &Image) -> Result<(), E2eError> {
        let volume = &self.folder.volume;
        let copied = fs::copy(&image.pristine, volume);
        copied.map(|_| ()).map_err(E2eError::file("copy to", volume))
    }

    fn set_parameter(&self, name: &str, kind: &str, value: &str) -> Result<(), E2eError> {
        self.prefix.set_parameter(VOLUME_SERVICE, name, kind, value)
    }

    fn sc(&self, arguments: &[&str]) -> Result<(), E2eError> {
        self.prefix.sc(arguments)
    }
}

/// An error if the rig's KMDF saw a broken rule in the run of this folder.
pub fn check_violations(folder: &RunFolder) -> Result<(), E2eError> {
    let said = read_if_there(&folder.prefix.join(violations::LOG_IN_PREFIX))?;
    ensure!(said.trim().is_empty(), Violation, "{}", said.trim());
    Ok(())
}
