//! What the setup asks Windows, and what it changes.
//!
//! Rule: a change is done completely or not at all, and is on the disk when the call returns. A
//! power cut falls between two changes.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::SetupError;
use crate::filter_list::FilterList;
use crate::service_settings::Setting;
use crate::version::Version;

/// The outcome of a deletion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deleted {
    /// Deleted.
    Now,
    /// In use; the next restart deletes it.
    AtRestart,
    /// The next restart does, since an earlier command.
    Pending,
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

/// How a service is registered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registration {
    /// Its file.
    pub file: PathBuf,
    /// When it starts.
    pub start: Start,
}

/// When a service starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// A driver that the boot loader loads.
    Boot,
    /// With the machine.
    Automatic,
    /// Otherwise, or never.
    Other,
}

/// How the source of the service's events is registered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EventSource {
    /// Not at all.
    Absent,
    /// With this message file.
    Messages(PathBuf),
    /// In another way.
    Other,
}

/// What the system has of something that it may not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// What it should be.
    AsWanted,
    /// Something else, or nothing.
    Other,
    /// The system has no such thing (Wine): it can be neither set nor shown.
    Unsupported,
}

/// Windows.
pub trait System {
    /// The content of a file; `None` if there is none.
    fn read_file(&self, file: &Path) -> Result<Option<Vec<u8>>, SetupError>;

    /// The version of a program or driver; `None` if there is no file, or no version in it.
    fn version(&self, file: &Path) -> Result<Option<Version>, SetupError>;

    /// What Windows says of a file's signature.
    fn signature(&self, file: &Path) -> Result<Signature, SetupError>;

    /// The installed driver's file.
    fn driver_file(&self) -> PathBuf;

    /// The folder of the installed programs.
    fn program_folder(&self) -> PathBuf;

    /// The folder of configuration, state and logs.
    fn data_folder(&self) -> PathBuf;

    /// Whether that folder exists and is for SYSTEM and Administrators only.
    fn data_folder_access(&self) -> Result<Found, SetupError>;

    /// The volume class's upper filters; empty if it has none.
    fn class_filters(&self) -> Result<FilterList, SetupError>;

    /// How many volume devices, present or not, have `name` in a list of their own.
    fn device_filters(&self, name: &str) -> Result<usize, SetupError>;

    /// The state of a service.
    fn service_state(&self, name: &str) -> Result<ServiceState, SetupError>;

    /// How a service is registered; `None` if it is not.
    fn registration(&self, name: &str) -> Result<Option<Registration>, SetupError>;

    /// A setting of the service; `Other` if the service is not registered.
    fn setting(&self, setting: Setting) -> Result<Found, SetupError>;

    /// Sets it.
    fn set(&self, setting: Setting) -> Result<(), SetupError>;

    /// True if the service is deleted, and the next restart removes it.
    fn is_service_deleted_at_restart(&self, name: &str) -> Result<bool, SetupError>;

    /// How the source of the service's events is registered.
    fn event_source(&self) -> Result<EventSource, SetupError>;

    /// Whether the service's performance counters are registered, as this setup's manifest lists
    /// them (`counters`).
    fn counters(&self) -> Result<Found, SetupError>;

    /// Whether the COM class of the service's VSS provider is registered.
    fn provider(&self) -> Result<Found, SetupError>;

    /// True if the next restart deletes `file`.
    fn is_deleted_at_restart(&self, file: &Path) -> Result<bool, SetupError>;

    /// True if a change since the last start of the machine needs a restart.
    fn needs_restart(&self) -> Result<bool, SetupError>;

    /// Notes, until the next start of the machine, that a restart is needed.
    fn note_restart(&self) -> Result<(), SetupError>;

    /// Has Windows load the driver in `file` and unload it, under a name of its own, beside one
    /// that may run. An error says why Windows does not load it.
    fn try_driver(&self, file: &Path) -> Result<(), SetupError>;

    /// True if a trial that was cut short has left something.
    fn has_trial(&self) -> Result<bool, SetupError>;

    /// Removes it.
    fn clear_trial(&self) -> Result<(), SetupError>;

    /// Installs the driver by its INF: its file is replaced first, then its service is registered.
    /// Notes a restart if Windows asks for one.
    fn install_driver(&self, inf: &Path) -> Result<(), SetupError>;

    /// The driver's packages in the driver store, by the names of their published INFs.
    fn driver_packages(&self) -> Result<Vec<String>, SetupError>;

    /// Removes one of them. Windows undoes what it has installed from it, or from another version.
    /// Notes a restart if Windows asks for one.
    fn remove_driver_package(&self, name: &str) -> Result<(), SetupError>;

    /// True if the driver passes everything through, because no program reached it after several
    /// starts of the machine.
    fn starts_have_failed(&self) -> Result<bool, SetupError>;

    /// Forgets these starts.
    fn forget_failed_starts(&self) -> Result<(), SetupError>;

    /// Replaces a program in the program folder by `file`.
    fn copy_program(&self, file: &Path) -> Result<(), SetupError>;

    /// Creates the data folder, for SYSTEM and Administrators only.
    fn secure_data_folder(&self) -> Result<(), SetupError>;

    /// Registers the service with `program`; updates an earlier registration.
    fn register_service(&self, program: &Path) -> Result<(), SetupError>;

    /// Registers the source of the service's events, whose messages are in this file.
    fn register_events(&self, messages: &Path) -> Result<(), SetupError>;

    /// Removes it.
    fn remove_events(&self) -> Result<(), SetupError>;

    /// Registers the service's performance counters, in place of those that are registered. Cut
    /// short, it leaves some of them, which do not count as registered.
    fn register_counters(&self) -> Result<(), SetupError>;

    /// Removes what is registered of them.
    fn remove_counters(&self) -> Result<Deleted, SetupError>;

    /// Registers the COM class of the service's VSS provider.
    fn register_provider(&self) -> Result<(), SetupError>;

    /// Removes what is registered of it, with COM and with VSS.
    fn remove_provider(&self) -> Result<Deleted, SetupError>;

    /// Replaces the volume class's upper filters.
    fn set_class_filters(&self, filters: &FilterList) -> Result<(), SetupError>;

    /// Removes `name` from the own lists of all volume devices, present or not.
    fn remove_device_filters(&self, name: &str) -> Result<(), SetupError>;

    /// Starts a service.
    fn start_service(&self, name: &str) -> Result<(), SetupError>;

    /// Stops a service and waits for it; does nothing if it is not running.
    fn stop_service(&self, name: &str) -> Result<(), SetupError>;

    /// Deletes a service.
    fn delete_service(&self, name: &str) -> Result<Deleted, SetupError>;

    /// Deletes a file, at the next restart if `at_restart` or if it is in use.
    fn delete_file(&self, file: &Path, at_restart: bool) -> Result<Deleted, SetupError>;
}
