//! Who is compared: something that exports a file over NBD and copies it meanwhile.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use snapless_bench::control::Client;
use snapless_bench::process::HostProcess;
use snapless_bench::protocol::Report;
use snapless_bench::spec::SessionSpec;
use snapless_bench::spec::SinkSpec;

use crate::error::{Error, Result};
use crate::fio::now_ms;
use crate::qemu::Qemu;

/// Bytes of a sector in all runs.
const SECTOR: &str = "4096";
/// Longest first sync, with all that follows.
const LIMIT: Duration = Duration::from_secs(300);

/// What the copy goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// Nothing that takes time, but for checksums at our side, which the file is compared with.
    Null,
    /// Nothing at all: what was copied is compared with nothing.
    Forget,
    /// A slow link.
    Slow {
        /// What it carries.
        bytes_per_second: u64,
        /// What it adds.
        latency_ms: u64,
    },
}

/// A way to export a file and to copy it.
pub trait Contestant {
    /// Where its export is.
    fn uri(&self) -> String;
    /// Begins the copy; returns when writers could first feel it, in milliseconds since 1970.
    fn begin(&mut self) -> Result<u64>;
    /// True once every block has been copied.
    fn is_synced(&mut self) -> Result<bool>;
    /// The longest time that a write has been held, in milliseconds; `None` if nobody knows.
    fn longest_hold_ms(&mut self) -> Result<Option<f64>>;
    /// Called when nobody writes any more: checks that the copy is the file.
    fn settle(&mut self, case: &str) -> Result<()>;
}

/// Which contestant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    /// The engine of this repository.
    Snapless,
    /// QEMU's `blockdev-backup`.
    Qemu,
}

impl Name {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Snapless, Self::Qemu];
}

/// The files and programs of a benchmark.
#[derive(Clone, Debug)]
pub struct Setting {
    /// `snapless-bench`.
    pub host: PathBuf,
    /// The volume.
    pub disk: PathBuf,
    /// Bytes of it.
    pub size: u64,
    /// Where sockets and logs go.
    pub folder: PathBuf,
    /// Reads of the sweep under way at once, at most; the engine's own choice if 0.
    pub depth: usize,
    /// MiB of the capture queue.
    pub queue_mib: u32,
}

impl Setting {
    /// Starts a contestant on the volume.
    pub fn start(&self, name: Name, target: Target) -> Result<Box<dyn Contestant>> {
        Ok(match name {
            Name::Snapless => Box::new(Snapless::start(self, self.spec(sink_of(target)))?),
            Name::Qemu => Box::new(Qemu::start(&self.disk, self.size, target, &self.folder)?),
        })
    }

    /// A session with this sink.
    pub fn spec(&self, sink: SinkSpec) -> SessionSpec {
        SessionSpec { depth: self.depth, queue_mib: self.queue_mib, ..SessionSpec::new(sink) }
    }

    /// Starts the host with options of its own.
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

/// The host with a session.
pub struct Snapless {
    host: HostProcess,
    control: Client,
    spec: SessionSpec,
}

impl Snapless {
    /// Starts the host; the session begins later.
    pub fn start(setting: &Setting, spec: SessionSpec) -> Result<Self> {
        let host = setting.host(&[])?;
        let control = host.control()?;
        Ok(Self { host, control, spec })
    }

    /// The session's state.
    pub fn status(&mut self) -> Result<Report> {
        let report = self.control.status("v")?;
        if report.sink_failed {
            let said = "the sink has failed; its error is above".to_owned();
            return Err(Error::Program { program: "snapless-bench".to_owned(), said });
        }
        Ok(report)
    }

    /// Waits until nothing is left to be copied, held or drained.
    pub fn await_settled(&mut self) -> Result<Report> {
        let limit = Instant::now() + LIMIT;
        loop {
            let report = self.status()?;
            let copied = report.blocks_synced == report.blocks_total && report.consistent;
            if copied && report.sink_seq >= report.last_seq {
                return Ok(report);
            }
            if Instant::now() > limit {
                return Err(Error::Slow { what: "a sync", seconds: LIMIT.as_secs() });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Contestant for Snapless {
    fn uri(&self) -> String {
        self.host.uri("v")
    }

    fn begin(&mut self) -> Result<u64> {
        self.control.start("v", &self.spec)?;
        Ok(now_ms())
    }

    fn is_synced(&mut self) -> Result<bool> {
        let report = self.status()?;
        Ok(report.blocks_synced == report.blocks_total)
    }

    fn longest_hold_ms(&mut self) -> Result<Option<f64>> {
        #[allow(clippy::cast_precision_loss)]
        let longest = self.status()?.hold_longest_us as f64 / 1e3;
        Ok(Some(longest))
    }

    fn settle(&mut self, case: &str) -> Result<()> {
        self.await_settled()?;
        if !self.spec.sink.has_digest() {
            return Ok(());
        }
        let found = self.control.verify("v")?;
        if found.different == 0 {
            return Ok(());
        }
        Err(Error::Differs {
            case: case.to_owned(),
            different: found.different,
            sectors: found.sectors,
            first: found.first_different.unwrap_or(0),
        })
    }
}

/// A program that ends with this one, however this one ends.
pub fn bound(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// CPU time of a process so far, in seconds.
pub fn cpu_seconds(process: u32) -> f64 {
    let stat = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("stat"));
    let stat = stat.unwrap_or_default();
    // After the name, which may have spaces: state, …; user and system time are the 12th and 13th.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map_or(vec![], |(_, rest)| rest.split_whitespace().collect());
    let ticks = |index: usize| fields.get(index).and_then(|it| it.parse::<f64>().ok());
    (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / 100.0
}
