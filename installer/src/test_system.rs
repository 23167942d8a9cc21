//! A machine in memory, with Windows' side of the setup. Its power can be cut, or Windows can
//! refuse, at any change; and it can be restarted.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::SetupError;
use crate::filter_list::FilterList;
use crate::names::{COMMAND_LINE, DRIVER, INF, SERVICE, SERVICE_PROGRAM, TRIAL};
use crate::package::Package;
use crate::service_settings::Setting;
use crate::system::{
    Deleted, EventSource, Found, Registration, ServiceState, Signature, Start, System,
};
use crate::version::Version;

/// A driver of this version does not load.
pub(crate) const UNLOADABLE: u16 = 9;

/// A setting that the machine does not have.
pub(crate) const UNSUPPORTED: Setting = Setting::OwnSid;

/// What is on the machine's disk, and what runs until it is restarted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "facts of a machine")]
pub(crate) struct State {
    pub(crate) filters: Vec<String>,
    pub(crate) device_filters: Vec<String>,
    pub(crate) files: BTreeMap<PathBuf, String>,
    pub(crate) services: BTreeMap<String, Service>,
    /// Settings of the service that are as they should be.
    pub(crate) settings: BTreeSet<Setting>,
    pub(crate) secured: bool,
    /// The message file of the event source.
    pub(crate) events: Option<PathBuf>,
    pub(crate) counters: bool,
    /// The COM class of the VSS provider.
    pub(crate) provider: bool,
    /// Windows registers and removes no counters.
    pub(crate) refuses_counters: bool,
    /// The driver passes everything through.
    pub(crate) starts_failed: bool,
    /// Drivers that Windows has loaded on this machine, by their content.
    loaded: BTreeSet<String>,
    /// Windows is older than its support of primitive drivers: it keeps none in its driver store.
    pub(crate) keeps_no_packages: bool,
    /// Versions in the driver store.
    pub(crate) packages: BTreeSet<String>,
    pub(crate) deleted_at_restart: BTreeSet<PathBuf>,
    needs_restart: bool,
    running: BTreeSet<String>,
}

/// A service's registration.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Service {
    pub(crate) file: PathBuf,
    pub(crate) boot: bool,
    /// It is deleted, and goes at the restart.
    marked: bool,
}

/// The content of a packaged or installed file.
pub(crate) fn content(name: &str, version: u16) -> String {
    format!("{name} {version}")
}

impl State {
    /// What Windows does when it starts: deletions first, then the drivers and services.
    pub(crate) fn restart(&mut self) {
        for file in std::mem::take(&mut self.deleted_at_restart) {
            self.files.remove(&file);
        }
        self.services.retain(|_, service| !service.marked);
        if !self.services.contains_key(SERVICE) {
            self.settings.clear();
        }
        self.needs_restart = false;
        self.running.clear();
        let all = self.services.clone();
        for (name, service) in all {
            let starts = if service.boot { self.is_filter() } else { name == SERVICE };
            if starts && self.files.contains_key(&service.file) {
                self.running.insert(name);
            }
        }
    }

    pub(crate) fn is_filter(&self) -> bool {
        self.filters.iter().chain(&self.device_filters).any(|name| name == DRIVER)
    }

    /// The rule: a filter is installed, and Windows has loaded it on this machine.
    pub(crate) fn boots(&self) -> Result<(), String> {
        if !self.is_filter() {
            return Ok(());
        }
        let file = driver_file();
        let service = self.services.get(DRIVER).filter(|service| service.boot);
        if service.is_none_or(|service| service.file != file || service.marked) {
            return Err("its service is missing or does not start".into());
        }
        match self.files.get(&file) {
            None => Err("its file is missing".into()),
            Some(_) if self.deleted_at_restart.contains(&file) => {
                Err("its file goes at the restart".into())
            }
            Some(found) if !self.loaded.contains(found) => {
                Err(format!("Windows has never loaded {found}"))
            }
            Some(_) => Ok(()),
        }
    }

