//! The Windows functions that the setup needs: small steps, each done completely or not at all.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::SetupError;
use crate::filter_list::FilterList;

/// The outcome of a deletion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deleted {
    /// Deleted.
    Now,
    /// In use; the next restart deletes it.
    AtRestart,
    /// It did not exist.
    Absent,
}

/// What Windows says of a file's embedded signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Signature {
    /// It trusts the signer.
    Trusted,
    /// It does not, for this reason; test signing is on: the loader takes it all the same.
    Test(String),
    /// It does not, for this reason.
    Refused(String),
}

/// How a driver came to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DriverStart {
    /// Windows has loaded it now.
    Now,
    /// One of this name runs since the machine started: an earlier version, or this one.
    Before,
}

/// The state of a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// Not registered.
    Absent,
    /// Registered, not running.
    Stopped,
    /// Running, starting or stopping.
    Running,
}

/// Windows.
pub trait System {
    /// The volume class's upper filters; empty if it has none.
    fn class_filters(&self) -> Result<FilterList, SetupError>;

    /// Replaces the volume class's upper filters.
    fn set_class_filters(&self, filters: &FilterList) -> Result<(), SetupError>;

    /// Removes `name` from the own lists of all volume devices, present or not; returns from how
    /// many.
    fn remove_device_filters(&self, name: &str) -> Result<usize, SetupError>;

    /// Runs the install section of `inf`.
    fn run_inf(&self, inf: &Path) -> Result<(), SetupError>;

    /// The installed driver's file.
    fn driver_file(&self) -> PathBuf;

    /// The folder of the installed programs.
    fn program_folder(&self) -> PathBuf;

    /// Copies `file` into the program folder; returns the copy's path.
    fn copy_program(&self, file: &Path) -> Result<PathBuf, SetupError>;

    /// Creates the folder of configuration, state and logs, for SYSTEM and Administrators only.
    fn secure_data_folder(&self) -> Result<PathBuf, SetupError>;

    /// Registers the service with `program`, and its event source; updates an earlier registration.
    fn register_service(&self, program: &Path) -> Result<(), SetupError>;

    /// What Windows says of a file's signature.
    fn signature(&self, file: &Path) -> Result<Signature, SetupError>;

    /// Has Windows load a driver.
    fn start_driver(&self, name: &str) -> Result<DriverStart, SetupError>;

    /// Forgets that the driver has counted starts which no program reached.
    fn forget_failed_starts(&self) -> Result<(), SetupError>;

    /// Stops a service and waits for it; does nothing if it is not running.
    fn stop_service(&self, name: &str) -> Result<(), SetupError>;

    /// Deletes a service.
    fn delete_service(&self, name: &str) -> Result<Deleted, SetupError>;

    /// Deletes a file, at the next restart if `at_restart` or if it is in use.
    fn delete_file(&self, file: &Path, at_restart: bool) -> Result<Deleted, SetupError>;

    /// True if the next restart deletes `file`.
    fn is_deleted_at_restart(&self, file: &Path) -> Result<bool, SetupError>;

    /// The state of a service.
    fn service_state(&self, name: &str) -> Result<ServiceState, SetupError>;
}
