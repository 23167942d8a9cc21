//! The programs, files and limits of a benchmark.

use std::path::PathBuf;

use snapless_bench::process::HostProcess;
use snapless_bench::spec::{SessionSpec, SinkSpec};

use crate::contestant::{Contestant, Name, Target};
use crate::error::Result;
use crate::qemu::Qemu;
use crate::snapless::Snapless;

/// Sector size of all volumes.
const SECTOR: &str = "4096";

/// The files and programs of a benchmark.
#[derive(Clone, Debug)]
pub struct Setting {
    /// `snapless-bench`.
    pub host: PathBuf,
    /// The volume's file.
    pub disk: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// The folder of sockets and logs.
    pub folder: PathBuf,
    /// Most sweep reads at once; 0: the engine's default.
    pub depth: usize,
    /// Size of the capture queue in MiB.
    pub queue_mib: u32,
}

impl Setting {
    /// Starts a contestant on the volume.
    pub fn start(&self, name: Name, target: Target) -> Result<Box<dyn Contestant>> {
        Ok(match name {
            Name::Snapless => Box::new(self.snapless(self.spec(sink_of(target)))?),
            Name::Qemu => Box::new(Qemu::start(&self.disk, self.size, target, &self.folder)?),
        })
    }

    /// Starts Snapless with a session of its own.
    pub fn snapless(&self, spec: SessionSpec) -> Result<Snapless> {
        Snapless::new(self.host(&[])?, spec)
    }

    /// A session with this sink.
    pub fn spec(&self, sink: SinkSpec) -> SessionSpec {
        SessionSpec { depth: self.depth, queue_mib: self.queue_mib, ..SessionSpec::new(sink) }
    }

    /// Starts the host with more options.
    pub fn host(&self, options: &[&str]) -> Result<HostProcess> {
        let options = [&["--sector", SECTOR], options].concat();
        Ok(HostProcess::start(&self.host, &self.folder, &[("v", &self.disk)], &options)?)
    }
}

fn sink_of(target: Target) -> SinkSpec {
    match target {
        Target::Null => SinkSpec::Null { digest: true },
        Target::Forget => SinkSpec::Null { digest: false },
        Target::Slow { bytes_per_second, latency_ms } => {
            SinkSpec::Throttled { bytes_per_second, latency_ms, digest: true }
        }
    }
}