    /// True if the product is completely there, in this version.
    pub(crate) fn is_complete(&self, version: u16) -> bool {
        let at = |file: PathBuf, name: &str| {
            self.files.get(&file).is_some_and(|found| *found == content(name, version))
        };
        self.boots().is_ok()
            && self.filters.iter().filter(|name| *name == DRIVER).count() == 1
            && !self.device_filters.iter().any(|name| name == DRIVER)
            && self.is_above("volsnap")
            && at(driver_file(), "snapless.sys")
            && at(program(SERVICE_PROGRAM), SERVICE_PROGRAM)
            && at(program(COMMAND_LINE), COMMAND_LINE)
            && self.services.get(SERVICE).is_some_and(|it| it.file == program(SERVICE_PROGRAM))
            && Setting::ALL
                .iter()
                .all(|setting| self.settings.contains(setting) || *setting == UNSUPPORTED)
            && self.secured
            && self.events.as_ref().is_some_and(|file| self.files.contains_key(file))
            && self.counters != self.refuses_counters
            && self.provider
            && !self.starts_failed
            && !self.has_trial()
    }

    /// True if nothing of the product is left but the data folder.
    pub(crate) fn is_clean(&self) -> bool {
        let files = [driver_file(), program(SERVICE_PROGRAM), program(COMMAND_LINE)];
        !self.is_filter()
            && files.iter().all(|file| !self.files.contains_key(file))
            && self.services.is_empty()
            && self.packages.is_empty()
            && self.events.is_none()
            && (!self.counters || self.refuses_counters)
            && !self.provider
            && !self.has_trial()
    }

    /// True if `name` is not above the driver.
    fn is_above(&self, name: &str) -> bool {
        let at = |wanted: &str| self.filters.iter().position(|other| other == wanted);
        at(name) <= at(DRIVER)
    }

    fn has_trial(&self) -> bool {
        self.services.contains_key(TRIAL) || self.files.contains_key(&trial_file())
    }
}

fn driver_file() -> PathBuf {
    "/windows/drivers/snapless.sys".into()
}

fn trial_file() -> PathBuf {
    "/windows/drivers/snapless-trial.sys".into()
}

fn program(name: &str) -> PathBuf {
    Path::new("/programs").join(name)
}

/// What happens at a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mishap {
    /// The power is cut before it: nothing more happens.
    PowerCut,
    /// Windows refuses it, this once.
    Refusal,
}

/// The machine.
pub(crate) struct TestSystem {
    state: RefCell<State>,
    /// Files that the packages lack.
    lost: BTreeSet<PathBuf>,
    signature: RefCell<Signature>,
    changes: Cell<usize>,
    mishap: Cell<Option<(Mishap, usize)>>,
    is_off: Cell<bool>,
    log: RefCell<Vec<String>>,
}

impl TestSystem {
    /// A machine with these volume filters, and packages of all versions.
    pub(crate) fn new(filters: &[&str]) -> Self {
        let filters = filters.iter().map(ToString::to_string).collect();
        Self::with(State { filters, ..State::default() })
    }

    /// A machine in this state.
    pub(crate) fn with(state: State) -> Self {
        Self {
            state: RefCell::new(state),
            lost: BTreeSet::new(),
            signature: RefCell::new(Signature::Trusted),
            changes: Cell::new(0),
            mishap: Cell::new(None),
            is_off: Cell::new(false),
            log: RefCell::default(),
        }
    }

