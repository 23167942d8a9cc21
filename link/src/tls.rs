//! TLS 1.3 below a link: both ends prove themselves by certificates of the server's authority.
//!
//! | module | its one job |
//! | --- | --- |
//! | `engine` | the TLS connection itself, without input and output |
//! | [`stream`] | the byte stream: one thread sends, one receives, a third may end both |
//! | [`handshake`] | from a TCP connection to that stream, within a limit of time |
//! | [`client`], [`server`] | what the two ends do with it |
//! | [`enrol`] | the conversation in which a machine gets its certificate |

pub mod client;
mod engine;
pub mod enrol;
#[cfg(test)]
mod enrolled;
mod error;
pub mod handshake;
pub mod server;
pub mod stream;

pub use error::TlsError;
