//! Frames over a stream: the link between service and server, for both ends.
//!
//! | module | its one job |
//! | --- | --- |
//! | [`stream`] | the byte stream below: TCP, or TLS over it |
//! | [`socket`] | TCP, and whether its other end lives |
//! | [`tls`] | TLS below a link: handshake, stream, enrolment |
//! | [`frames`] | sends and receives whole frames, within limits of size and time |
//! | [`packing`] | Records frames that are compressed on their way |
//! | [`meeting`] | one instant of volumes of several machines |
//! | [`question`] | what a service asks in the place of sending, and the reply |
//! | [`report`] | what a service tells of a session, for the server's console |
//! | [`stretches`] | instants that several volumes have in common |
//! | [`client`] | the service's end: connects, says hello, receives messages |
//! | [`server`] | the server's end: accepts, receives records, says why it closes |
//!
//! Rule: a frame counts as sent only as a whole, and as received only if its checksum holds. After
//! any error the link is of no further use and is dropped.
#![forbid(unsafe_code)]

pub mod client;
mod error;
pub mod frames;
pub mod meeting;
pub mod packing;
pub mod question;
pub mod report;
pub mod server;
pub mod socket;
pub mod stream;
pub mod stretches;
pub mod tls;

pub use error::LinkError;
pub use tls::TlsError;
