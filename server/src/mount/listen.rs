//! The socket at which clients find a mount: a Unix socket of this user alone, or TCP on the
//! loopback.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use snapless_link::stream::is_loopback;
use snapless_nbd::Stream;
use tempfile::TempDir;

#[cfg(unix)]
use super::socket;
use crate::error::{Error, Result};

/// How long a stop waits for its own connection, which wakes the thread that accepts.
const WAKE_LIMIT: Duration = Duration::from_secs(1);

/// Where clients find a mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// An address and a port, which no other machine reaches.
    Tcp(SocketAddr),
    /// A file; only this user may open it.
    Unix(PathBuf),
}

/// Wakes the thread that accepts.
#[derive(Clone, Debug)]
pub struct Wake(Address);

#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener, Address),
    #[cfg(unix)]
    Unix(socket::Listener, Address),
}

/// A socket that clients connect to.
pub(super) trait Accept {
    type Stream: Stream;

    fn accept(&self) -> io::Result<Self::Stream>;
}

impl Listener {
    pub(super) fn bind(address: &Address) -> Result<Self> {
        match address {
            Address::Tcp(address) if !is_loopback(address.ip()) => {
                Err(Error::MountAddress(*address))
            }
            Address::Tcp(asked) => {
                let bound = TcpListener::bind(asked)
                    .and_then(|listener| listener.local_addr().map(|found| (listener, found)));
                let (listener, found) = bound.map_err(cannot_listen(address.to_string()))?;
                Ok(Self::Tcp(listener, Address::Tcp(found)))
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                let bound = socket::Listener::bind(path);
                let listener = bound.map_err(cannot_listen(address.to_string()))?;
                Ok(Self::Unix(listener, address.clone()))
            }
            #[cfg(not(unix))]
            Address::Unix(_) => {
                let no = io::Error::from(io::ErrorKind::Unsupported);
                Err(cannot_listen(address.to_string())(no))
            }
        }
    }

    pub(super) fn address(&self) -> &Address {
        match self {
            Self::Tcp(_, address) => address,
            #[cfg(unix)]
            Self::Unix(_, address) => address,
        }
    }

    pub(super) fn wake(&self) -> Wake {
        Wake(self.address().clone())
    }
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    fn accept(&self) -> io::Result<TcpStream> {
        self.accept().map(|(stream, _)| stream)
    }
}

#[cfg(unix)]
impl Accept for socket::Listener {
    type Stream = std::os::unix::net::UnixStream;

    fn accept(&self) -> io::Result<Self::Stream> {
        self.accept()
    }
}

impl Wake {
    /// If it fails, the thread is awake already.
    pub(super) fn wake(&self) {
        match &self.0 {
            Address::Tcp(address) => drop(TcpStream::connect_timeout(address, WAKE_LIMIT)),
            #[cfg(unix)]
            Address::Unix(path) => drop(std::os::unix::net::UnixStream::connect(path)),
            #[cfg(not(unix))]
            Address::Unix(_) => {}
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl Address {
    /// A socket in a new folder of this user alone, which goes with the result.
    ///
    /// # Errors
    /// The folder cannot be made, or the system has no such sockets.
    #[cfg(unix)]
    pub fn in_own_folder() -> Result<(Self, TempDir)> {
        use std::fs::Permissions;
        use std::os::unix::fs::PermissionsExt;
        let permissions = Permissions::from_mode(0o700);
        let made = tempfile::Builder::new().prefix("snapless-").permissions(permissions).tempdir();
        let folder = made.map_err(Error::file("create a folder in", &std::env::temp_dir()))?;
        Ok((Self::Unix(folder.path().join("point.sock")), folder))
    }

    /// As on Unix; here it fails.
    ///
    /// # Errors
    /// The system has no such sockets.
    #[cfg(not(unix))]
    pub fn in_own_folder() -> Result<(Self, TempDir)> {
        let no = io::Error::from(io::ErrorKind::Unsupported);
        Err(cannot_listen("a Unix socket".to_owned())(no))
    }

    /// What NBD clients call this export of it.
    pub fn uri(&self, export: &str) -> String {
        match self {
            Self::Tcp(address) => format!("nbd://{address}/{export}"),
            Self::Unix(path) => {
                format!("nbd+unix:///{export}?socket={}", escaped(&path.to_string_lossy()))
            }
        }
    }
}

/// The error of an address at which nothing can listen.
fn cannot_listen(address: String) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Listen { address, source }
}

/// A path in the query of a URI.
fn escaped(path: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    let escape = |byte: u8| {
        if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    path.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_reaches_a_mount() {
        for bad in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let refused = Listener::bind(&Address::Tcp(bad.parse().unwrap())).unwrap_err();
            assert!(refused.to_string().contains("127.0.0.1"), "{refused}");
        }
        let bound = Listener::bind(&Address::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
        assert!(!bound.address().to_string().ends_with(":0"));
    }

    #[test]
    fn a_path_in_a_uri_is_escaped() {
        let address = Address::Unix("/tmp/a b&c%/ü.sock".into());
        let want = "nbd+unix:///v?socket=/tmp/a%20b%26c%25/%C3%BC.sock";
        assert_eq!(address.uri("v"), want);
        assert_eq!(Address::Tcp("[::1]:7".parse().unwrap()).uri("v"), "nbd://[::1]:7/v");
    }
}