    /// The package of a version.
    pub(crate) fn package(version: u16) -> Package {
        let programs = package_folder(version);
        Package { inf: programs.join(INF), programs, untrusted: false, force: false }
    }

    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    pub(crate) fn change_state(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.borrow_mut());
    }

    pub(crate) fn restart(&self) {
        self.state.borrow_mut().restart();
    }

    /// The changes since the last call, in words.
    pub(crate) fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.borrow_mut())
    }

    /// Lets this happen before change `nth`, counted from 0.
    pub(crate) fn let_happen(&self, mishap: Mishap, nth: usize) {
        self.mishap.set(Some((mishap, nth)));
        self.changes.set(0);
    }

    /// True if it has happened.
    pub(crate) fn has_happened(&self) -> bool {
        self.mishap.get().is_some_and(|(_, at)| at < self.changes.get())
    }

    /// From now on Windows says this of a driver's signature.
    pub(crate) fn sign(&self, signature: Signature) {
        *self.signature.borrow_mut() = signature;
    }

    /// Removes a file of a package.
    pub(crate) fn lose(&mut self, file: &Path) {
        self.lost.insert(file.to_owned());
    }

    fn ask<T>(&self, answer: impl FnOnce(&State) -> T) -> Result<T, SetupError> {
        if self.is_off.get() { Err(off()) } else { Ok(answer(&self.state.borrow())) }
    }

    /// One change; the power may be cut before it.
    fn change<T>(
        &self,
        what: String,
        change: impl FnOnce(&mut State) -> T,
    ) -> Result<T, SetupError> {
        let nth = self.changes.replace(self.changes.get() + 1);
        if let Some((mishap, at)) = self.mishap.get()
            && at == nth
        {
            self.is_off.set(mishap == Mishap::PowerCut);
            if mishap == Mishap::Refusal {
                return Err(failed("refused"));
            }
        }
        if self.is_off.get() {
            return Err(off());
        }
        self.log.borrow_mut().push(what);
        Ok(change(&mut self.state.borrow_mut()))
    }

    fn packaged(&self, file: &Path) -> Option<String> {
        let inside = file.strip_prefix("/packages").ok().filter(|_| !self.lost.contains(file))?;
        let (version, name) = inside.to_str()?.split_once('/')?;
        Some(content(name, version.parse().ok()?))
    }

    fn find(&self, file: &Path) -> Option<String> {
        self.packaged(file).or_else(|| self.state.borrow().files.get(file).cloned())
    }
}

fn package_folder(version: u16) -> PathBuf {
    format!("/packages/{version}").into()
}

fn off() -> SetupError {
    failed("the power is off")
}

fn failed(why: &str) -> SetupError {
    SetupError::file("use", Path::new("the machine"))(io::Error::other(why.to_owned()))
}

fn version_of(content: &str) -> Option<Version> {
    content.rsplit(' ').next()?.parse().ok().map(|major| Version([major, 0, 0, 0]))
}

impl System for TestSystem {
    fn read_file(&self, file: &Path) -> Result<Option<Vec<u8>>, SetupError> {
        self.ask(|_| ())?;
        Ok(self.find(file).map(String::into_bytes))
    }

    fn version(&self, file: &Path) -> Result<Option<Version>, SetupError> {
        self.ask(|_| ())?;
        Ok(self.find(file).as_deref().and_then(version_of))
    }

    fn signature(&self, _file: &Path) -> Result<Signature, SetupError> {
        self.ask(|_| self.signature.borrow().clone())
    }

    fn driver_file(&self) -> PathBuf {
        driver_file()
    }

    fn program_folder(&self) -> PathBuf {
        "/programs".into()
    }

    fn data_folder(&self) -> PathBuf {
        "/data".into()
    }

    fn data_folder_access(&self) -> Result<Found, SetupError> {
        self.ask(|state| if state.secured { Found::AsWanted } else { Found::Other })
    }

    fn class_filters(&self) -> Result<FilterList, SetupError> {
        self.ask(|state| FilterList::new(state.filters.clone()))
    }

    fn device_filters(&self, name: &str) -> Result<usize, SetupError> {
        self.ask(|state| state.device_filters.iter().filter(|other| *other == name).count())
    }

    fn service_state(&self, name: &str) -> Result<ServiceState, SetupError> {
        self.ask(|state| match state.services.get(name) {
            None => ServiceState::Absent,
            Some(_) if state.running.contains(name) => ServiceState::Running,
            Some(_) => ServiceState::Stopped,
        })
    }

    fn registration(&self, name: &str) -> Result<Option<Registration>, SetupError> {
        self.ask(|state| {
            state.services.get(name).map(|service| Registration {
                file: service.file.clone(),
                start: if service.boot { Start::Boot } else { Start::Automatic },
            })
        })
    }

    fn setting(&self, setting: Setting) -> Result<Found, SetupError> {
        self.ask(|state| match setting {
            UNSUPPORTED => Found::Unsupported,
            _ if state.settings.contains(&setting) => Found::AsWanted,
            _ => Found::Other,
        })
    }

    fn set(&self, setting: Setting) -> Result<(), SetupError> {
        assert!(self.state.borrow().services.contains_key(SERVICE), "it is registered first");
        self.change(format!("set {}", setting.name()), |state| {
            state.settings.insert(setting);
        })
    }

    fn is_service_deleted_at_restart(&self, name: &str) -> Result<bool, SetupError> {
        self.ask(|state| state.services.get(name).is_some_and(|service| service.marked))
    }

