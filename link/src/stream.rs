//! The byte stream that a link runs over: TCP in [`crate::socket`], TLS over it in [`crate::tls`].
//!
//! One thread sends, one receives, and a third may end both; all three share the stream by
//! reference. An implementation that needs a lock or a thread of its own for that, as TLS does,
//! hides it behind the trait.

use std::fmt::Debug;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Shutdown};
use std::time::Duration;

/// The longest wait of one [`Stream::receive`]. Within this time a receiver sees that it must stop.
pub const RECEIVE_STEP: Duration = Duration::from_millis(200);

/// A connected byte stream in both directions.
pub trait Stream: Debug + Send + Sync {
    /// Sends some of `bytes`; returns how many. Waits while the other end takes none, as long as it
    /// shows that it lives.
    fn send(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Receives some bytes; returns how many, 0 at the stream's end.
    ///
    /// # Errors
    /// One for which [`is_transient`] is true if nothing came within [`RECEIVE_STEP`]: no byte is
    /// lost, and the caller may try again. After any other error the stream is of no further use.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Ends one direction or both. What waits in [`Self::send`] or [`Self::receive`] returns soon.
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
}

/// True if a wait ended for no fault of the stream: its time is over, or a signal came.
pub fn is_transient(error: &io::Error) -> bool {
    // Unix reports a timeout as the first kind, Windows as the second.
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// True if only this machine reaches the address.
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
