//! Device names, service names and registry values of the rig.
//!
//! The rule: whoever sets a scenario up writes these values before the service starts; the drivers read them once.

/// The test volume's device.
pub const VOLUME_DEVICE: &str = r"\Device\SnaplessTestVolume0";
/// The test volume's link, as drivers create it.
pub const VOLUME_LINK: &str = r"\DosDevices\SnaplessTestVolume0";
/// The test volume, as programs open it.
pub const VOLUME_PATH: &str = r"\\.\SnaplessTestVolume0";

/// The rig's control device. Commands go here and not through the volume's stack, which they may take apart.
pub const CONTROL_DEVICE: &str = r"\Device\SnaplessRig";
/// The control device's link, as drivers create it.
pub const CONTROL_LINK: &str = r"\DosDevices\SnaplessRig";
/// The control device, as programs open it.
pub const CONTROL_PATH: &str = r"\\.\SnaplessRig";

/// The service of the test volume's driver.
pub const VOLUME_SERVICE: &str = "snapless-test-volume";

/// The class key whose `UpperFilters` the rig obeys.
pub const VOLUME_CLASS_KEY: &str = r"\Registry\Machine\System\CurrentControlSet\Control\Class\{71A27CDD-812A-11D0-BEC7-08002BE2092F}";
/// The value in it: a list of services, the lowest filter first.
pub const UPPER_FILTERS: &str = "UpperFilters";

/// Values of the test volume's `Parameters` key.
pub mod parameters {
    /// `REG_SZ`, needed: the file that holds the volume, as an NT path (`\??\Z:\…`).
    pub const IMAGE_PATH: &str = "ImagePath";
    /// `REG_SZ`, needed: the journal, as an NT path. An older file is overwritten.
    pub const JOURNAL_PATH: &str = "JournalPath";
    /// `REG_DWORD`: the seed of everything random. 1 if absent.
    pub const SEED: &str = "Seed";
    /// `REG_DWORD`: how many requests are worked on at once. 4 if absent.
    pub const WORKERS: &str = "Workers";
    /// `REG_DWORD`: how many per cent of the writes are slow. 3 if absent.
    pub const SLOW_PERCENT: &str = "SlowPercent";
    /// `REG_DWORD`: the most that a slow write takes, in milliseconds. 30 if absent.
    pub const SLOW_MS: &str = "SlowMs";
    /// `REG_DWORD`: the most that any other request is delayed, in microseconds. 0 if absent.
    pub const JITTER_US: &str = "JitterUs";
    /// `REG_DWORD`: 512 (if absent) or 4096.
    pub const SECTOR_SIZE: &str = "SectorSize";
    /// `REG_DWORD`: how the volume takes data: 0 by memory descriptor lists (if absent), 1 by system buffers, 2 by
    /// addresses of its caller.
    pub const IO_MODEL: &str = "IoModel";
    /// `REG_SZ`: the volume's GUID with braces; a fixed one if absent.
    pub const VOLUME_GUID: &str = "VolumeGuid";
}

/// Values of the `Parameters` key of the driver under test that the rig's KMDF reads when it binds the driver.
pub mod framework {
    /// `REG_DWORD`: how many per cent of the reads and writes reach the driver at `DISPATCH_LEVEL`. 50 if absent.
    pub const RAISED_DISPATCH_PERCENT: &str = "RigRaisedDispatchPercent";
    /// `REG_DWORD`: how long a removal waits for a request that the driver was handed, in milliseconds, before it is
    /// reported as leaked. 30000 if absent.
    pub const GIVE_BACK_LIMIT_MS: &str = "RigGiveBackLimitMs";
    /// `REG_DWORD`: up to which level somebody listens to the driver's trace events. Nobody does if absent.
    pub const TRACE_LEVEL: &str = "RigTraceLevel";
}

/// The volume's GUID if the registry names none.
pub const DEFAULT_VOLUME_GUID: &str = "{5A4C0B51-0E5D-4C6B-9E0A-7D1B6C2F3A10}";
