//! Who may speak on a link: the server's certificate authority, the identities of machines, how a
//! machine gets one, and how it loses it.
//!
//! | module | its one job |
//! | --- | --- |
//! | [`authority`] | the server's own authority: makes it, issues and renews certificates |
//! | [`identity`] | what a certificate says: machine, role, name, validity |
//! | [`token`] | single-use tokens that let a machine enrol |
//! | [`enrolment`] | what machine and server say to each other at enrolment and renewal |
//! | [`machines`] | what the authority has issued, machine by machine |
//! | [`revocation`] | certificates that are no longer accepted |
//! | [`keystore`] | a machine's own key and certificate |
//! | [`volumes`] | which volume belongs to which machine |
//! | [`server`] | all of this together, as a server uses it |
//! | [`config`] | the TLS settings of both ends |
//! | [`audit`] | one line for each act |
//! | [`files`], [`private`] | files that only their owner reads |
//! | [`folders`] | names in a folder that survive a crash |
//! | [`regular`] | files, and nothing else in their place |
//! | [`text`] | what people write, in whatever encoding |
//! | [`hex`] | bytes as hexadecimal digits |
//!
//! Rule: a key is private from its first byte, no secret is stored that a hash can replace, and
//! what cannot be checked is refused.
#![deny(unsafe_code)]

pub mod audit;
pub mod authority;
pub mod config;
pub mod enrolment;
mod error;
pub mod files;
pub mod folders;
pub mod hex;
pub mod identity;
pub mod keystore;
pub mod machines;
pub mod private;
pub mod regular;
pub mod restores;
pub mod revocation;
pub mod server;
pub mod text;
pub mod token;
pub mod volumes;

pub use error::TrustError;
/// The implementation of TLS, for the streams that use these settings.
pub use rustls;
