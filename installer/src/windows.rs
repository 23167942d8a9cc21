//! [`System`] on Windows: registry, `SetupAPI`, service manager, files.

mod class_filters;
mod counters;
mod device_filters;
mod events;
mod files;
mod inf;
mod pending;
mod provider;
mod registration;
mod secure;
mod services;
mod settings;
mod signature;
mod starts;
mod store;
mod trial;
mod version;

use std::path::{Path, PathBuf};

use snapless_driver_client::paths;

use crate::error::SetupError;
use crate::filter_list::FilterList;
use crate::service_settings::Setting;
use crate::system::{Deleted, EventSource, Found, Registration, ServiceState, Signature, System};
use crate::version::Version;

/// This machine.
#[derive(Clone, Copy, Default, Debug)]
pub struct WindowsSystem;

impl System for WindowsSystem {
    fn read_file(&self, file: &Path) -> Result<Option<Vec<u8>>, SetupError> {
        files::read(file)
    }

    fn version(&self, file: &Path) -> Result<Option<Version>, SetupError> {
        Ok(version::of(file))
    }

    fn signature(&self, file: &Path) -> Result<Signature, SetupError> {
        Ok(signature::of(file))
    }

    fn driver_file(&self) -> PathBuf {
        paths::driver_file()
    }

    fn program_folder(&self) -> PathBuf {
        paths::program_dir()
    }

    fn data_folder(&self) -> PathBuf {
        paths::root()
    }

    fn data_folder_access(&self) -> Result<Found, SetupError> {
        let folder = paths::root();
        secure::access(&folder).map_err(SetupError::file("look at the access list of", &folder))
    }

    fn class_filters(&self) -> Result<FilterList, SetupError> {
        class_filters::read()
    }

    fn device_filters(&self, name: &str) -> Result<usize, SetupError> {
        device_filters::count(name)
    }

    fn service_state(&self, name: &str) -> Result<ServiceState, SetupError> {
        services::state(name)
    }

    fn registration(&self, name: &str) -> Result<Option<Registration>, SetupError> {
        registration::read(name)
    }

    fn setting(&self, setting: Setting) -> Result<Found, SetupError> {
        settings::look(setting)
    }

    fn set(&self, setting: Setting) -> Result<(), SetupError> {
        settings::set(setting)
    }

    fn is_service_deleted_at_restart(&self, name: &str) -> Result<bool, SetupError> {
        Ok(registration::is_deleted(name))
    }

    fn event_source(&self) -> Result<EventSource, SetupError> {
        Ok(events::source())
    }

    fn counters(&self) -> Result<Found, SetupError> {
        counters::look(&self.program_folder())
    }

    fn is_deleted_at_restart(&self, file: &Path) -> Result<bool, SetupError> {
        pending::is_deleted_at_restart(file)
    }

    fn needs_restart(&self) -> Result<bool, SetupError> {
        Ok(pending::is_restart_noted())
    }

    fn note_restart(&self) -> Result<(), SetupError> {
        pending::note_restart()
    }

    fn starts_have_failed(&self) -> Result<bool, SetupError> {
        Ok(starts::have_failed())
    }

    fn forget_failed_starts(&self) -> Result<(), SetupError> {
        starts::forget()
    }

    fn try_driver(&self, file: &Path) -> Result<(), SetupError> {
        trial::run(file)
    }

    fn has_trial(&self) -> Result<bool, SetupError> {
        trial::is_left()
    }

    fn clear_trial(&self) -> Result<(), SetupError> {
        trial::clear()
    }

    fn install_driver(&self, inf: &Path) -> Result<(), SetupError> {
        if inf::install(inf)? {
            pending::note_restart()?;
        }
        files::flush(&paths::driver_file())
    }

    fn driver_packages(&self) -> Result<Vec<String>, SetupError> {
        store::packages()
    }

    fn remove_driver_package(&self, name: &str) -> Result<(), SetupError> {
        if store::remove(name)? {
            pending::note_restart()?;
        }
        Ok(())
    }

    fn copy_program(&self, file: &Path) -> Result<(), SetupError> {
        files::copy_into(file, &self.program_folder())
    }

    fn secure_data_folder(&self) -> Result<(), SetupError> {
        let folder = paths::root();
        secure::folder(&folder).map_err(SetupError::file("secure", &folder))
    }

    fn register_service(&self, program: &Path) -> Result<(), SetupError> {
        registration::write(program)
    }

    fn register_events(&self, messages: &Path) -> Result<(), SetupError> {
        events::register(messages)
    }

    fn remove_events(&self) -> Result<(), SetupError> {
        events::remove()
    }

    fn register_counters(&self) -> Result<(), SetupError> {
        counters::register(&self.program_folder())
    }

    fn remove_counters(&self) -> Result<Deleted, SetupError> {
        counters::remove(&self.program_folder())
    }

    fn provider(&self) -> Result<Found, SetupError> {
        Ok(provider::look())
    }

    fn register_provider(&self) -> Result<(), SetupError> {
        provider::register()
    }

    fn remove_provider(&self) -> Result<Deleted, SetupError> {
        provider::remove()
    }

    fn set_class_filters(&self, filters: &FilterList) -> Result<(), SetupError> {
        class_filters::write(filters)
    }

    fn remove_device_filters(&self, name: &str) -> Result<(), SetupError> {
        device_filters::remove(name)
    }

    fn start_service(&self, name: &str) -> Result<(), SetupError> {
        services::start(name)
    }

    fn stop_service(&self, name: &str) -> Result<(), SetupError> {
        services::stop(name)
    }

    fn delete_service(&self, name: &str) -> Result<Deleted, SetupError> {
        services::delete(name)
    }

    fn delete_file(&self, file: &Path, at_restart: bool) -> Result<Deleted, SetupError> {
        if pending::is_deleted_at_restart(file)? {
            return Ok(Deleted::Pending);
        }
        files::delete(file, at_restart)
    }
}
