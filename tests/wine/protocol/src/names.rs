//! Device names, service names and registry values of the rig.
//!
//! The rule: a scenario writes all values before the service starts; the drivers read them once.

/// The test volume's device.
pub const VOLUME_DEVICE: &str = r"\Device\SnaplessTestVolume0";
/// The test volume's link, as drivers create it.
pub const VOLUME_LINK: &str = r"\DosDevices\SnaplessTestVolume0";
/// The test volume, as programs open it.
pub const VOLUME_PATH: &str = r"\\.\SnaplessTestVolume0";

/// The second volume's device: it has no content, and is there to hang.
pub const SECOND_DEVICE: &str = r"\Device\SnaplessTestVolume1";

/// The rig's control device. Commands do not go through the volume's stack, which they may remove.
pub const CONTROL_DEVICE: &str = r"\Device\SnaplessRig";
/// The control device's link, as drivers create it.
pub const CONTROL_LINK: &str = r"\DosDevices\SnaplessRig";
/// The control device, as programs open it.
pub const CONTROL_PATH: &str = r"\\.\SnaplessRig";

/// The service of the test volume's driver.
pub const VOLUME_SERVICE: &str = "snapless-test-volume";

/// The class key whose `UpperFilters` the rig adds to the volume's stack.
pub const VOLUME_CLASS_KEY: &str = r"\Registry\Machine\System\CurrentControlSet\Control\Class\{71A27CDD-812A-11D0-BEC7-08002BE2092F}";
/// The value in it: a list of services, the lowest filter first.
pub const UPPER_FILTERS: &str = "UpperFilters";

/// Bytes of the state area.
pub const STATE_AREA_LEN: u64 = 64 << 10;

/// Values of the test volume's `Parameters` key.
pub mod parameters {
    /// `REG_SZ`: the file that holds the volume, as an NT path (`\??\Z:\…`).
    pub const IMAGE_PATH: &str = "ImagePath";
    /// `REG_SZ`: the journal, as an NT path. An older file is overwritten.
    pub const JOURNAL_PATH: &str = "JournalPath";
    /// `REG_DWORD`: the seed of everything random.
    pub const SEED: &str = "Seed";
    /// `REG_DWORD`: how many requests are worked on at once.
    pub const WORKERS: &str = "Workers";
    /// `REG_DWORD`: how many per cent of the writes are slow.
    pub const SLOW_PERCENT: &str = "SlowPercent";
    /// `REG_DWORD`: the most that a slow write takes, in milliseconds.
    pub const SLOW_MS: &str = "SlowMs";
    /// `REG_DWORD`: the most that any other request is delayed, in microseconds.
    pub const JITTER_US: &str = "JitterUs";
    /// `REG_DWORD`: where the state area begins, in KiB; 0 if there is none. What is written there
    /// is not in the journal: it is the driver's own.
    pub const STATE_AREA_KIB: &str = "StateAreaKiB";
    /// `REG_DWORD`: how the volume takes data: 0 by memory descriptor lists, 1 by system buffers,
    /// 2 by addresses of its caller.
    pub const IO_MODEL: &str = "IoModel";
}

/// Values of the `Parameters` key of the driver under test that the rig's KMDF reads when it binds
/// the driver.
pub mod framework {
    /// `REG_DWORD`: how many per cent of the reads and writes reach the driver at `DISPATCH_LEVEL`.
    /// 50 if absent.
    pub const RAISED_DISPATCH_PERCENT: &str = "RigRaisedDispatchPercent";
    /// `REG_DWORD`: how long a removal waits for a request that the driver was handed, in
    /// milliseconds, before it is reported as leaked. 30000 if absent.
    pub const GIVE_BACK_LIMIT_MS: &str = "RigGiveBackLimitMs";
    /// `REG_DWORD`: up to which level a consumer listens to the driver's trace events. Absent:
    /// none.
    pub const TRACE_LEVEL: &str = "RigTraceLevel";
    /// `REG_DWORD`: after how many per cent of the driver's releases of a spin lock, signals of an
    /// event and completions its thread loses the processor. Absent: none.
    pub const PREEMPT_PERCENT: &str = "RigPreemptPercent";
}

/// The volume's GUID.
pub const VOLUME_GUID: &str = "{5A4C0B51-0E5D-4C6B-9E0A-7D1B6C2F3A10}";
/// The same, as Windows lays it out.
pub const VOLUME_GUID_BYTES: [u8; 16] = [
    0x51, 0x0B, 0x4C, 0x5A, 0x5D, 0x0E, 0x6B, 0x4C, 0x9E, 0x0A, 0x7D, 0x1B, 0x6C, 0x2F, 0x3A, 0x10,
];
