//! Faults that a scenario injects.
//!
//! The rule: a fault strikes as often as it was armed for, and then no more.

use alloc::vec::Vec;

use nt::spinlock::SpinLock;
use protocol::ioctl::{Fault, FaultTarget};

/// The faults that are armed.
pub(crate) struct Faults {
    armed: SpinLock<Vec<Armed>>,
}

struct Armed {
    fault: Fault,
    left: u32,
}

impl Faults {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self { armed: SpinLock::new(Vec::new()) }
    }

    /// Arms one.
    pub(crate) fn arm(&self, fault: Fault) {
        self.armed.lock().push(Armed { fault, left: fault.times });
    }

    /// Disarms all.
    pub(crate) fn clear(&self) {
        self.armed.lock().clear();
    }

    /// The status that a write must fail with, if it must.
    pub(crate) fn strikes_write(&self, submission: u64, offset: u64, length: u32) -> Option<i32> {
        self.strike(|target| match *target {
            FaultTarget::Write(number) => number == submission,
            FaultTarget::WriteRange { offset: from, length: of } => {
                touches(offset, length, from, of)
            }
            FaultTarget::Read { .. } => false,
        })
    }

    /// The status that a read must fail with, if it must.
    pub(crate) fn strikes_read(&self, offset: u64, length: u32) -> Option<i32> {
        self.strike(|target| match *target {
            FaultTarget::Read { offset: from, length: of } => touches(offset, length, from, of),
            FaultTarget::Write(_) | FaultTarget::WriteRange { .. } => false,
        })
    }

    fn strike(&self, matches: impl Fn(&FaultTarget) -> bool) -> Option<i32> {
        let mut armed = self.armed.lock();
        let index = armed.iter().position(|armed| matches(&armed.fault.target))?;
        let status = armed[index].fault.status;
        // A fault without end was armed with 0.
        if armed[index].fault.times > 0 {
            armed[index].left -= 1;
            if armed[index].left == 0 {
                armed.remove(index);
            }
        }
        Some(status)
    }
}

fn touches(offset: u64, length: u32, from: u64, of: u64) -> bool {
    offset < from.saturating_add(of) && from < offset.saturating_add(u64::from(length))
}
