//! The program `qemu-img`: whether it is there and new enough, and its runs, with their progress.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::format::DiskFormat;
use crate::error::{Error, Result};
use crate::stop::StopFlag;

const PROGRAM: &str = "qemu-img";
/// The oldest release that is used: major and minor number. Ubuntu 20.04 has 4.2.
const OLDEST: (u32, u32) = (4, 0);
/// How often a stop is looked for.
const STOP_STEP: Duration = Duration::from_millis(100);
/// Most bytes of what the program says that are shown.
const SAID_MAX: usize = 2000;

/// A `qemu-img` that can be used.
#[derive(Debug)]
pub(super) struct QemuImg {
    program: &'static OsStr,
}

impl QemuImg {
    /// Finds it on the path.
    ///
    /// # Errors
    /// [`Error::NoQemuImg`], [`Error::OldQemuImg`].
    pub(super) fn find() -> Result<Self> {
        let program = OsStr::new(PROGRAM);
        let said = Command::new(program).arg("--version").stdin(Stdio::null()).output();
        let said = said.map_err(Error::NoQemuImg)?;
        let text = String::from_utf8_lossy(&said.stdout);
        match version(&text) {
            Some(version) if version >= OLDEST => Ok(Self { program }),
            _ => {
                let found = text.lines().next().unwrap_or("nothing").trim().to_owned();
                let need = format!("{}.{}", OLDEST.0, OLDEST.1);
                Err(Error::OldQemuImg { found, need })
            }
        }
    }

    /// Makes a disk from what is served. Tells how many thousandths are done.
    ///
    /// # Errors
    /// [`Error::QemuImg`], [`Error::Stopped`].
    pub(super) fn convert(
        &self,
        uri: &str,
        to: &Path,
        format: DiskFormat,
        stop: &StopFlag,
        progress: impl FnMut(u64),
    ) -> Result<()> {
        let mut command = self.command("convert");
        command.args(["-f", "raw", "-O", format.driver()]);
        if let Some(options) = format.options() {
            command.args(["-o", options]);
        }
        let ended = run(command.arg(uri).arg(to), stop, progress)?;
        if ended.status.success() {
            return Ok(());
        }
        Err(Error::QemuImg { what: "convert", said: ended.said() })
    }

    /// Compares a disk with what is served. Tells how many thousandths are done.
    ///
    /// # Errors
    /// [`Error::DiskDiffers`], [`Error::QemuImg`], [`Error::Stopped`].
    pub(super) fn compare(
        &self,
        uri: &str,
        with: &Path,
        format: DiskFormat,
        stop: &StopFlag,
        progress: impl FnMut(u64),
    ) -> Result<()> {
        let mut command = self.command("compare");
        command.args(["-f", "raw", "-F", format.driver()]).arg(uri).arg(with);
        let ended = run(&mut command, stop, progress)?;
        match ended.status.code() {
            Some(0) => Ok(()),
            Some(1) => Err(Error::DiskDiffers { path: with.to_owned(), why: ended.said() }),
            _ => Err(Error::QemuImg { what: "compare", said: ended.said() }),
        }
    }

    /// A subcommand that shows its progress.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.program);
        command.args([name, "-p"]).env("LC_ALL", "C");
        command
    }
}

/// What became of a run.
struct Ended {
    status: ExitStatus,
    out: String,
    err: String,
}

impl Ended {
    /// What it said, its errors first.
    fn said(&self) -> String {
        let said = [&self.err, &self.out].map(|text| text.trim());
        let lines: Vec<_> = said.iter().flat_map(|text| text.lines()).map(str::trim).collect();
        match lines.join("; ") {
            said if said.is_empty() => self.status.to_string(),
            said => said.chars().take(SAID_MAX).collect(),
        }
    }
}

