//! The commands on a machine in memory.

mod commands;
mod status;
