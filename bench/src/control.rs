//! The control channel: a unix socket on which each line is a command, and each line back the answer, in JSON.
//!
//! ```text
//! {"command":"start","volume":"v","session":{"sink":{"null":{"digest":true}}}}
//! {"command":"status","volume":"v"}
//! {"command":"verify","volume":"v"}
//! {"command":"stop","volume":"v"}
//! {"command":"statistics"}
//! {"command":"quit"}
//! ```

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;

use serde::{Deserialize, Serialize};
use snapless_engine::Status;

use crate::error::{Error, IoContext, Result};
use crate::server::{Server, Started};
use crate::session::SessionSpec;
use crate::sink::digest::Comparison;

/// What can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// Begin a session.
    Start {
        /// Of this volume.
        volume: String,
        /// With these limits and this sink.
        session: SessionSpec,
    },
    /// Where a session stands.
    Status {
        /// Of this volume.
        volume: String,
    },
    /// Compare what the stream says with the file. Nobody may write meanwhile.
    Verify {
        /// Of this volume.
        volume: String,
    },
    /// End a session.
    Stop {
        /// Of this volume.
        volume: String,
    },
    /// What was served.
    Statistics,
    /// End the host.
    Quit,
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It was done.
    Done,
    /// The session has begun.
    Started(Started),
    /// Where the session stands.
    Status(Box<Report>),
    /// What the comparison found.
    Compared(Comparison),
    /// What was served.
    Statistics(Vec<Served>),
    /// It was not done.
    Error(String),
}

/// A session's state.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of the engine's status")]
pub struct Report {
    pub phase: String,
    pub consistent: bool,
    pub base_complete: bool,
    pub blocks_total: u64,
    pub blocks_synced: u64,
    pub blocks_dirty: u64,
    pub blocks_by_sweep: u64,
    pub blocks_by_hold: u64,
    pub blocks_unallocated: u64,
    pub blocks_unreadable: u64,
    pub writes_passed: u64,
    pub writes_held: u64,
    pub writes_holding: u64,
    pub writes_uncaptured: u64,
    pub hold_longest_us: u64,
    pub hold_buckets: Vec<u64>,
    pub bytes_captured: u64,
    pub bytes_drained: u64,
    pub queue_used: u64,
    pub gaps: u64,
    pub last_seq: u64,
    pub acknowledged_seq: u64,
    /// The last record that the sink is done with.
    pub sink_seq: u64,
    /// The sink takes nothing any more.
    pub sink_failed: bool,
}

impl Report {
    /// Of a session and its sink.
    pub fn new(status: &Status, sink_seq: u64, sink_failed: bool) -> Self {
        Self {
            phase: format!("{:?}", status.phase).to_lowercase(),
            consistent: status.consistent,
            base_complete: status.base_complete,
            blocks_total: status.blocks_total,
            blocks_synced: status.blocks_synced,
            blocks_dirty: status.blocks_dirty,
            blocks_by_sweep: status.blocks_by_sweep,
            blocks_by_hold: status.blocks_by_hold,
            blocks_unallocated: status.blocks_unallocated,
            blocks_unreadable: status.blocks_unreadable,
            writes_passed: status.writes_captured_inline,
            writes_held: status.writes_held,
            writes_holding: status.writes_holding,
            writes_uncaptured: status.writes_uncaptured,
            hold_longest_us: status.holds.longest_us,
            hold_buckets: status.holds.buckets.to_vec(),
            bytes_captured: status.bytes_captured,
            bytes_drained: status.bytes_drained,
            queue_used: status.queue_used,
            gaps: status.gaps,
            last_seq: status.last_seq,
            acknowledged_seq: status.acknowledged_seq,
            sink_seq,
            sink_failed,
        }
    }

    /// True once every block has been captured and the sink is done with all records.
    pub fn is_drained(&self) -> bool {
        self.base_complete && self.sink_seq >= self.last_seq
    }
}

/// What was served of a volume.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of the volume's statistics")]
pub struct Served {
    pub volume: String,
    pub length: u64,
    pub reads: u64,
    pub read_bytes: u64,
    pub writes: u64,
    pub write_bytes: u64,
    pub flushes: u64,
    pub errors: u64,
    pub connections: u64,
}

