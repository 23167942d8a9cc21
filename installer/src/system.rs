//! What the setup needs of Windows: small steps, each done or failed as a whole.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::SetupError;
use crate::filter_list::FilterList;

/// What became of something that was to be deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deleted {
    /// It is gone.
    Now,
    /// It is in use and goes with the next restart.
    AtRestart,
    /// It was not there.
    Absent,
}

/// Where a service stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// It is not registered.
    Absent,
    /// It is registered and does not run.
    Stopped,
    /// It runs, or is about to start or stop.
    Running,
}

/// Windows, as the setup sees it.
pub trait System {
    /// The volume class's upper filters; empty if it has none.
    fn class_filters(&self) -> Result<FilterList, SetupError>;

    /// Replaces the volume class's upper filters.
    fn set_class_filters(&self, filters: &FilterList) -> Result<(), SetupError>;

    /// Takes `name` out of the own lists of all volume devices, present or not; returns of how many.
    fn remove_device_filters(&self, name: &str) -> Result<usize, SetupError>;

    /// Carries out the install section of `inf`.
    fn run_inf(&self, inf: &Path) -> Result<(), SetupError>;

    /// Where the driver's file goes.
    fn driver_file(&self) -> PathBuf;

    /// Where the programs go.
    fn program_folder(&self) -> PathBuf;

    /// Copies `file` into the program folder; returns its place there.
    fn copy_program(&self, file: &Path) -> Result<PathBuf, SetupError>;

    /// Makes the folder for configuration, state and logs, for SYSTEM and Administrators only.
    fn secure_data_folder(&self) -> Result<PathBuf, SetupError>;

    /// Registers the service with `program`, and its source of events; an earlier registration is updated.
    fn register_service(&self, program: &Path) -> Result<(), SetupError>;

    /// Stops a service and waits for it; nothing if it does not run.
    fn stop_service(&self, name: &str) -> Result<(), SetupError>;

    /// Deletes a service's registration.
    fn delete_service(&self, name: &str) -> Result<Deleted, SetupError>;

    /// Deletes a file, at the next restart if it is in use or `at_restart` is asked for.
    fn delete_file(&self, file: &Path, at_restart: bool) -> Result<Deleted, SetupError>;

    /// True if an earlier removal will delete `file` at the next restart.
    fn goes_at_restart(&self, file: &Path) -> Result<bool, SetupError>;

    /// Where a service stands.
    fn service_state(&self, name: &str) -> Result<ServiceState, SetupError>;
}
