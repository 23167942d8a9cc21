//! Programs that a run starts.
//!
//! The rule: every program has its own process group (a Ctrl-C at the terminal reaches this program
//! only, which then stops the others in order), its own log file, and a time-out; a value that is
//! dropped kills its program by its process id.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::capped_log;
use crate::error::E2eError;

/// The interval of polling.
const POLL: Duration = Duration::from_millis(20);
/// Lines of a log that an error shows.
const TAIL_LINES: usize = 15;

/// Set by Ctrl-C. Relaxed: it is polled, and guards no other memory.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C and a termination signal end the run in order. Call once.
pub fn catch_interrupts() -> Result<(), E2eError> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed))
        .map_err(|error| E2eError::Rule(format!("cannot catch Ctrl-C: {error}")))
}

/// An error after Ctrl-C.
pub fn check_interrupt() -> Result<(), E2eError> {
    if INTERRUPTED.load(Ordering::Relaxed) { Err(E2eError::Interrupted) } else { Ok(()) }
}

/// Calls `probe` until it has an answer.
///
/// # Errors
/// What `probe` fails with; [`E2eError::Timeout`] after `limit`; [`E2eError::Interrupted`].
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Option<T>, E2eError>,
) -> Result<T, E2eError> {
    let begun = Instant::now();
    loop {
        check_interrupt()?;
        if let Some(answer) = probe()? {
            return Ok(answer);
        }
        if begun.elapsed() > limit {
            return Err(E2eError::Timeout { what: what.into(), limit, tail: String::new() });
        }
        std::thread::sleep(POLL);
    }
}

/// Sleeps; Ctrl-C ends the sleep with an error.
pub fn pause(time: Duration) -> Result<(), E2eError> {
    let begun = Instant::now();
    while begun.elapsed() < time {
        check_interrupt()?;
        std::thread::sleep(POLL.min(time));
    }
    Ok(())
}

/// Runs a program of this machine to its end; its output is shown only if it fails.
pub fn run(command: &mut Command) -> Result<(), E2eError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| E2eError::Spawn(program.clone(), error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(E2eError::Exit {
        program,
        status: output.status.to_string(),
        tail: format!("\n{}", String::from_utf8_lossy(&said).trim_end()),
    })
}

/// A program under way, with its output in `<logs>/<name>.log`.
#[derive(Debug)]
pub struct Program {
    name: String,
    log: PathBuf,
    child: Child,
    ended: Option<ExitStatus>,
    /// Lines of its standard output, unless that goes to the log.
    lines: Option<Receiver<String>>,
}

impl Program {
    /// Starts `command`; output goes to the end of the log.
    pub fn start(name: &str, command: &mut Command, logs: &Path) -> Result<Self, E2eError> {
        let log = logs.join(format!("{name}.log"));
        command.stdout(append_to(&log)?).stderr(append_to(&log)?);
        Self::spawn(name, command, log)
    }

    /// Starts `command`, whose standard output [`Program::line`] reads; the rest goes to the end of
    /// the log.
    pub fn start_talking(name: &str, command: &mut Command, logs: &Path) -> Result<Self, E2eError> {
        let log = logs.join(format!("{name}.log"));
        command.stdout(Stdio::piped()).stderr(append_to(&log)?);
        Self::spawn(name, command, log)
    }

    /// The same; the log keeps the beginning of the standard error of the program and its children.
    pub fn start_noisy(name: &str, command: &mut Command, logs: &Path) -> Result<Self, E2eError> {
        let log = logs.join(format!("{name}.log"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut program = Self::spawn(name, command, log)?;
        if let Some(stderr) = program.child.stderr.take() {
            capped_log::copy(stderr, &program.log)?;
        }
        Ok(program)
    }

    fn spawn(name: &str, command: &mut Command, log: PathBuf) -> Result<Self, E2eError> {
        use std::os::unix::process::CommandExt;

        let child = command.stdin(Stdio::piped()).process_group(0).spawn();
        let program = || command.get_program().to_string_lossy().into_owned();
        let mut child = child.map_err(|error| E2eError::Spawn(program(), error))?;
        let lines = child.stdout.take().map(|stdout| {
            let (sender, lines) = channel();
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
                lines.all(|line| sender.send(line).is_ok())
            });
            lines
        });
        Ok(Self { name: name.into(), log, child, ended: None, lines })
    }

