//! Windows as the guest: its unattended installation, and the steps of docs/windows-test-plan.md.

pub mod answers;
pub mod by_hand;
pub mod scripts;
pub mod steps;
