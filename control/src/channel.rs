//! The channel between command line and service: the named pipe `\\.\pipe\Snapless` on Windows,
//! and for tests a socket in the file system elsewhere.
//!
//! Rule: SYSTEM and administrators alone may open the pipe, from this machine only. The command
//! line lets the other end identify it and no more: a program that takes the pipe's name while no
//! service runs cannot act in the administrator's name.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use interprocess::local_socket::prelude::*;
use interprocess::local_socket::{GenericFilePath, Listener, ListenerOptions, Name};

use crate::exchange;
use crate::message::{Answer, Refusal, RefusalKind, Request};

/// The service's pipe.
pub const PIPE: &str = r"\\.\pipe\Snapless";
/// Connections that are served at once; further ones are refused.
const CONNECTIONS_MAX: usize = 8;
/// How long it is waited after a connection that could not be taken.
const RETRY: Duration = Duration::from_millis(100);

/// Full access for SYSTEM and administrators, nothing for anyone else; not to be raised by
/// inheritance.
#[cfg(windows)]
const ACCESS: &widestring::U16CStr = widestring::u16cstr!("D:P(A;;GA;;;SY)(A;;GA;;;BA)");

fn name(path: &Path) -> io::Result<Name<'_>> {
    path.to_fs_name::<GenericFilePath>()
}

/// The service's end.
pub struct Channel {
    listener: Listener,
}

impl Channel {
    /// Makes the pipe, or the socket.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::AddrInUse`] or [`io::ErrorKind::PermissionDenied`] if another
    /// program has made it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let options = ListenerOptions::new().name(name(path)?);
        #[cfg(windows)]
        let options = {
            use interprocess::os::windows::local_socket::ListenerOptionsExt;
            use interprocess::os::windows::security_descriptor::SecurityDescriptor;
            options.security_descriptor(SecurityDescriptor::deserialize(ACCESS)?)
        };
        Ok(Self { listener: options.create_sync()? })
    }

    /// Answers requests for as long as the process runs, several at once.
    pub fn serve(self, carry_out: impl Fn(Request) -> Answer + Send + Sync + 'static) {
        let (carry_out, served) = (Arc::new(carry_out), Arc::new(AtomicUsize::new(0)));
        for stream in self.listener.incoming() {
            let Ok(mut stream) = stream else {
                thread::sleep(RETRY);
                continue;
            };
            // Relaxed: a count that nothing else hangs on.
            let is_free = served.fetch_add(1, Ordering::Relaxed) < CONNECTIONS_MAX;
            let (carry_out, served) = (Arc::clone(&carry_out), Arc::clone(&served));
            thread::spawn(move || {
                // An end that has gone away needs no answer.
                _ = exchange::answer(&mut stream, |request| {
                    if is_free { carry_out(request) } else { busy() }
                });
                served.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }
}

fn busy() -> Answer {
    let text = format!("the service answers {CONNECTIONS_MAX} requests already: try again");
    Answer::Refused(Refusal::new(RefusalKind::Other, text))
}

/// Connects to the service.
///
/// # Errors
/// The system's; [`io::ErrorKind::NotFound`] or [`io::ErrorKind::ConnectionRefused`] if no service
/// runs.
#[cfg(windows)]
pub fn connect(path: &Path) -> io::Result<impl io::Read + io::Write + Send + use<>> {
    use std::os::windows::fs::OpenOptionsExt;
    /// `SECURITY_IDENTIFICATION` of `CreateFileW`.
    const IDENTIFICATION: u32 = 1 << 16;
    /// `ERROR_PIPE_BUSY`: between two connections.
    const BUSY: i32 = 231;
    const TRIES: usize = 50;
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).security_qos_flags(IDENTIFICATION);
    for _ in 1..TRIES {
        match options.open(path) {
            Err(error) if error.raw_os_error() == Some(BUSY) => thread::sleep(RETRY),
            opened => return opened,
        }
    }
    options.open(path)
}

/// Connects to the service.
///
/// # Errors
/// As on Windows.
#[cfg(not(windows))]
pub fn connect(path: &Path) -> io::Result<impl io::Read + io::Write + Send + use<>> {
    LocalSocketStream::connect(name(path)?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::message::Done;

    /// A service that counts what it is asked for.
    fn serve(path: &Path) -> Arc<AtomicUsize> {
        let (asked, count) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let channel = Channel::open(path).unwrap();
        let counted = Arc::clone(&asked);
        thread::spawn(move || {
            channel.serve(move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
                let volumes = count.fetch_add(1, Ordering::SeqCst);
                Answer::Done(Done {
                    volume: None,
                    server: None,
                    changed: true,
                    paused: false,
                    volumes,
                    schedule: None,
                })
            });
        });
        asked
    }

    #[test]
    fn several_ask_at_once_and_one_that_says_nothing_holds_up_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        assert!(connect(&path).is_err(), "no service runs");
        let asked = serve(&path);
        let silent = connect(&path).unwrap();
        for _ in 0..20 {
            let said = exchange::ask(&mut connect(&path).unwrap(), &Request::Reload).unwrap();
            assert!(matches!(said, Answer::Done(_)), "{said:?}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 20);
        drop(silent);
    }

    #[test]
    fn more_than_are_served_at_once_are_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let asked = serve(&path);
        let silent: Vec<_> = (0..CONNECTIONS_MAX).map(|_| connect(&path).unwrap()).collect();
        let mut last = connect(&path).unwrap();
        let said = exchange::ask(&mut last, &Request::Reload).unwrap();
        assert!(matches!(said, Answer::Refused(refusal) if refusal.text.contains("try again")));
        assert_eq!(asked.load(Ordering::SeqCst), 0);
        drop(silent);
    }

    #[test]
    fn bytes_that_are_no_request_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let asked = serve(&path);
        let mut stream = connect(&path).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert!(said.contains("refused") && asked.load(Ordering::SeqCst) == 0, "{said}");
    }
}