/// Serves the control channel on threads of its own; `quit` goes to `quit`.
pub fn serve(path: &Path, server: Arc<Server>, quit: Sender<()>) -> Result<()> {
    let listener = UnixListener::bind(path).on("listen on", path)?;
    let accept = move || {
        for stream in listener.incoming().filter_map(Result::ok) {
            let (server, quit) = (Arc::clone(&server), quit.clone());
            let talk = move || {
                // A broken conversation is the client's affair.
                let _ = converse(&stream, &server, &quit);
            };
            if thread::Builder::new().spawn(talk).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("control".to_owned()).spawn(accept).map_err(Error::Thread)?;
    Ok(())
}

fn converse(stream: &UnixStream, server: &Server, quit: &Sender<()>) -> Result<()> {
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(Error::Control)?;
        let command = serde_json::from_str(&line).map_err(Error::Command);
        let is_quit = matches!(command, Ok(Command::Quit));
        let answered = command.and_then(|command| carry_out(server, command));
        let answer = answered.unwrap_or_else(|error| Answer::Error(error.to_string()));
        let mut bytes = serde_json::to_vec(&answer).map_err(Error::Command)?;
        bytes.push(b'\n');
        let mut writer = stream;
        writer.write_all(&bytes).map_err(Error::Control)?;
        if is_quit {
            // The host may be ending already.
            let _ = quit.send(());
        }
    }
    Ok(())
}

fn carry_out(server: &Server, command: Command) -> Result<Answer> {
    match command {
        Command::Start { volume, session } => server.start(&volume, &session).map(Answer::Started),
        Command::Status { volume } => {
            server.status(&volume).map(|report| Answer::Status(Box::new(report)))
        }
        Command::Verify { volume } => server.verify(&volume).map(Answer::Compared),
        Command::Stop { volume } => server.stop(&volume).map(|()| Answer::Done),
        Command::Statistics => Ok(Answer::Statistics(server.statistics())),
        Command::Quit => Ok(Answer::Done),
    }
}

/// The other end of the channel.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to a host's control channel.
    pub fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path).on("connect to", path)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`Error::Refused`] with the host's reason, or what is wrong with the channel.
    pub fn ask(&mut self, command: &Command) -> Result<Answer> {
        let mut line = serde_json::to_vec(command).map_err(Error::Command)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).map_err(Error::Control)?;
        let mut answer = String::new();
        if self.stream.read_line(&mut answer).map_err(Error::Control)? == 0 {
            return Err(Error::Control(std::io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_str(&answer).map_err(Error::Command)? {
            Answer::Error(reason) => Err(Error::Refused(reason)),
            answer => Ok(answer),
        }
    }

    /// Begins a session.
    pub fn start(&mut self, volume: &str, session: &SessionSpec) -> Result<Started> {
        let (volume, session) = (volume.to_owned(), session.clone());
        match self.ask(&Command::Start { volume, session })? {
            Answer::Started(started) => Ok(started),
            other => Err(unexpected(&other)),
        }
    }

    /// Where a session stands.
    pub fn status(&mut self, volume: &str) -> Result<Report> {
        match self.ask(&Command::Status { volume: volume.to_owned() })? {
            Answer::Status(report) => Ok(*report),
            other => Err(unexpected(&other)),
        }
    }

    /// Compares what the stream says with the file.
    pub fn verify(&mut self, volume: &str) -> Result<Comparison> {
        match self.ask(&Command::Verify { volume: volume.to_owned() })? {
            Answer::Compared(found) => Ok(found),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends a session.
    pub fn stop(&mut self, volume: &str) -> Result<()> {
        self.ask(&Command::Stop { volume: volume.to_owned() }).map(|_| ())
    }

    /// What was served.
    pub fn statistics(&mut self) -> Result<Vec<Served>> {
        match self.ask(&Command::Statistics)? {
            Answer::Statistics(served) => Ok(served),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends the host.
    pub fn quit(&mut self) -> Result<()> {
        self.ask(&Command::Quit).map(|_| ())
    }
}

fn unexpected(answer: &Answer) -> Error {
    Error::Refused(format!("it answered {answer:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::SinkSpec;

    #[test]
    fn commands_are_what_the_documentation_says() {
        let line =
            r#"{"command":"start","volume":"v","session":{"sink":{"null":{"digest":true}}}}"#;
        let Command::Start { volume, session } = serde_json::from_str(line).unwrap() else {
            panic!("it is a start")
        };
        assert_eq!((volume.as_str(), session.queue_mib), ("v", 64));
        assert_eq!(session.sink, SinkSpec::Null { digest: true });
        for line in [r#"{"command":"quit"}"#, r#"{"command":"statistics"}"#] {
            assert!(serde_json::from_str::<Command>(line).is_ok());
        }
        assert!(serde_json::from_str::<Command>(r#"{"command":"dance"}"#).is_err());
    }
}
