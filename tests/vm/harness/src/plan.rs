//! The steps of a run: what is done, by whom, and how long it may take.

use std::time::Duration;

use vm_protocol::message::Deed;

/// What a run does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The steps, in order. The first one that does not pass ends them.
    pub steps: Vec<Step>,
    /// Steps that collect what a run leaves, however it ended.
    pub afterwards: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// What people call it. The steps of docs/windows-test-plan.md begin with their number.
    pub name: String,
    /// What to do.
    pub doing: Doing,
    /// How long it may take.
    pub limit: Duration,
}

/// What to do, and who does it.
#[derive(Clone, Debug)]
pub enum Doing {
    /// The program in the guest.
    Guest(Deed),
    /// The power fails and comes back: the machine ends without a word and starts again.
    PowerCut,
    /// The guest is interrupted, so that it stops as by a defect; it writes its dump and restarts.
    Crash,
    /// A disk is pulled out.
    Unplug {
        /// Its name.
        disk: String,
    },
}

impl Step {
    /// A step.
    pub fn new(name: impl Into<String>, doing: Doing, limit: Duration) -> Self {
        Self { name: name.into(), doing, limit }
    }

    /// A step of the guest.
    pub fn guest(name: impl Into<String>, deed: Deed, limit: Duration) -> Self {
        Self::new(name, Doing::Guest(deed), limit)
    }
}
