//! The scripts that an administrator has run before and after an instant is taken, for an
//! application that has no VSS writer.
//!
//! Rules:
//! - A script runs as the service does, so nobody but an administrator may be able to change it
//!   ([`access`]): it is refused otherwise.
//! - No shell is in between: the program gets its arguments as the configuration has them.
//! - It ends within its limit, or it is ended, with all that it has started.

mod access;
mod access_list;
#[cfg(windows)]
mod job;

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// How long a script may take unless the configuration says something else.
const LIMIT_DEFAULT: Duration = Duration::from_mins(1);
/// What the log gets of a script's output at most, of each stream, in bytes.
const OUTPUT_MAX: u64 = 64 << 10;
/// How often it is looked whether a script has ended.
const POLL: Duration = Duration::from_millis(20);
/// How long the rest of its output is waited for: what it has started may hold the pipe.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// A program and its arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Script {
    /// The program; its whole path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// What is run around an instant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scripts {
    /// Before it. If it fails, no instant is taken.
    pub before: Option<Script>,
    /// After it, whatever has come of it.
    pub after: Option<Script>,
    /// How long each may take.
    pub limit: Duration,
}

/// When a script is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// Before the instant.
    Before,
    /// After it.
    After,
}

/// Why a script has not done its work.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// It is not run: others could have changed it.
    #[error(
        "the script {script} is not run: {why} may change {}, and with it what the service does as \
         SYSTEM; give it to administrators alone: icacls \"{}\" /setowner *S-1-5-32-544, then \
         icacls \"{}\" /inheritance:r /grant:r *S-1-5-18:F *S-1-5-32-544:F",
        file.display(), file.display(), file.display()
    )]
    Unsafe {
        /// The script.
        script: Script,
        /// The file or folder.
        file: PathBuf,
        /// Who may change it.
        why: String,
    },
    /// It is not there, or cannot be run.
    #[error("the script {script} cannot be run: {source}")]
    Run {
        /// The script.
        script: Script,
        /// The system's error.
        source: io::Error,
    },
    /// It says that it has failed.
    #[error("the script {script} has failed: {status}{}", said(last.as_ref()))]
    Failed {
        /// The script.
        script: Script,
        /// How it ended.
        status: ExitStatus,
        /// The last line that it printed.
        last: Option<String>,
    },
    /// It was ended.
    #[error("the script {script} was ended: it did not end within {} s", limit.as_secs())]
    TooLong {
        /// The script.
        script: Script,
        /// Its limit.
        limit: Duration,
    },
}

fn said(last: Option<&String>) -> String {
    last.map(|last| format!(": {last}")).unwrap_or_default()
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.program.display().fmt(f)
    }
}

impl Moment {
    fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

/// None.
impl Default for Scripts {
    fn default() -> Self {
        Self { before: None, after: None, limit: LIMIT_DEFAULT }
    }
}

impl Scripts {
    /// True if there is one.
    pub fn are_there(&self) -> bool {
        self.before.is_some() || self.after.is_some()
    }

    /// Runs the one of a moment, if there is one, about a bookmark of a volume.
    ///
    /// # Errors
    /// [`ScriptError`]
    pub fn run(&self, moment: Moment, volume: &str, bookmark: &str) -> Result<(), ScriptError> {
        let script = match moment {
            Moment::Before => &self.before,
            Moment::After => &self.after,
        };
        let Some(script) = script else { return Ok(()) };
        script.check()?;
        let variables = [
            ("SNAPLESS_STEP", moment.name()),
            ("SNAPLESS_VOLUME", volume),
            ("SNAPLESS_BOOKMARK", bookmark),
        ];
        log::info!("running the script {script} {} bookmark {bookmark}", moment.name());
        script.run(&variables, self.limit)
    }
}

impl Script {
    /// An error if others than administrators may change what is run: the program, and each
    /// argument that is a file's whole path.
    fn check(&self) -> Result<(), ScriptError> {
        let arguments = self.arguments.iter().map(Path::new);
        let files = arguments.filter(|path| path.is_absolute() && path.is_file());
        for file in std::iter::once(&*self.program).chain(files) {
            match access::changed_by_others(file) {
                Ok(None) => {}
                Ok(Some(access::Doubt { file, who })) => {
                    return Err(ScriptError::Unsafe { script: self.clone(), file, why: who });
                }
                Err(source) => return Err(self.failed(source)),
            }
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> ScriptError {
        ScriptError::Run { script: self.clone(), source }
    }

    fn run(&self, variables: &[(&str, &str)], limit: Duration) -> Result<(), ScriptError> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(folder) = self.program.parent() {
            command.current_dir(folder);
        }
        let mut running = Running::start(command).map_err(|source| self.failed(source))?;
        let output = self.follow(&mut running.child);
        let begun = Instant::now();
        let status = loop {
            match running.child.try_wait().map_err(|source| self.failed(source))? {
                Some(status) => break status,
                None if begun.elapsed() >= limit => {
                    running.end();
                    return Err(ScriptError::TooLong { script: self.clone(), limit });
                }
                None => thread::sleep(POLL),
            }
        };
        let last = last_line(&output);
        if status.success() {
            return Ok(());
        }
        Err(ScriptError::Failed { script: self.clone(), status, last })
    }

    /// Has the log follow what it prints; gets each line.
    fn follow(&self, child: &mut Child) -> Receiver<String> {
        let (lines, output) = mpsc::channel();
        let name = self.to_string();
        if let Some(stream) = child.stdout.take() {
            log_lines(stream, name.clone(), lines.clone());
        }
        if let Some(stream) = child.stderr.take() {
            log_lines(stream, name, lines);
        }
        output
    }
}

/// Logs what comes, up to [`OUTPUT_MAX`]; the rest is read and forgotten.
fn log_lines(stream: impl Read + Send + 'static, name: String, to: Sender<String>) {
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        let mut limited = stream.by_ref().take(OUTPUT_MAX);
        while limited.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if !text.is_empty() {
                log::info!("{name}: {text}");
                // Nothing waits for it any more.
                _ = to.send(text);
            }
        }
        _ = io::copy(&mut stream, &mut io::sink());
    });
}