    fn event_source(&self) -> Result<EventSource, SetupError> {
        self.ask(|state| state.events.clone().map_or(EventSource::Absent, EventSource::Messages))
    }

    fn counters(&self) -> Result<Found, SetupError> {
        self.ask(|state| if state.counters { Found::AsWanted } else { Found::Other })
    }

    fn provider(&self) -> Result<Found, SetupError> {
        self.ask(|state| if state.provider { Found::AsWanted } else { Found::Other })
    }

    fn is_deleted_at_restart(&self, file: &Path) -> Result<bool, SetupError> {
        self.ask(|state| state.deleted_at_restart.contains(file))
    }

    fn needs_restart(&self) -> Result<bool, SetupError> {
        self.ask(|state| state.needs_restart)
    }

    fn starts_have_failed(&self) -> Result<bool, SetupError> {
        self.ask(|state| state.starts_failed)
    }

    fn note_restart(&self) -> Result<(), SetupError> {
        self.change("note a restart".into(), |state| state.needs_restart = true)
    }

    fn try_driver(&self, file: &Path) -> Result<(), SetupError> {
        let driver = self.find(file).ok_or_else(|| SetupError::Missing(file.to_owned()))?;
        self.clear_trial()?;
        self.change("copy the trial".into(), |state| {
            state.files.insert(trial_file(), driver.clone());
        })?;
        self.change("register the trial".into(), |state| {
            let service = Service { file: trial_file(), boot: false, marked: false };
            state.services.insert(TRIAL.into(), service);
        })?;
        let loads = version_of(&driver) != Some(Version([UNLOADABLE, 0, 0, 0]));
        if loads {
            self.change(format!("load {driver}"), |state| {
                state.loaded.insert(driver);
            })?;
        }
        self.clear_trial()?;
        let why = "an import is missing".to_owned();
        if loads { Ok(()) } else { Err(SetupError::NotLoaded { file: file.to_owned(), why }) }
    }

    fn has_trial(&self) -> Result<bool, SetupError> {
        self.ask(State::has_trial)
    }

    fn clear_trial(&self) -> Result<(), SetupError> {
        if self.ask(|state| state.services.contains_key(TRIAL))? {
            self.change("delete the trial's service".into(), |state| state.services.remove(TRIAL))?;
        }
        if self.ask(|state| state.files.contains_key(&trial_file()))? {
            self.change("delete the trial's file".into(), |state| {
                state.files.remove(&trial_file())
            })?;
        }
        Ok(())
    }

    fn install_driver(&self, inf: &Path) -> Result<(), SetupError> {
        let packaged = inf.with_extension("sys");
        let driver = self.packaged(&packaged).ok_or(SetupError::Missing(packaged))?;
        assert!(!self.is_service_deleted_at_restart(DRIVER)?, "Windows refuses");
        if !self.ask(|state| state.keeps_no_packages)? {
            self.change(format!("publish {driver}"), |state| {
                state.packages.insert(driver.clone());
            })?;
        }
        self.change(format!("copy {driver}"), |state| {
            state.files.insert(driver_file(), driver);
        })?;
        self.change("register the driver".into(), |state| {
            let service = Service { file: driver_file(), boot: true, marked: false };
            state.services.insert(DRIVER.into(), service);
        })
    }

    fn driver_packages(&self) -> Result<Vec<String>, SetupError> {
        self.ask(|state| state.packages.iter().cloned().collect())
    }

    /// It undoes what it would install, and leaves to the restart what a loaded driver needs.
    fn remove_driver_package(&self, name: &str) -> Result<(), SetupError> {
        let is_loaded = self.ask(|state| state.running.contains(DRIVER))?;
        if is_loaded {
            self.note_restart()?;
        }
        self.delete_service(DRIVER)?;
        self.delete_file(&driver_file(), is_loaded)?;
        self.change(format!("remove package {name}"), |state| {
            state.packages.remove(name);
        })
    }

    fn forget_failed_starts(&self) -> Result<(), SetupError> {
        self.change("forget failed starts".into(), |state| state.starts_failed = false)
    }

    fn copy_program(&self, file: &Path) -> Result<(), SetupError> {
        if self.ask(|state| state.running.contains(SERVICE))? {
            return Err(failed("a running program cannot be replaced"));
        }
        let found = self.packaged(file).ok_or_else(|| SetupError::Missing(file.to_owned()))?;
        self.change(format!("copy {found}"), |state| {
            state.files.insert(program(&file.file_name().unwrap().to_string_lossy()), found);
        })
    }

