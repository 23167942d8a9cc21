//! The scenarios of a protected volume, from its first write to the verdict.
//!
//! | scenario | what it adds to a first sync under load |
//! | --- | --- |
//! | [`Scenario::Protect`] | nothing: both images must be right |
//! | [`Scenario::MalformedRequests`] | malformed requests to the driver, before the session and during it |
//! | [`Scenario::PowerAndUsage`] | power down and up, special files that come and go, a shutdown notice, all during it |
//! | [`Scenario::SlowServer`] | the server stops answering until a gap begins, then goes on |
//! | [`Scenario::ServiceCrash`] | the service is killed eight times during it and after it: no gap |
//! | [`Scenario::ServiceAway`] | the service is killed during it, and away for longer than the queue holds |
//! | [`Scenario::EveryWrite`] | no load, but every other way to change a volume, one after the other, and a cancel |
//! | [`Scenario::LowMemory`] | no memory for the driver, for seconds, during it; a start without each of its allocations |
//! | [`Scenario::BufferedVolume`] | nothing, but the volume takes data by system buffers |
//! | [`Scenario::PagingFile`] | no load, but a write to a paging file while the volume does not read |
//! | [`Scenario::HalfEmpty`] | no load, but a file system that says which clusters are free, and writes to some of them |
//! | [`Scenario::DeepQueue`] | no load, but 12,288 writes at once, a third of them without a slot, some cancelled |
//! | [`Scenario::HungDisk`] | the disk of another volume hangs, with a session on it |
//! | [`Scenario::ReadFailures`] | reads fail: for a while for reasons that pass, and over lost sectors |
//! | [`Scenario::Settings`] | the driver's settings, obstacles, special files; a write in a cut |
//! | [`Scenario::Resize`] | the volume shrinks and grows |
//! | [`Scenario::Preemption`] | threads of the driver lose the processor at the worst instants; short sessions before it |
//! | [`Scenario::Removal`] | no load, but plug and play that asks, stops, removes and surprises in each state; a shutdown |
//! | [`Scenario::Reboot`] | reboots with records lost, and the volume changed while the machine is off: verified |
//! | [`Scenario::Sleep`] | the machine sleeps twice; the second time another system writes to its disk: verified |
//! | [`Scenario::Verification`] | the copy is verified under load; a block that changes behind the driver is found, and repaired |
//! | [`Scenario::Seed`] | an older image of the volume was imported: what has not changed is not sent |
//! | [`Scenario::Administration`] | all by commands: protect, pause, resume, unprotect; the service is killed |
//! | [`Scenario::ServerCrash`] | the server is killed ten times during it and after it: no gap |
//!
//! The rule: a scenario passes only if the situations that it tests have occurred.

mod administration;
mod buffered_volume;
mod deep_queue;
mod every_write;
mod gap;
mod half_empty;
mod hung_disk;
mod low_memory;
mod malformed;
mod paging_file;
mod power;
mod preemption;
mod protect;
mod read_failures;
mod reboot;
mod removal;
mod resize;
mod run;
mod seed;
mod server_crash;
mod service_crash;
mod settings;
mod sleep;
mod verification;

use std::path::PathBuf;

use crate::console::Console;
use crate::error::E2eError;
use crate::rig::{Programs, check_violations};
use crate::run_folder::RunFolder;
use crate::summary::Summary;

/// What to run, and on what.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The Wine prefix that the setup made.
    pub template: PathBuf,
    /// The files under test.
    pub programs: Programs,
    /// Where the run's folder is made.
    pub folder: PathBuf,
    /// MiB of the volume.
    pub size_mib: u64,
    /// Chooses the load and the volume's delays.
    pub seed: u64,
    /// Limit of the load, in bytes per second.
    pub rate: u64,
    /// Seconds of live replication after the first sync.
    pub live_seconds: u64,
    /// The repository of a run that passed is not removed.
    pub repository_stays: bool,
}

/// Declares [`Scenario`]: the event during the run, its name in messages and folders, and how it is
/// run.
macro_rules! scenarios {
    ($($(#[$doc:meta])* $scenario:ident: $name:literal, $run:expr;)*) => {
        /// The event during the run.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Scenario { $($(#[$doc])* $scenario,)* }

        impl Scenario {
            /// All of them, the main one first.
            pub const ALL: [Self; 24] = [$(Self::$scenario),*];

            /// Its name in messages and folders.
            pub fn name(self) -> &'static str {
                match self { $(Self::$scenario => $name,)* }
            }

            fn how(self) -> fn(&Setting, &mut dyn Console) -> Result<Summary, E2eError> {
                match self { $(Self::$scenario => $run,)* }
            }
        }
    };
}

scenarios! {
    /// The main job, undisturbed.
    Protect: "protect", protect::run;
    /// Programs send requests that the driver must refuse.
    MalformedRequests: "malformed-requests", malformed::run;
    /// Plug and play sends packets for a volume in use.
    PowerAndUsage: "power-and-usage", power::run;
    /// The server is too slow for a while.
    SlowServer: "slow-server", |s, c| gap::run(&gap::SLOW_SERVER, s, c);
    /// The service crashes.
    ServiceCrash: "service-crash", service_crash::run;
    /// The service is away for long.
    ServiceAway: "service-away", |s, c| gap::run(&gap::SERVICE_AWAY, s, c);
    /// The server crashes.
    ServerCrash: "server-crash", server_crash::run;
    /// Trims, zeros, cancelled writes and refused requests.
    EveryWrite: "every-write", every_write::run;
    /// Allocations of the driver fail.
    LowMemory: "low-memory", low_memory::run;
    /// The main job, on another kind of device.
    BufferedVolume: "buffered-volume", buffered_volume::run;
    /// A write that must not wait.
    PagingFile: "paging-file", paging_file::run;
    /// Half of the volume is of no file.
    HalfEmpty: "half-empty", half_empty::run;
    /// More writes at once than a session has slots.
    DeepQueue: "deep-queue", deep_queue::run;
    /// Another volume's disk hangs.
    HungDisk: "hung-disk", hung_disk::run;
    /// The disk fails to read.
    ReadFailures: "read-failures", read_failures::run;
    /// The driver's settings and its report of a volume.
    Settings: "settings", settings::run;
    /// The volume shrinks and grows.
    Resize: "resize", resize::run;
    /// The driver's threads lose the processor at the worst instants.
    Preemption: "preemption", preemption::run;
    /// An administrator uses the commands.
    Administration: "administration", administration::run;
    /// Removal of a volume in use.
    Removal: "removal", removal::run;
    /// The machine restarts, in order or by a power cut.
    Reboot: "reboot", reboot::run;
    /// The machine sleeps and wakes up.
    Sleep: "sleep", sleep::run;
    /// The copy is verified while the volume is in use.
    Verification: "verification", verification::run;
    /// The repository has an older image of the volume.
    Seed: "seed", seed::run;
}

/// Runs a scenario to its verdict. The run's folder keeps everything if it fails, and the logs if
/// not.
pub fn run(
    scenario: Scenario,
    setting: &Setting,
    console: &mut dyn Console,
) -> Result<Summary, E2eError> {
    // A violation comes first: it ends the drivers and makes everything else fail.
    match scenario.how()(setting, console) {
        Err(error) => check_violations(&RunFolder::at(&setting.folder)).and(Err(error)),
        ok => ok,
    }
}
