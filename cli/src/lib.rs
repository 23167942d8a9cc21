//! The command line of Snapless: arguments, commands, formats.
//!
//! The commands work with any [`snapless_driver_client::Driver`] and write to any output. Standard
//! output has the answer and nothing else; errors go to standard error, with `--json` as JSON.
//! `snapless --help` lists the exit codes.

pub mod arguments;
pub mod commands;
pub mod error;
pub mod format;
pub mod program;

#[cfg(test)]
mod schema;
#[cfg(test)]
mod test_driver;
#[cfg(test)]
mod test_output;
