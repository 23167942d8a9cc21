//! TLS 1.3 below a link: both ends prove themselves by certificates of the server's authority.
//!
//! | module | its one job |
//! | --- | --- |
//! | `engine` | the handshake itself, without input and output |
//! | `records` | encrypts and decrypts the records that come after it |
//! | `keys` | the next key of either direction |
//! | `buffers`, `sending`, `receiving` | the two directions of a connection |
//! | [`stream`] | the byte stream: one thread sends, one receives, a third may end both |
//! | [`handshake`] | from a TCP connection to that stream, within a limit of time |
//! | [`client`], [`server`] | what the two ends do with it |
//! | [`enrol`] | the conversation in which a machine gets its certificate |

use std::sync::{Mutex, MutexGuard, PoisonError};

mod buffers;
pub mod client;
#[cfg(test)]
mod ends;
mod engine;
pub mod enrol;
#[cfg(test)]
mod enrolled;
mod error;
pub mod handshake;
mod keys;
mod receiving;
mod records;
mod sending;
pub mod server;
pub mod stream;

pub use error::TlsError;

/// A panic of another thread cannot leave what these locks protect half-changed in a way that TLS
/// does not notice.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
