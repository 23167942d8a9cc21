//! Writers: fio on an NBD export, with a log of every write and its time.
//!
//! Rule: fio runs until [`Fio::end`], or until the value is dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{IoContext, Result};
use crate::process::{self, Running};
use crate::statistics::Sample;
use crate::wait::wait_for;

const PROGRAM: &str = "fio";
/// Longest run in seconds.
const RUNTIME: u32 = 900;
/// Longest wait for fio to write its log.
const END_LIMIT: Duration = Duration::from_mins(1);

/// The load.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Load {
    /// Length of a request, as an argument of fio.
    pub size: &'static str,
    /// Queue depth.
    pub depth: u32,
    /// Most requests per second; 0: no limit.
    pub rate: u32,
    /// Reads instead of writes.
    pub reads: bool,
    /// KiB that are skipped after each request, which are in order then; 0: at random.
    pub skip_kib: u32,
}

impl Load {
    /// Random writes without a limit.
    pub const fn writes(size: &'static str, depth: u32) -> Self {
        Self { size, depth, rate: 0, reads: false, skip_kib: 0 }
    }

    /// The pattern, as an argument of fio.
    fn pattern(&self) -> String {
        match (self.reads, self.skip_kib) {
            (true, _) => "randread".to_owned(),
            (false, 0) => "randwrite".to_owned(),
            (false, kib) => format!("write:{kib}k"),
        }
    }

    /// The name in the table.
    pub fn name(&self) -> String {
        let size = self.size.replace('k', " KiB");
        match self.rate {
            0 => format!("{size}, QD {}", self.depth),
            rate => format!("{size}, {rate}/s"),
        }
    }
}

/// Running fio.
pub struct Fio {
    child: Running,
    log: PathBuf,
    said: PathBuf,
}

impl Fio {
    /// Starts fio on the first `size` bytes of an export; its files go to `folder`.
    pub fn start(uri: &str, size: u64, load: &Load, folder: &Path) -> Result<Self> {
        let prefix = folder.join(if load.reads { "reads" } else { "writes" });
        let log = prefix.with_file_name(format!(
            "{}_lat.1.log",
            prefix.file_name().unwrap_or_default().to_string_lossy()
        ));
        let said = prefix.with_extension("fio");
        let output = File::create(&said).on("create", &said)?;
        let mut command = process::command(PROGRAM);
        command
            .current_dir(folder)
            .args(["--name=load", "--ioengine=nbd", "--norandommap", "--randrepeat=0"])
            .arg(format!("--uri={uri}"))
            .arg(format!("--rw={}", load.pattern()))
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
        let child = Running::start(PROGRAM, &mut command)?;
        Ok(Self { child, log, said })
    }

    /// Ends fio; returns all of its requests.
    pub fn end(mut self) -> Result<Vec<Sample>> {
        if let Some(pid) = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(0)) {
            // It may have exited already; the status tells.
            let _ = kill_process(pid, Signal::INT);
        }
        let status = wait_for("the end of fio", END_LIMIT, || {
            Ok(self.child.try_wait().on("wait for", Path::new(PROGRAM))?)
        })?;
        let said = std::fs::read_to_string(&self.said).on("read", &self.said)?;
        // After the signal fio exits with 128 and this message.
        if !status.success() && !said.contains("terminating on signal 2") {
            return Err(process::failed(PROGRAM, said));
        }
        let log = std::fs::read_to_string(&self.log).on("read", &self.log)?;
        std::fs::remove_file(&self.log).on("remove", &self.log)?;
        Ok(log.lines().filter_map(parse).collect())
    }
}

/// Parses a line of the log: milliseconds, nanoseconds, direction, size, …
fn parse(line: &str) -> Option<Sample> {
    let mut fields = line.split(',').map(str::trim);
    let at_ms = fields.next()?.parse().ok()?;
    let latency_ns = fields.next()?.parse().ok()?;
    Some(Sample { at_ms, latency_ns })
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
