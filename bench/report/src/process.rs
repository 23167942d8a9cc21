//! Child processes of the benchmark.
//!
//! Rule: a child ends when its value is dropped, and when this process ends, however it ends.

use std::ffi::OsStr;
use std::io::{self, Read, Seek};
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How often the memory of a running command is looked at: what it takes in its last moment is not
/// seen.
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// A running child; killed on drop.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts `command`, which [`command`] made of `program`.
    pub fn start(program: &str, command: &mut Command) -> Result<Self> {
        command.spawn().map(Self).map_err(cannot_run(program))
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command that the kernel kills when this process ends.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Runs `command` to its end; it must succeed.
pub fn run(program: &str, command: &mut Command) -> Result<Output> {
    let output = command.output().map_err(cannot_run(program))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(failed(program, String::from_utf8_lossy(&output.stderr)))
}

/// What a command used that ran to its end.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Used {
    /// Seconds from its start.
    pub seconds: f64,
    /// Bytes of memory at most.
    pub memory: u64,
}

/// Runs `command` to its end, and looks at it meanwhile; it must succeed.
pub fn run_watched(program: &str, command: &mut Command) -> Result<Used> {
    let mut said = tempfile::tempfile().map_err(cannot_run(program))?;
    let stderr = said.try_clone().map_err(cannot_run(program))?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::from(stderr));
    let began = Instant::now();
    let mut child = Running::start(program, command)?;
    let mut memory = 0;
    loop {
        memory = memory.max(peak_memory(child.id()));
        let Some(status) = child.try_wait().map_err(cannot_run(program))? else {
            std::thread::sleep(LOOK_EVERY);
            continue;
        };
        let seconds = began.elapsed().as_secs_f64();
        if status.success() {
            return Ok(Used { seconds, memory });
        }
        let mut text = String::new();
        let read = said.rewind().and_then(|()| said.read_to_string(&mut text));
        return Err(failed(program, read.map_or_else(|error| error.to_string(), |_| text)));
    }
}

/// Bytes of memory that a process had at most; 0 after its end.
pub fn peak_memory(process: u32) -> u64 {
    of_process(process, "status", "VmHWM:").saturating_mul(1024)
}

/// Bytes that a process had written to disks.
pub fn bytes_to_disk(process: u32) -> u64 {
    of_process(process, "io", "write_bytes:")
}

/// The number behind a name in a file of the process; 0 if there is none.
fn of_process(process: u32, file: &str, name: &str) -> u64 {
    let path = Path::new("/proc").join(process.to_string()).join(file);
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let number = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}

/// The error of a program that does not do what it should.
pub fn failed(program: &str, said: impl Into<String>) -> Error {
    Error::Program { program: program.to_owned(), said: said.into() }
}

fn cannot_run(program: &str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Spawn { program: program.to_owned(), source }
}

/// CPU time of a process in seconds.
pub fn cpu_seconds(process: u32) -> f64 {
    let stat = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("stat"));
    let stat = stat.unwrap_or_default();
    // The name may have spaces; after it, user and system time are the fields 12 and 13.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map_or(vec![], |(_, rest)| rest.split_whitespace().collect());
    let ticks = |index: usize| fields.get(index).and_then(|it| it.parse::<f64>().ok());
    (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watched_command_has_used_memory_and_a_failed_one_tells_why() {
        let used = run_watched("sh", Command::new("sh").args(["-c", "sleep 0.05"])).unwrap();
        assert!(used.memory > 100 << 10 && used.seconds >= 0.05, "{used:?}");
        let error = run_watched("sh", Command::new("sh").args(["-c", "echo why >&2; exit 3"]));
        assert!(error.unwrap_err().to_string().contains("why"));
    }
}