    fn secure_data_folder(&self) -> Result<(), SetupError> {
        self.change("secure the data folder".into(), |state| state.secured = true)
    }

    fn register_service(&self, program: &Path) -> Result<(), SetupError> {
        assert!(!self.is_service_deleted_at_restart(SERVICE)?, "Windows refuses");
        self.change("register the service".into(), |state| {
            let service = Service { file: program.to_owned(), boot: false, marked: false };
            state.services.insert(SERVICE.into(), service);
        })
    }

    fn register_events(&self, messages: &Path) -> Result<(), SetupError> {
        self.change("register events".into(), |state| state.events = Some(messages.to_owned()))
    }

    fn remove_events(&self) -> Result<(), SetupError> {
        self.change("remove events".into(), |state| state.events = None)
    }

    fn register_counters(&self) -> Result<(), SetupError> {
        if self.ask(|state| state.refuses_counters)? {
            let why = "exit code: 1".to_owned();
            return Err(SetupError::Counters { program: "lodctr.exe", why });
        }
        self.change("register counters".into(), |state| state.counters = true)
    }

    fn remove_counters(&self) -> Result<Deleted, SetupError> {
        if !self.ask(|state| state.counters)? {
            return Ok(Deleted::Absent);
        }
        if self.ask(|state| state.refuses_counters)? {
            let why = "exit code: 1".to_owned();
            return Err(SetupError::Counters { program: "unlodctr.exe", why });
        }
        self.change("remove counters".into(), |state| state.counters = false)?;
        Ok(Deleted::Now)
    }

    fn register_provider(&self) -> Result<(), SetupError> {
        self.change("register the provider".into(), |state| state.provider = true)
    }

    fn remove_provider(&self) -> Result<Deleted, SetupError> {
        if !self.ask(|state| state.provider)? {
            return Ok(Deleted::Absent);
        }
        self.change("remove the provider".into(), |state| state.provider = false)?;
        Ok(Deleted::Now)
    }

    fn set_class_filters(&self, filters: &FilterList) -> Result<(), SetupError> {
        self.change(format!("set filters {filters}"), |state| {
            state.filters = filters.names().to_vec();
        })
    }

    fn remove_device_filters(&self, name: &str) -> Result<(), SetupError> {
        while self.device_filters(name)? > 0 {
            self.change("remove a device's filter".into(), |state| {
                let at = state.device_filters.iter().position(|other| other == name).unwrap();
                state.device_filters.remove(at);
            })?;
        }
        Ok(())
    }

    fn start_service(&self, name: &str) -> Result<(), SetupError> {
        self.change(format!("start {name}"), |state| {
            state.running.insert(name.to_owned());
        })
    }

    fn stop_service(&self, name: &str) -> Result<(), SetupError> {
        if self.ask(|state| state.running.contains(name))? {
            self.change(format!("stop {name}"), |state| state.running.remove(name))?;
        }
        Ok(())
    }

    fn delete_service(&self, name: &str) -> Result<Deleted, SetupError> {
        let Some(service) = self.ask(|state| state.services.get(name).cloned())? else {
            return Ok(Deleted::Absent);
        };
        if service.marked {
            return Ok(Deleted::Pending);
        }
        self.change(format!("delete service {name}"), |state| {
            if state.running.contains(name) {
                state.services.get_mut(name).unwrap().marked = true;
                return Deleted::AtRestart;
            }
            state.services.remove(name);
            if name == SERVICE {
                state.settings.clear();
            }
            Deleted::Now
        })
    }

    fn delete_file(&self, file: &Path, at_restart: bool) -> Result<Deleted, SetupError> {
        let there = self.ask(|state| state.files.contains_key(file))?;
        if !there {
            return Ok(Deleted::Absent);
        }
        if self.ask(|state| state.deleted_at_restart.contains(file))? {
            return Ok(Deleted::Pending);
        }
        self.change(format!("delete {}", file.display()), |state| {
            if at_restart {
                state.deleted_at_restart.insert(file.to_owned());
                return Deleted::AtRestart;
            }
            state.files.remove(file);
            Deleted::Now
        })
    }
}
