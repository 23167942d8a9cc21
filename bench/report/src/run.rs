//! The plan of a benchmark, and the runs that the cases consist of.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use snapless_bench::raw_read::RawRead;

use crate::content::Content;
use crate::contestant::{Contestant, Name, Target};
use crate::error::{Error, IoContext, Result};
use crate::fio::{Fio, Load};
use crate::process;
use crate::setting::Setting;
use crate::statistics::{Sample, Window, now_ms};
use crate::wait::wait_for;

/// Longest first sync.
const LIMIT: Duration = Duration::from_mins(5);
/// Sector size of all volumes.
const SECTOR: u64 = 4096;
const PROGRAM: &str = "snapless-bench";

/// The extent of a benchmark.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Runs of each measurement.
    pub rounds: usize,
    /// Bytes of the volume.
    pub size: u64,
    /// How long writers run before a measurement.
    pub warm: Duration,
    /// Length of a measurement without a sync.
    pub window: Duration,
    /// Bytes of the volumes that are sent to repositories.
    pub store_size: u64,
    /// A long history has one of so many parts of its volume and of its writes.
    pub history_part: u64,
    /// How many of the long histories there are.
    pub history_spans: usize,
    /// The whole hour has one of so many parts of its writes.
    pub hour_part: u64,
}

/// A first sync under writers.
#[derive(Clone, Debug)]
pub struct LoadedSync {
    /// Writers before it.
    pub before: Window,
    /// Writers while it ran.
    pub during: Window,
    /// Its duration in seconds.
    pub seconds: f64,
    /// The longest hold in milliseconds, if known.
    pub longest_hold_ms: Option<f64>,
    /// Its start in milliseconds since 1970.
    pub start_ms: u64,
    /// Every write.
    pub samples: Vec<Sample>,
}

impl Setting {
    /// Writers on the host without a sync, with the engine compiled out or idle.
    pub fn without_sync(&self, plan: &Plan, engine: &str, load: &Load) -> Result<Window> {
        let host = self.host(&["--engine", engine])?;
        let fio = Fio::start(&host.uri("v"), self.size, load, &self.folder)?;
        std::thread::sleep(plan.warm);
        let start = now_ms();
        std::thread::sleep(plan.window);
        let end = now_ms();
        let window = Window::new(&load.name(), &fio.end()?, start, end);
        host.quit()?;
        window
    }

    /// Reads the volume once and nothing else; bytes per second.
    pub fn raw_read(&self) -> Result<f64> {
        let mut read = Command::new(&self.host);
        let output = process::run(PROGRAM, read.arg("read").arg(&self.disk))?;
        let read: RawRead = serde_json::from_slice(&output.stdout)
            .map_err(|error| process::failed(PROGRAM, format!("it printed no time: {error}")))?;
        #[allow(clippy::cast_precision_loss)]
        let bytes = read.bytes as f64;
        Ok(bytes / read.seconds)
    }

    /// A first sync without writers; bytes per second.
    pub fn quiet_sync(&self, name: Name, target: Target) -> Result<f64> {
        let mut contestant = self.start(name, target)?;
        let start = contestant.begin()?;
        await_sync(&mut *contestant)?;
        let seconds = seconds_between(start, now_ms());
        contestant.settle("a first sync without writers")?;
        #[allow(clippy::cast_precision_loss)]
        let bytes = self.size as f64;
        Ok(bytes / seconds)
    }

