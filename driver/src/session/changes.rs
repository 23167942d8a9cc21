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
    /// Of the last look, and of the one before it.
    counted: [Counted; 2],
}

/// Writes that go through uncaptured. Each is counted first and begins its gap then.
#[derive(Clone, Copy, Default)]
struct Counted {
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
        let counted = Counted {
            failed: Counts::get(&self.counts.writes_failed),
            unreachable: Counts::get(&self.counts.writes_unreachable),
            urgent: Counts::get(&self.counts.writes_urgent),
        };
        if status.base_complete && !told.base_complete {
            trace::base_complete(self.id, status.blocks_total);
        }
        if status.gaps > told.gaps {
            let [_, before] = told.counted;
            trace::gap_began(self.id, reason(&status, counted, before));
            told.in_gap = true;
        }
        if told.in_gap && status.consistent {
            trace::gap_ended(self.id);
            told.in_gap = false;
        }
        told.base_complete = status.base_complete;
        told.gaps = status.gaps;
        let [last, _] = told.counted;
        told.counted = [counted, last];
    }
}

/// Why a gap has begun, as far as the counters say. What has made it may have been counted at the last look already: they
/// are compared with what there was `before` that.
fn reason(status: &Status, counted: Counted, before: Counted) -> &'static core::ffi::CStr {
    if status.outgrown {
        return c"outgrown";
    }
    if !status.attached {
        return c"detached";
    }
    if counted.failed > before.failed {
        return c"write failed";
    }
    if counted.unreachable > before.unreachable {
        return c"write uncapturable";
    }
    if status.phase == Phase::Uncaptured {
        return c"queue full";
    }
    if counted.urgent > before.urgent {
        return c"write urgent";
    }
    c"not captured in time"
}
