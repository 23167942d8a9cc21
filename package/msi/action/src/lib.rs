//! The custom action of `snapless.msi`: runs `snapless-setup`, writes what it says into the log of
//! the installation, and turns its exit code into Windows Installer's.
//!
//! Windows Installer can run a program by itself, but then only the exit code reaches the log, and
//! one that asks for a restart (3010) counts as a failure.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`task`] | the program and its arguments, as the MSI gives them |
//! | [`run`] | runs a task and reports it to a session |
//! | `windows` | the session, and the DLL's entry point |
//!
//! Rule: a setup that fails fails the installation, with its last words as the message.

pub mod run;
pub mod task;
#[cfg(windows)]
mod windows;
