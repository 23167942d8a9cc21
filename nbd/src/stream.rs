//! The sockets that a client comes over: TCP, and a Unix socket where there are such.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// A connected socket that is read and written through a shared reference.
pub trait Stream: Sized + Send {
    /// Ends a read or a write that moves no byte for so long; `None` for no limit.
    fn limit_silence(&self, limit: Option<Duration>) -> io::Result<()>;

    /// Sends what is written at once.
    fn send_at_once(&self) -> io::Result<()>;

    /// Another handle of the same socket.
    fn another(&self) -> io::Result<Self>;

    /// Ends every read and write of every handle.
    fn shut_down(&self);
}

impl Stream for TcpStream {
    fn limit_silence(&self, limit: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(limit)?;
        self.set_write_timeout(limit)
    }

    fn send_at_once(&self) -> io::Result<()> {
        self.set_nodelay(true)
    }

    fn another(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn shut_down(&self) {
        // The client may have closed it already.
        drop(self.shutdown(Shutdown::Both));
    }
}

#[cfg(unix)]
impl Stream for std::os::unix::net::UnixStream {
    fn limit_silence(&self, limit: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(limit)?;
        self.set_write_timeout(limit)
    }

    fn send_at_once(&self) -> io::Result<()> {
        Ok(())
    }

    fn another(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn shut_down(&self) {
        // The client may have closed it already.
        drop(self.shutdown(Shutdown::Both));
    }
}
