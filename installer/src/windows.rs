//! [`System`] on Windows: registry, `SetupAPI`, service manager, files.

mod class_filters;
mod device_filters;
mod files;
mod inf;
mod pending;
mod secure;
mod services;
mod signature;

use std::path::{Path, PathBuf};

use snapless_driver_client::paths;

use crate::error::SetupError;
use crate::filter_list::FilterList;
use crate::system::{Deleted, DriverStart, ServiceState, Signature, System};

/// This machine.
#[derive(Clone, Copy, Default, Debug)]
pub struct WindowsSystem;

impl System for WindowsSystem {
    fn class_filters(&self) -> Result<FilterList, SetupError> {
        class_filters::read()
    }

    fn set_class_filters(&self, filters: &FilterList) -> Result<(), SetupError> {
        class_filters::write(filters)
    }

    fn remove_device_filters(&self, name: &str) -> Result<usize, SetupError> {
        device_filters::remove(name)
    }

    fn run_inf(&self, inf: &Path) -> Result<(), SetupError> {
        inf::install(inf);
        Ok(())
    }

    fn driver_file(&self) -> PathBuf {
        paths::driver_file()
    }

    fn program_folder(&self) -> PathBuf {
        paths::program_dir()
    }

    fn copy_program(&self, file: &Path) -> Result<PathBuf, SetupError> {
        files::copy_into(file, &self.program_folder())
    }

    fn secure_data_folder(&self) -> Result<PathBuf, SetupError> {
        let folder = paths::root();
        secure::folder(&folder).map_err(SetupError::file("secure", &folder))?;
        Ok(folder)
    }

    fn register_service(&self, program: &Path) -> Result<(), SetupError> {
        services::register(program)?;
        services::register_events()
    }

    fn signature(&self, file: &Path) -> Result<Signature, SetupError> {
        Ok(signature::of(file))
    }

    fn start_driver(&self, name: &str) -> Result<DriverStart, SetupError> {
        services::start_driver(name)
    }

    fn forget_failed_starts(&self) -> Result<(), SetupError> {
        services::forget_failed_starts()
    }

    fn stop_service(&self, name: &str) -> Result<(), SetupError> {
        services::stop(name)
    }

    fn delete_service(&self, name: &str) -> Result<Deleted, SetupError> {
        services::delete(name)
    }

    fn delete_file(&self, file: &Path, at_restart: bool) -> Result<Deleted, SetupError> {
        files::delete(file, at_restart)
    }

    fn is_deleted_at_restart(&self, file: &Path) -> Result<bool, SetupError> {
        pending::is_deleted_at_restart(file)
    }

    fn service_state(&self, name: &str) -> Result<ServiceState, SetupError> {
        services::state(name)
    }
}
