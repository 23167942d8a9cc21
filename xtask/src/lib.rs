//! The tasks behind `cargo xtask`, one module each, and what they share.
//!
//! The rule: a task is a function that takes the [`layout::Layout`] and returns what it made; longer tasks are put
//! together from shorter ones, with their steps shown in one row ([`console::Steps`]).

pub mod bench;
pub mod build;
pub mod check_sys;
pub mod command;
#[cfg(test)]
mod conformance;
pub mod console;
pub mod demo;
pub mod engine_tests;
pub mod error;
pub mod fuzz;
pub mod instructions;
pub mod layout;
pub mod lint;
pub mod mutants;
pub mod scenario_console;
pub mod selftest;
pub mod setup;
pub mod sim;
pub mod stamp;
pub mod test;
pub mod tsan;
