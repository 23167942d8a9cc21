//! What the service is registered with besides its program, and why.
//!
//! Rule: a setting that the system cannot store or show (Wine) is said to be so; it is never taken
//! for set.

use std::time::Duration;

/// The text that the service manager shows.
pub const DESCRIPTION: &str =
    "Copies protected volumes to the Snapless server while they are in use";
/// Delays before the first, second and each further restart after a failure. While the service is
/// away the driver's queue fills up, and writes are held.
pub const RESTART_DELAYS: [Duration; 3] =
    [Duration::from_secs(5), Duration::from_secs(30), Duration::from_mins(1)];
/// After this time without a failure the first delay applies again.
pub const FAILURES_FORGOTTEN: Duration = Duration::from_hours(24);
/// How long Windows waits for the service when it shuts down: the flush (10 s), a chunk in transit
/// (30 s), and a margin. By default it is 10 s.
pub const PRESHUTDOWN_LIMIT: Duration = Duration::from_mins(1);
/// The privileges that the service keeps of those of `LocalSystem`. It needs none for the driver's
/// control device and for reading raw volumes, which are open to `LocalSystem` by their access
/// lists, and none for the network, the event log and the machine's key store.
///
/// - `SeChangeNotifyPrivilege`: to open files below folders without access to each of them, as
///   every process may.
/// - `SeManageVolumePrivilege`: to ask a file system where its files are
///   (`FSCTL_QUERY_FILE_LAYOUT`) and to keep the state area's clusters where they are
///   (`FSCTL_MARK_HANDLE`).
/// - `SeBackupPrivilege`: to ask VSS to freeze applications; its requestors have the privileges of
///   a backup operator (docs: `IVssBackupComponents::InitializeForBackup`).
pub const PRIVILEGES: [&str; 3] =
    ["SeBackupPrivilege", "SeChangeNotifyPrivilege", "SeManageVolumePrivilege"];

/// A setting of the service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Setting {
    /// [`DESCRIPTION`]
    Description,
    /// Restarts after a failure: [`RESTART_DELAYS`], [`FAILURES_FORGOTTEN`].
    RecoveryActions,
    /// They apply to a service that ends with an error, too, not only to one that crashes.
    RecoveryWithoutCrash,
    /// Started with the machine, not delayed: until the service drains, the driver's queue fills
    /// up, then writes are held and a gap opens. A delayed start comes two minutes late.
    StartNotDelayed,
    /// [`PRESHUTDOWN_LIMIT`]
    PreshutdownLimit,
    /// [`PRIVILEGES`]
    Privileges,
    /// The service has a SID of its own, for access lists and firewall rules. Not restricted: a
    /// write-restricted process could open neither the driver's control device nor the state files,
    /// which are for SYSTEM and Administrators only.
    OwnSid,
}

impl Setting {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Description,
        Self::RecoveryActions,
        Self::RecoveryWithoutCrash,
        Self::StartNotDelayed,
        Self::PreshutdownLimit,
        Self::Privileges,
        Self::OwnSid,
    ];

    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Description => "description",
            Self::RecoveryActions => "recovery actions",
            Self::RecoveryWithoutCrash => "recovery after errors",
            Self::StartNotDelayed => "start without delay",
            Self::PreshutdownLimit => "time to shut down",
            Self::Privileges => "required privileges",
            Self::OwnSid => "service SID",
        }
    }
}
