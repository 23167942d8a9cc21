//! The commands on a machine in memory.

mod commands;
mod power_cut;
mod status;