/// The last line, once both streams have ended, or [`DRAIN_LIMIT`] is over.
fn last_line(output: &Receiver<String>) -> Option<String> {
    let until = Instant::now() + DRAIN_LIMIT;
    let mut last = None;
    while let Ok(line) = output.recv_timeout(until.saturating_duration_since(Instant::now())) {
        last = Some(line);
    }
    last
}

/// A program that runs, and what it starts.
struct Running {
    child: Child,
    #[cfg(windows)]
    job: job::Job,
}

impl Running {
    #[cfg(windows)]
    fn start(mut command: Command) -> io::Result<Self> {
        use std::os::windows::process::CommandExt;
        use windows_sys::Win32::System::Threading::CREATE_NO_WINDOW;

        let job = job::Job::new()?;
        let child = command.creation_flags(CREATE_NO_WINDOW).spawn()?;
        let mut running = Self { child, job };
        if let Err(error) = running.job.take(&running.child) {
            running.end();
            return Err(error);
        }
        Ok(running)
    }

    #[cfg(not(windows))]
    fn start(mut command: Command) -> io::Result<Self> {
        Ok(Self { child: command.spawn()? })
    }

    /// Ends it.
    fn end(&mut self) {
        #[cfg(windows)]
        self.job.end();
        // It may have ended meanwhile.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A script for `/bin/sh` in a folder.
    fn script(folder: &Path, text: &str) -> Script {
        let file = folder.join("script.sh");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let arguments = vec![file.display().to_string(), "an argument; $(false)".to_owned()];
        Script { program: "/bin/sh".into(), arguments }
    }

    fn scripts(before: Script) -> Scripts {
        Scripts { before: Some(before), after: None, limit: Duration::from_mins(1) }
    }

    #[test]
    fn a_script_is_told_the_bookmark_and_gets_its_arguments_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let text = format!(
            "echo \"$SNAPLESS_STEP $SNAPLESS_VOLUME $SNAPLESS_BOOKMARK $1\" > '{}'",
            out.display()
        );
        let scripts = scripts(script(folder.path(), &text));
        scripts.run(Moment::After, "D:", "b").unwrap();
        assert!(!out.exists(), "there is none for after");
        scripts.run(Moment::Before, "D:", "b").unwrap();
        assert_eq!(fs::read_to_string(out).unwrap(), "before D: b an argument; $(false)\n");
    }

    #[test]
    fn a_script_that_fails_is_told_with_its_last_line() {
        let folder = tempfile::tempdir().unwrap();
        let text = "echo first; echo 'the database is away' >&2; exit 3";
        let failed = scripts(script(folder.path(), text)).run(Moment::Before, "D:", "b");
        let said = failed.unwrap_err().to_string();
        assert!(said.contains("exit status: 3") && said.contains("/bin/sh"), "{said}");
        let missing = Script { program: folder.path().join("missing"), arguments: Vec::new() };
        let said = scripts(missing).run(Moment::Before, "D:", "b").unwrap_err().to_string();
        assert!(said.contains("cannot be run"), "{said}");
        let text = "echo 'the database is away'; exit 3";
        let failed = scripts(script(folder.path(), text)).run(Moment::Before, "D:", "b");
        assert!(failed.unwrap_err().to_string().ends_with(": the database is away"));
    }

    #[test]
    fn a_script_that_does_not_end_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let scripts = Scripts {
            limit: Duration::from_millis(50),
            ..scripts(script(folder.path(), "exec sleep 600"))
        };
        let ended = scripts.run(Moment::Before, "D:", "b").unwrap_err();
        assert!(matches!(ended, ScriptError::TooLong { .. }), "{ended}");
    }

    #[test]
    fn a_script_that_others_may_change_is_not_run() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let script = script(folder.path(), &format!("touch '{}'", out.display()));
        let file = folder.path().join("script.sh");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        let refused = scripts(script).run(Moment::Before, "D:", "b").unwrap_err().to_string();
        assert!(refused.contains("is not run") && refused.contains("icacls"), "{refused}");
        assert!(!out.exists());
    }
}
