//! The command line of Snapless, apart from its `main`: arguments, verbs, figures.
//!
//! Everything here works against any [`snapless_driver_client::Driver`] and writes to any output. Exit codes: 0 done,
//! 1 failed, 2 wrong arguments, 3 the driver is not running, 4 no such volume or session, 5 access denied.
//! Standard output carries the answer and nothing else; standard error says what went wrong.

pub mod arguments;
pub mod commands;
pub mod error;
pub mod format;

#[cfg(test)]
mod test_driver;
