//! A fake Windows, with its files in a temporary folder; it records each step.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::SetupError;
use crate::filter_list::FilterList;
use crate::install::Package;
use crate::names::{COMMAND_LINE, DRIVER, SERVICE, SERVICE_PROGRAM};
use crate::system::{Deleted, DriverStart, ServiceState, Signature, System};

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    SetFilters(String),
    RemoveDeviceFilters,
    RunInf,
    Copy(String),
    Register,
    StartDriver,
    ForgetFailedStarts,
    Stop(String),
    DeleteService(String),
    DeleteFile(String, bool),
}

pub(crate) struct TestSystem {
    folder: tempfile::TempDir,
    filters: RefCell<FilterList>,
    services: RefCell<BTreeSet<String>>,
    steps: RefCell<Vec<Step>>,
    delete_at_restart: RefCell<BTreeSet<PathBuf>>,
    driver_refused: Cell<bool>,
    filters_refused: Cell<bool>,
    start_refused: Cell<bool>,
    signature: RefCell<Signature>,
}

impl TestSystem {
    /// A machine with these volume filters, and a complete package.
    pub(crate) fn new(filters: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for place in ["package", "drivers", "programs"] {
            fs::create_dir(folder.path().join(place)).unwrap();
        }
        for file in ["snapless.inf", "snapless.sys", SERVICE_PROGRAM, COMMAND_LINE] {
            fs::write(folder.path().join("package").join(file), file).unwrap();
        }
        Self {
            folder,
            filters: RefCell::new(FilterList::new(filters.iter().map(ToString::to_string))),
            services: RefCell::default(),
            steps: RefCell::default(),
            delete_at_restart: RefCell::default(),
            driver_refused: Cell::new(false),
            filters_refused: Cell::new(false),
            start_refused: Cell::new(false),
            signature: RefCell::new(Signature::Trusted),
        }
    }

    pub(crate) fn package(&self) -> Package {
        let programs = self.folder.path().join("package");
        Package { inf: programs.join("snapless.inf"), programs, untrusted: false }
    }

    pub(crate) fn filters(&self) -> Vec<String> {
        self.filters.borrow().names().to_vec()
    }

    pub(crate) fn steps(&self) -> Vec<Step> {
        self.steps.borrow().clone()
    }

    pub(crate) fn clear_steps(&self) {
        self.steps.borrow_mut().clear();
    }

    /// From now on Windows rejects the driver without an error, as `SetupAPI` does.
    pub(crate) fn refuse_driver(&self) {
        self.driver_refused.set(true);
    }

    /// From now on Windows does not load the driver.
    pub(crate) fn refuse_start(&self) {
        self.start_refused.set(true);
    }

    /// From now on Windows says this of the driver's signature.
    pub(crate) fn sign(&self, signature: Signature) {
        *self.signature.borrow_mut() = signature;
    }

    /// From now on the list of filters cannot be written.
    pub(crate) fn refuse_filters(&self) {
        self.filters_refused.set(true);
    }

    fn did(&self, step: Step) {
        self.steps.borrow_mut().push(step);
    }
}

impl System for TestSystem {
    fn class_filters(&self) -> Result<FilterList, SetupError> {
        Ok(self.filters.borrow().clone())
    }

    fn set_class_filters(&self, filters: &FilterList) -> Result<(), SetupError> {
        if self.filters_refused.get() {
            return Err(SetupError::BadList("refused".into()));
        }
        self.did(Step::SetFilters(filters.names().join(",")));
        *self.filters.borrow_mut() = filters.clone();
        Ok(())
    }

    fn remove_device_filters(&self, _name: &str) -> Result<usize, SetupError> {
        self.did(Step::RemoveDeviceFilters);
        Ok(0)
    }

    fn run_inf(&self, inf: &Path) -> Result<(), SetupError> {
        self.did(Step::RunInf);
        if !self.driver_refused.get() {
            fs::copy(inf.with_extension("sys"), self.driver_file()).unwrap();
            self.services.borrow_mut().insert(DRIVER.into());
        }
        Ok(())
    }

    fn driver_file(&self) -> PathBuf {
        self.folder.path().join("drivers/snapless.sys")
    }

    fn program_folder(&self) -> PathBuf {
        self.folder.path().join("programs")
    }

    fn copy_program(&self, file: &Path) -> Result<PathBuf, SetupError> {
        let name = file.file_name().unwrap();
        self.did(Step::Copy(name.to_string_lossy().into_owned()));
        let to = self.program_folder().join(name);
        fs::copy(file, &to).map_err(SetupError::file("copy", file))?;
        Ok(to)
    }

    fn secure_data_folder(&self) -> Result<PathBuf, SetupError> {
        Ok(self.folder.path().to_owned())
    }

    fn register_service(&self, program: &Path) -> Result<(), SetupError> {
        assert!(program.is_file(), "the program is copied before it is registered");
        self.did(Step::Register);
        self.services.borrow_mut().insert(SERVICE.into());
        Ok(())
    }

    fn signature(&self, file: &Path) -> Result<Signature, SetupError> {
        assert!(file.is_file(), "a file of the package");
        Ok(self.signature.borrow().clone())
    }

    fn start_driver(&self, name: &str) -> Result<DriverStart, SetupError> {
        assert!(self.services.borrow().contains(name), "a driver is installed before it starts");
        self.did(Step::StartDriver);
        if self.start_refused.get() {
            let why = "an import is missing".to_owned();
            return Err(SetupError::NotLoaded { name: name.into(), why, left: "" });
        }
        Ok(DriverStart::Now)
    }

    fn forget_failed_starts(&self) -> Result<(), SetupError> {
        self.did(Step::ForgetFailedStarts);
        Ok(())
    }

    fn stop_service(&self, name: &str) -> Result<(), SetupError> {
        self.did(Step::Stop(name.into()));
        Ok(())
    }

    fn delete_service(&self, name: &str) -> Result<Deleted, SetupError> {
        assert!(!self.filters.borrow().contains(name), "a list of filters names this service");
        self.did(Step::DeleteService(name.into()));
        let there = self.services.borrow_mut().remove(name);
        Ok(if there { Deleted::Now } else { Deleted::Absent })
    }

    fn delete_file(&self, file: &Path, at_restart: bool) -> Result<Deleted, SetupError> {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        self.did(Step::DeleteFile(name, at_restart));
        Ok(match (file.is_file(), at_restart) {
            (false, _) => Deleted::Absent,
            (true, true) => {
                self.delete_at_restart.borrow_mut().insert(file.to_owned());
                Deleted::AtRestart
            }
            (true, false) => {
                fs::remove_file(file).map_err(SetupError::file("delete", file))?;
                Deleted::Now
            }
        })
    }

    fn is_deleted_at_restart(&self, file: &Path) -> Result<bool, SetupError> {
        Ok(self.delete_at_restart.borrow().contains(file))
    }

    fn service_state(&self, name: &str) -> Result<ServiceState, SetupError> {
        let there = self.services.borrow().contains(name);
        Ok(if there { ServiceState::Stopped } else { ServiceState::Absent })
    }
}
