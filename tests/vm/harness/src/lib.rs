//! Tests on real Windows in virtual machines: `cargo xtask vm --iso server2022.iso`.
//!
//! | module | concept |
//! | --- | --- |
//! | [`machine`] | a virtual machine as QEMU's command line |
//! | [`vm`], [`monitor`] | one that runs: its process, its line, its monitor |
//! | [`medium`] | FAT volumes: what the guest gets, and the result disk |
//! | [`plan`], [`runner`] | the steps of a run, and the run to its verdict |
//! | [`verdict`], [`report`] | what a run has found, as a folder with a page |
//! | [`matrix`] | the cases, in one table |
//! | [`windows`] | the unattended installation, and the steps of docs/windows-test-plan.md |
//! | [`measure`] | diskspd's figures as ratios |
//! | [`routines`] | how long DPCs and ISRs took meanwhile |
//! | [`truth`] | a file in a restored image, compared with the writer's log |
//! | [`helpers`] | programs on the host: the server, swtpm |
//! | [`session`] | a case from its files to its page |
//! | [`rehearsal`] | a small Linux guest, for the harness's own tests |
//!
//! The rule: a run passes only if every step was done and said so; whatever else happens has a
//! verdict of its own.

pub mod error;
pub mod helpers;
pub mod machine;
pub mod matrix;
pub mod measure;
pub mod medium;
pub mod monitor;
pub mod plan;
pub mod rehearsal;
pub mod report;
pub mod routines;
pub mod runner;
pub mod session;
pub mod truth;
pub mod verdict;
pub mod vm;
pub mod windows;

pub use error::VmError;
