//! What the driver decides that needs no kernel: pure functions of numbers and bytes, tested on any host.
//!
//! | module | decides |
//! | --- | --- |
//! | [`control`] | which requests to the control device there are, who may send them, and what goes out |
//! | [`requests`] | which device control requests change a volume, and what becomes of them |
//! | [`dataset`] | what a data set management request asks for, and in which pieces it is carried out |
//! | [`protection`] | which volumes can be protected, and why not |
//! | [`settings`] | what the driver's registry values mean |
//!
//! Rule: what comes from outside is checked here before anything acts on it, and nothing here can panic.
#![no_std]
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

#[cfg(test)]
extern crate std;

pub mod control;
pub mod dataset;
pub mod protection;
pub mod requests;
pub mod settings;
