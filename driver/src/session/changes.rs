//! What a session's state becomes, for those who listen to the driver's trace: looked at by the drain thread, which
//! every change wakes.

use snapless_engine::{Phase, Status};

use super::Session;
use super::counts::Counts;
use crate::trace;

/// What was told of a session so far.
#[derive(Default)]
pub struct Told {
    base_complete: bool,
    gaps: u64,
    in_gap: bool,
    failed: u64,
    unreachable: u64,
    urgent: u64,
}

impl Session {
    /// Tells what is new. PASSIVE_LEVEL.
    #[inline(never)] // What the engine answers is not to add to its caller's stack.
    pub(super) fn tell_changes(&self, told: &mut Told) {
        if !trace::is_watched() {
            return;
        }
        let status = self.engine.status();
        if status.base_complete && !told.base_complete {
            trace::base_complete(self.id, status.blocks_total);
        }
        if status.gaps > told.gaps {
            trace::gap_began(self.id, self.reason(&status, told));
            told.in_gap = true;
        }
        if told.in_gap && status.consistent {
            trace::gap_ended(self.id);
            told.in_gap = false;
        }
        told.base_complete = status.base_complete;
        told.gaps = status.gaps;
        told.failed = Counts::get(&self.counts.writes_failed);
        told.unreachable = Counts::get(&self.counts.writes_unreachable);
        told.urgent = Counts::get(&self.counts.writes_urgent);
    }

    /// Why a gap has begun, as far as the counters say.
    fn reason(&self, status: &Status, told: &Told) -> &'static core::ffi::CStr {
        if status.outgrown {
            return c"outgrown";
        }
        if !status.attached {
            return c"detached";
        }
        if Counts::get(&self.counts.writes_failed) > told.failed {
            return c"write failed";
        }
        if Counts::get(&self.counts.writes_unreachable) > told.unreachable {
            return c"write uncapturable";
        }
        if status.phase == Phase::Passing {
            return c"queue full";
        }
        if Counts::get(&self.counts.writes_urgent) > told.urgent {
            return c"write urgent";
        }
        c"not captured in time"
    }
}