/// A run; killed when it is dropped before its end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn run(command: &mut Command, stop: &StopFlag, progress: impl FnMut(u64)) -> Result<Ended> {
    let mut errors = tempfile::tempfile().map_err(failed)?;
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(errors.try_clone().map_err(failed)?);
    let mut child = Running(command.spawn().map_err(Error::NoQemuImg)?);
    let output = child.0.stdout.take();
    let out = thread::scope(|scope| {
        let (said, heard) = sync_channel(1);
        if let Some(output) = output {
            let listen = move || listen(output, &said);
            thread::Builder::new().spawn_scoped(scope, listen).map_err(Error::Thread)?;
        }
        let followed = follow(&heard, stop, progress);
        if followed.is_err() {
            // Ends the thread that listens.
            drop(child.0.kill());
        }
        followed
    })?;
    let status = child.0.wait().map_err(failed)?;
    // Ctrl-C on a terminal reaches both programs.
    if stop.is_set() {
        return Err(Error::Stopped);
    }
    Ok(Ended { status, out, err: read_back(&mut errors).map_err(failed)? })
}

/// Hands on what the program writes, up to each end of a line or return of the carriage.
fn listen(output: ChildStdout, to: &SyncSender<String>) {
    let mut piece = Vec::new();
    // Its end, or an error, is the program's end.
    for byte in BufReader::new(output).bytes().map_while(Result::ok) {
        if !matches!(byte, b'\r' | b'\n') {
            if piece.len() < SAID_MAX {
                piece.push(byte);
            }
        } else if to.send(String::from_utf8_lossy(&std::mem::take(&mut piece)).into()).is_err() {
            return;
        }
    }
    // The receiver may be gone.
    drop(to.send(String::from_utf8_lossy(&piece).into()));
}

/// Tells the progress until the program has closed its output; returns what else it said.
fn follow(
    heard: &Receiver<String>,
    stop: &StopFlag,
    mut progress: impl FnMut(u64),
) -> Result<String> {
    let mut said = String::new();
    loop {
        if stop.is_set() {
            return Err(Error::Stopped);
        }
        match heard.recv_timeout(STOP_STEP) {
            Ok(piece) => match per_mille(&piece) {
                Some(done) => progress(done),
                None if said.len() < SAID_MAX => {
                    said.push_str(&piece);
                    said.push('\n');
                }
                None => {}
            },
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(said),
        }
    }
}

fn read_back(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(SAID_MAX as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into())
}

/// An error of the system around the run.
fn failed(source: io::Error) -> Error {
    Error::QemuImg { what: "cannot be run", said: source.to_string() }
}

/// The thousandths in `    (12.34/100%)`; `None` for any other text.
fn per_mille(text: &str) -> Option<u64> {
    let number = text.trim().strip_prefix('(')?.strip_suffix("/100%)")?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u64 = whole.parse().ok().filter(|whole| *whole <= 100)?;
    let tenth = u64::from(part.chars().next()?.to_digit(10)?);
    Some(whole * 10 + tenth)
}

/// The major and minor number in `qemu-img version 7.2.15 (Debian …)`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut words = text.split_whitespace().skip_while(|word| *word != "version");
    let mut numbers = words.nth(1)?.split('.').map(|number| number.parse().ok());
    numbers.next()?.zip(numbers.next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_from_other_text() {
        assert_eq!(per_mille("    (12.34/100%)"), Some(123));
        assert_eq!(per_mille("(100.00/100%)"), Some(1000));
        for other in ["Images are identical.", "(x/100%)", "(101.00/100%)", "(1.x/100%)", ""] {
            assert_eq!(per_mille(other), None, "{other}");
        }
    }

    #[test]
    fn the_version_is_in_the_first_words() {
        let of = "qemu-img version 7.2.15 (Debian 1:7.2+dfsg-7)\nCopyright (c) 2003 and others";
        assert_eq!(version(of), Some((7, 2)));
        assert_eq!(version("qemu-img version 10.0.2"), Some((10, 0)));
        for other in ["", "version", "qemu-img version", "qemu-img version x.y", "BusyBox 1.2"] {
            assert_eq!(version(other), None, "{other}");
        }
    }
}
