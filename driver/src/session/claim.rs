//! Which file object of the control device drains a session.

use crate::framework::queue::Queue;
use crate::framework::request::FileObject;
use crate::kernel::passive_lock::PassiveLock;

/// The claim on a session: one file object at a time.
///
/// One lock covers the claimant, its drain requests, and the engine's knowledge of it. So a record
/// never goes to a file object that has lost its claim, and no drain request is left in the queue
/// when a session ends.
pub struct Claim {
    /// Who drains.
    pub(super) state: PassiveLock<State>,
    /// Where its drain requests wait.
    pub(super) requests: Queue,
}

/// The state of a claim.
pub(super) struct State {
    pub(super) claimant: Option<FileObject>,
    /// The session has ended: a drain gets no more records.
    pub(super) ended: bool,
    /// The claimant's records are lost: it gets no more, and is to claim the session anew.
    pub(super) is_lost: bool,
}

impl Claim {
    /// A claim of `claimant`, if there is one yet; drain requests wait in `requests`. `None` if
    /// there is no memory. PASSIVE_LEVEL.
    pub fn new(claimant: Option<FileObject>, requests: Queue) -> Option<Self> {
        let state = State { claimant, ended: false, is_lost: false };
        Some(Self { state: PassiveLock::new(state)?, requests })
    }
}