    /// The next line of its standard output.
    pub fn line(&mut self, what: &str, limit: Duration) -> Result<String, E2eError> {
        let lines = self.lines.as_ref().expect("the program was started talking");
        let begun = Instant::now();
        loop {
            check_interrupt()?;
            match lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => return Ok(line.trim_end().into()),
                Err(RecvTimeoutError::Disconnected) => {
                    let (program, tail) = (format!("{}, {what},", self.name), tail(&self.log));
                    return Err(E2eError::Exit { program, status: "it ended".into(), tail });
                }
                Err(RecvTimeoutError::Timeout) if begun.elapsed() > limit => {
                    let what = format!("{}, {what},", self.name);
                    return Err(E2eError::Timeout { what, limit, tail: tail(&self.log) });
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Drops the lines that wait to be read.
    pub fn discard_lines(&mut self) {
        self.lines.iter().for_each(|lines| lines.try_iter().for_each(drop));
    }

    /// Its standard input; closing it ends the rig's own programs.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// The file with its output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, E2eError> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().map_err(E2eError::file("watch", &self.log))?;
        }
        Ok(self.ended)
    }

    /// An error if it has ended: it should still be running.
    pub fn must_run(&mut self) -> Result<(), E2eError> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => Err(self.failed(status)),
        }
    }

    /// Closes its input and waits for its end, which must be a success.
    pub fn finish(&mut self, limit: Duration) -> Result<(), E2eError> {
        drop(self.take_stdin());
        let what = format!("{} to end", self.name);
        let status = wait_until(&what, limit, || self.ended());
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(self.failed(status)),
            Err(E2eError::Timeout { what, limit, .. }) => {
                self.kill();
                Err(E2eError::Timeout { what, limit, tail: tail(&self.log) })
            }
            Err(other) => Err(other),
        }
    }

    /// Asks it to end by SIGTERM and waits for that; success is expected.
    pub fn terminate(&mut self, limit: Duration) -> Result<(), E2eError> {
        if self.ended()?.is_none() {
            // The process may have ended in this instant; then the signal fails.
            let _ = kill_process(self.pid(), Signal::TERM);
        }
        self.finish(limit)
    }

    /// Kills it and waits until it is gone.
    pub fn kill(&mut self) {
        // It may have ended before; both calls then have nothing to do.
        let _ = self.child.kill();
        self.ended = self.child.wait().ok();
    }

    /// Sends a signal: `STOP` makes it a machine that stopped answering, `CONT` undoes that.
    pub fn signal(&self, signal: Signal) -> Result<(), E2eError> {
        kill_process(self.pid(), signal)
            .map_err(|error| E2eError::file("signal", &self.log)(error.into()))
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn failed(&self, status: ExitStatus) -> E2eError {
        let (program, tail) = (self.name.clone(), tail(&self.log));
        E2eError::Exit { program, status: status.to_string(), tail }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.kill();
        }
    }
}

/// Runs a program to its end within `limit`; returns its standard output. Its output is also added
/// to `<logs>/<name>.log`.
pub fn run_logged(
    name: &str,
    command: &mut Command,
    logs: &Path,
    limit: Duration,
) -> Result<String, E2eError> {
    let mut program = Program::start_talking(name, command, logs)?;
    let end = program.finish(limit);
    if matches!(end, Err(E2eError::Interrupted)) {
        program.kill();
    }
    let mut output = String::new();
    // Background programs of Wine may inherit the pipe: do not wait for its end for long.
    while let Some(Ok(line)) =
        program.lines.as_ref().map(|lines| lines.recv_timeout(Duration::from_secs(1)))
    {
        output += &line;
        output.push('\n');
    }
    if let Ok(mut log) = File::options().append(true).open(&program.log) {
        let _ = log.write_all(output.as_bytes());
    }
    match end {
        Ok(()) => Ok(output),
        Err(E2eError::Exit { program: name, status, .. }) => {
            Err(E2eError::Exit { program: name, status, tail: tail(&program.log) })
        }
        Err(other) => Err(other),
    }
}

fn append_to(log: &Path) -> Result<File, E2eError> {
    File::options().create(true).append(true).open(log).map_err(E2eError::file("open", log))
}

/// The end of a log, as an error shows it.
pub fn tail(log: &Path) -> String {
    let Ok(bytes) = std::fs::read(log) else { return String::new() };
    let from = bytes.len().saturating_sub(64 << 10);
    let text = String::from_utf8_lossy(&bytes[from..]).into_owned();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    format!("\nthe last lines of {}:\n  {}", log.display(), last.join("\n  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_comes_back_and_into_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let limit = Duration::from_secs(10);
        let mut command = shell("echo out; echo err >&2");
        assert_eq!(run_logged("p", &mut command, dir.path(), limit).unwrap(), "out\n");
        let log = std::fs::read_to_string(dir.path().join("p.log")).unwrap();
        assert!(log.contains("out") && log.contains("err"), "{log}");
    }

    #[test]
    fn a_failure_shows_status_and_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = shell("echo last words >&2; exit 3");
        let error = run_logged("p", &mut command, dir.path(), Duration::from_secs(10));
        let error = error.unwrap_err().to_string();
        assert!(error.contains('3') && error.contains("last words"), "{error}");
    }

    #[test]
    fn a_program_past_its_time_limit_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let mut program = Program::start("p", &mut shell("sleep 60"), dir.path()).unwrap();
        let error = program.finish(Duration::from_millis(100)).unwrap_err();
        assert!(matches!(error, E2eError::Timeout { .. }), "{error}");
        assert!(program.ended().unwrap().is_some());
    }

    #[test]
    fn dropping_a_program_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        let program = Program::start("p", &mut shell("exec sleep 60"), dir.path()).unwrap();
        let pid = program.pid();
        drop(program);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }
}
