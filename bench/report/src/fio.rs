//! Writers: fio on an NBD export, each write logged with its time, so that a stretch of time can be
//! cut out.
//!
//! The rule: it runs until it is told to end, and ends with the value in any case.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};

use crate::contestant::bound;
use crate::error::{Error, IoContext, Result};
use crate::statistics::Sample;

/// Longest that it runs if nobody ends it, in seconds.
const RUNTIME: u32 = 900;
/// How long it may take to write its log.
const END_LIMIT: Duration = Duration::from_secs(60);

/// What writers do.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Load {
    /// Bytes of a write, as fio spells it.
    pub size: &'static str,
    /// Writes under way at once.
    pub depth: u32,
    /// Writes in a second, at most; as many as go if 0.
    pub rate: u32,
    /// Reads instead.
    pub reads: bool,
}

impl Load {
    /// Random writes, as many as go.
    pub const fn writes(size: &'static str, depth: u32) -> Self {
        Self { size, depth, rate: 0, reads: false }
    }

    /// What to call it.
    pub fn name(&self) -> String {
        let size = self.size.replace('k', " KiB");
        match self.rate {
            0 => format!("{size}, QD {}", self.depth),
            rate => format!("{size}, {rate}/s"),
        }
    }
}

/// fio, running.
pub struct Fio {
    child: Child,
    log: PathBuf,
    said: PathBuf,
}

impl Fio {
    /// Starts it on the first `size` bytes of an export; its files go to `folder`.
    pub fn start(uri: &str, size: u64, load: &Load, folder: &Path) -> Result<Self> {
        let prefix = folder.join(if load.reads { "reads" } else { "writes" });
        let log = prefix.with_file_name(format!(
            "{}_lat.1.log",
            prefix.file_name().unwrap_or_default().to_string_lossy()
        ));
        let said = prefix.with_extension("fio");
        let output = File::create(&said).on("create", &said)?;
        let mut command = bound("fio");
        command
            .current_dir(folder)
            .args(["--name=load", "--ioengine=nbd", "--norandommap", "--randrepeat=0"])
            .arg(format!("--uri={uri}"))
            .arg(if load.reads { "--rw=randread" } else { "--rw=randwrite" })
            .arg(format!("--bs={}", load.size))
            .arg(format!("--iodepth={}", load.depth))
            .arg(format!("--size={size}"))
            .args(["--time_based", &format!("--runtime={RUNTIME}")])
            .arg(format!("--write_lat_log={}", prefix.display()))
            .args(["--log_unix_epoch=1", "--disable_slat=1", "--disable_clat=1"]);
        if load.rate > 0 {
            command.arg(format!("--rate_iops={}", load.rate));
        }
        let errors = output.try_clone().on("use", &said)?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child =
            command.spawn().map_err(|source| Error::Spawn { program: "fio".to_owned(), source })?;
        Ok(Self { child, log, said })
    }

    /// Ends it, and returns every write that it made.
    pub fn end(mut self) -> Result<Vec<Sample>> {
        if let Some(pid) = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(0)) {
            // It may have ended, which the status tells.
            let _ = kill_process(pid, Signal::INT);
        }
        let limit = Instant::now() + END_LIMIT;
        let status = loop {
            if let Some(status) = self.child.try_wait().on("wait for", Path::new("fio"))? {
                break status;
            }
            if Instant::now() > limit {
                return Err(Error::Slow { what: "the end of fio", seconds: END_LIMIT.as_secs() });
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let said = std::fs::read_to_string(&self.said).on("read", &self.said)?;
        // Interrupted, it exits with 128 and a message of its own.
        if !status.success() && !said.contains("terminating on signal 2") {
            return Err(Error::Program { program: "fio".to_owned(), said });
        }
        let log = std::fs::read_to_string(&self.log).on("read", &self.log)?;
        std::fs::remove_file(&self.log).on("remove", &self.log)?;
        Ok(log.lines().filter_map(parse).collect())
    }
}

impl Drop for Fio {
    fn drop(&mut self) {
        // It has ended, if all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line of the log: milliseconds, nanoseconds, direction, size, …
fn parse(line: &str) -> Option<Sample> {
    let mut fields = line.split(',').map(str::trim);
    let at_ms = fields.next()?.parse().ok()?;
    let latency_ns = fields.next()?.parse().ok()?;
    Some(Sample { at_ms, latency_ns })
}

/// Now, on the clock of the log.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_is_a_sample() {
        let want = Sample { at_ms: 1_795_604_123_255, latency_ns: 381_000 };
        assert_eq!(parse("1795604123255, 381000, 1, 4096, 0"), Some(want));
        assert_eq!(parse("nothing"), None);
    }
}
