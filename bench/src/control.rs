//! The control channel: a unix socket that takes the commands of [`crate::protocol`].

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;

use crate::error::{Error, IoContext, Result};
use crate::protocol::{Answer, Command, Comparison, Report, Served, Started};
use crate::server::Server;
use crate::spec::SessionSpec;

/// Serves the control channel on threads of its own; sends to `quit` on [`Command::Quit`].
pub fn serve(path: &Path, server: Arc<Server>, quit: Sender<()>) -> Result<()> {
    let listener = UnixListener::bind(path).on("listen on", path)?;
    let accept = move || {
        for stream in listener.incoming().filter_map(Result::ok) {
            let (server, quit) = (Arc::clone(&server), quit.clone());
            let talk = move || {
                // An error ends this conversation only.
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

/// A client of the control channel.
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

    /// Sends a command and waits for the answer.
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

    /// Starts a session.
    pub fn start(&mut self, volume: &str, session: &SessionSpec) -> Result<Started> {
        let (volume, session) = (volume.to_owned(), session.clone());
        match self.ask(&Command::Start { volume, session })? {
            Answer::Started(started) => Ok(started),
            other => Err(unexpected(&other)),
        }
    }

    /// The state of a session.
    pub fn status(&mut self, volume: &str) -> Result<Report> {
        match self.ask(&Command::Status { volume: volume.to_owned() })? {
            Answer::Status(report) => Ok(*report),
            other => Err(unexpected(&other)),
        }
    }

    /// Compares the stream with the file.
    pub fn verify(&mut self, volume: &str) -> Result<Comparison> {
        match self.ask(&Command::Verify { volume: volume.to_owned() })? {
            Answer::Compared(found) => Ok(found),
            other => Err(unexpected(&other)),
        }
    }

    /// Stops a session.
    pub fn stop(&mut self, volume: &str) -> Result<()> {
        self.ask(&Command::Stop { volume: volume.to_owned() }).map(|_| ())
    }

    /// Counters of all volumes.
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
    Error::Refused(format!("unexpected answer {answer:?}"))
}
