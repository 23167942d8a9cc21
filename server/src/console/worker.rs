//! The process that reads files of a point ([`super::files`]), and its limits: it is ended when its
//! time is over, when its reader has gone, and with the console.

use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use snapless_console::estate::Download;
use snapless_console::fault::{Code, Fault, Result};
use snapless_console::model::{At, FilePath, Folder, VolumeId};

use super::estate::Stored;
use super::files::{Answer, Not};
use crate::seal::KeySource;

/// The command of the process.
pub(crate) const COMMAND: &str = "read-files";
/// The longest time until the process has answered.
const ANSWER_LIMIT: Duration = Duration::from_mins(2);
/// The longest answer: 1,000 entries with the longest names.
const ANSWER_MAX: u64 = 8 << 20;

/// A process that runs; dropping it ends it.
struct Worker {
    child: Child,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to end.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The content that a process writes.
struct Content {
    out: BufReader<ChildStdout>,
    _worker: Worker,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.out.read(buffer)
    }
}

impl Stored {
    pub(super) fn read_folder(
        &self,
        volume: &VolumeId,
        at: &At,
        path: &FilePath,
        after: Option<&str>,
    ) -> Result<Folder> {
        let mut command = self.command(volume, at, path)?;
        if let Some(after) = after {
            command.arg(format!("--after={after}"));
        }
        match start(command)? {
            (Answer::Folder(folder), _) => Ok(folder),
            (answer, _) => Err(refused(answer)),
        }
    }

    pub(super) fn read_file(
        &self,
        volume: &VolumeId,
        at: &At,
        path: &FilePath,
    ) -> Result<Download> {
        let mut command = self.command(volume, at, path)?;
        command.arg("--content");
        match start(command)? {
            (Answer::Content { name, size }, content) => {
                Ok(Download { name, size, content: Box::new(content) })
            }
            (answer, _) => Err(refused(answer)),
        }
    }

    /// The process. Texts of a request are values of options, never options.
    fn command(&self, volume: &VolumeId, at: &At, path: &FilePath) -> Result<Command> {
        let mut command = Command::new(program()?);
        command.arg(COMMAND);
        command.arg("--repository");
        match self.location.directory() {
            Some(directory) => command.arg(directory),
            None => command.arg(self.location.to_string()),
        };
        match &self.key {
            KeySource::None => {}
            KeySource::KeyFile(file) => _ = command.arg("--key-file").arg(file),
            KeySource::PassphraseFile(file) => _ = command.arg("--passphrase-file").arg(file),
        }
        command.arg(format!("--volume={volume}")).arg(format!("--at={at}"));
        command.arg(format!("--path={path}"));
        Ok(command)
    }
}

fn program() -> Result<PathBuf> {
    std::env::current_exe().map_err(Fault::internal)
}

/// Starts a process and waits for its answer.
fn start(mut command: Command) -> Result<(Answer, Content)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().map_err(Fault::internal)?;
    let out = child.stdout.take();
    let worker = Worker { child };
    let out = out.ok_or_else(|| Fault::internal("a process without output"))?;
    let (sender, receiver) = mpsc::channel();
    // It ends with the process, at the latest.
    let read = move || {
        let mut out = BufReader::new(out);
        let mut line = Vec::new();
        let read = out.by_ref().take(ANSWER_MAX).read_until(b'\n', &mut line);
        // Nobody waits for it any more.
        drop(sender.send((read.map(|_| line), out)));
    };
    let reading = thread::Builder::new().name("console files".to_owned());
    reading.spawn(read).map_err(Fault::internal)?;
    let Ok((line, out)) = receiver.recv_timeout(ANSWER_LIMIT) else {
        let message = "reading the files took too long and was ended: mount the point";
        return Err(Fault::new(Code::Busy, message));
    };
    let line = line.map_err(Fault::internal)?;
    let Ok(answer) = serde_json::from_slice(&line) else {
        let message = "the process that reads files has ended; the file system may be damaged: \
            mount the point";
        log::warn!("console: {message}");
        return Err(Fault::new(Code::NoFileSystem, message));
    };
    Ok((answer, Content { out, _worker: worker }))
}

fn refused(answer: Answer) -> Fault {
    let Answer::Not(not, why) = answer else { return Fault::internal("another answer") };
    let code = match not {
        Not::Found => Code::NotFound,
        Not::Readable | Not::Sound => Code::Unreadable,
        Not::FileSystem => Code::NoFileSystem,
        Not::Restorable => Code::NotRestorable,
    };
    Fault::new(code, why)
}