    /// A first sync under writers.
    pub fn loaded_sync(&self, plan: &Plan, name: Name, load: &Load) -> Result<LoadedSync> {
        let case = format!("a first sync under writes of {}", load.name());
        let mut contestant = self.start(name, Target::Null)?;
        let fio = Fio::start(&contestant.uri(), self.size, load, &self.folder)?;
        std::thread::sleep(plan.warm + plan.window);
        let before_ms = now_ms();
        let start_ms = contestant.begin()?;
        await_sync(&mut *contestant)?;
        let end_ms = now_ms();
        // The plot shows the time after the sync too.
        std::thread::sleep(plan.warm);
        let samples = fio.end()?;
        let longest_hold_ms = contestant.longest_hold_ms()?;
        contestant.settle(&case)?;
        let window = u64::try_from(plan.window.as_millis()).unwrap_or(0);
        Ok(LoadedSync {
            before: Window::new(&case, &samples, before_ms - window, before_ms)?,
            during: Window::new(&case, &samples, start_ms, end_ms)?,
            seconds: seconds_between(start_ms, end_ms),
            longest_hold_ms,
            start_ms,
            samples,
        })
    }
}

/// Waits for the end of a first sync.
pub fn await_sync(contestant: &mut dyn Contestant) -> Result<()> {
    wait_for("a first sync", LIMIT, || Ok(contestant.is_synced()?.then_some(())))
}

/// Seconds between two times, at least a millisecond.
pub fn seconds_between(start_ms: u64, end_ms: u64) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    let millis = end_ms.saturating_sub(start_ms).max(1) as f64;
    millis / 1e3
}

/// The contestants in this round's order: odd rounds reverse it.
pub fn in_turn<T: Copy>(round: usize, mut contestants: Vec<T>) -> Vec<T> {
    if round % 2 == 1 {
        contestants.reverse();
    }
    contestants
}

/// Fills a new file with random bytes, which cannot be compressed.
pub fn fill(path: &Path, size: u64) -> Result<()> {
    fill_with(Content::Random, path, size)
}

/// Fills a new file.
pub fn fill_with(content: Content, path: &Path, size: u64) -> Result<()> {
    let mut file = File::create(path).on("create", path)?;
    let mut random = fastrand::Rng::with_seed(1);
    let mut bytes = vec![0; 4 << 20];
    let mut left = size;
    while left > 0 {
        content.fill(&mut random, &mut bytes);
        let len = usize::try_from(left).unwrap_or(bytes.len()).min(bytes.len());
        file.write_all(&bytes[..len]).on("write", path)?;
        left -= len as u64;
    }
    Ok(file.sync_all().on("write", path)?)
}

/// Copies the first bytes of a file durably, in steps as a restore does.
pub fn copy(from: &Path, to: &Path, size: u64) -> Result<()> {
    let (source, mut target) =
        (File::open(from).on("open", from)?, File::create(to).on("create", to)?);
    let mut bytes = vec![0; COMPARE_LEN];
    for offset in (0..size).step_by(COMPARE_LEN) {
        source.read_exact_at(&mut bytes, offset).on("read", from)?;
        target.write_all(&bytes).on("write", to)?;
    }
    Ok(target.sync_all().on("write", to)?)
}

/// Bytes of one comparison.
pub const COMPARE_LEN: usize = 1 << 20;

/// An error unless two files have the same length and are equal in [`COMPARE_LEN`] bytes at each of
/// `offsets`.
pub fn compare(
    case: &str,
    copy: &Path,
    disk: &Path,
    offsets: impl Iterator<Item = u64>,
) -> Result<()> {
    let open = |path: &Path| File::open(path).on("open", path);
    let length = |file: &File, path: &Path| file.metadata().map(|it| it.len()).on("examine", path);
    let differs = |at: u64| Error::Differs { case: case.to_owned(), first: at / SECTOR };
    let (left, right) = (open(copy)?, open(disk)?);
    if length(&left, copy)? != length(&right, disk)? {
        return Err(differs(length(&right, disk)?));
    }
    let (mut a, mut b) = (vec![0; COMPARE_LEN], vec![0; COMPARE_LEN]);
    for offset in offsets {
        left.read_exact_at(&mut a, offset).on("read", copy)?;
        right.read_exact_at(&mut b, offset).on("read", disk)?;
        if let Some(at) = a.iter().zip(&b).position(|(a, b)| a != b) {
            return Err(differs(offset + at as u64));
        }
    }
    Ok(())
}
