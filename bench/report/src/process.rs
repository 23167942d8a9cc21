//! Child processes of the benchmark.
//!
//! Rule: a child ends when its value is dropped, and when this process ends, however it ends.

use std::ffi::OsStr;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{Child, Command, Output};

use crate::error::{Error, Result};

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
