//! The tasks behind `cargo xtask`, one module each, and what they share.
//!
//! A task is a function that takes the [`layout::Layout`]. A longer task calls the `add_to` of
//! shorter ones, which adds their steps to its own ([`console::Steps`]).

mod api;
pub mod arguments;
pub mod build;
mod check_inf;
pub mod check_sys;
pub mod check_tree;
pub mod command;
#[cfg(test)]
mod conformance;
pub mod console;
pub mod counter_names;
pub mod demo;
mod end_to_end;
pub mod engine_tests;
pub mod error;
pub mod files;
pub mod forward;
pub mod fuzz;
pub mod graph;
pub mod instructions;
pub mod layout;
pub mod lint;
pub mod message_table;
pub mod mutants;
pub mod package;
pub mod page;
mod resources;
pub mod scenario_console;
pub mod selftest;
pub mod setup;
mod space;
pub mod stamp;
mod stay;
pub mod test;
pub mod tsan;
pub mod version_resource;
pub mod vm;
