//! Changes of a session's state, for the driver's trace. The drain thread looks for them: every
//! change wakes it.

use snapless_engine::{Phase, Status};

use super::Session;
use super::counts::Counts;
use crate::trace;

/// The state that was traced last.
#[derive(Default)]
pub struct Traced {
    base_complete: bool,
    gaps: u64,
    in_gap: bool,
    /// At the last look, and at the one before it.
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
    /// Traces what has changed. PASSIVE_LEVEL.
    #[inline(never)] // The engine's status does not add to the caller's stack.
    pub fn trace_changes(&self, traced: &mut Traced) {
        if !trace::is_enabled() {
            return;
        }
        let status = self.engine.status();
        let counted = Counted {
            failed: Counts::get(&self.counts.writes_failed),
            unreachable: Counts::get(&self.counts.writes_unreachable),
            urgent: Counts::get(&self.counts.writes_urgent),
        };
        if status.base_complete && !traced.base_complete {
            trace::base_complete(self.id, status.blocks_total);
        }
        if status.gaps > traced.gaps {
            let [_, before] = traced.counted;
            trace::gap_began(self.id, reason(&status, counted, before));
            traced.in_gap = true;
        }
        if traced.in_gap && status.consistent {
            trace::gap_ended(self.id);
            traced.in_gap = false;
        }
        traced.base_complete = status.base_complete;
        traced.gaps = status.gaps;
        let [last, _] = traced.counted;
        traced.counted = [counted, last];
    }
}

/// Why a gap has begun, as far as the counters say. What has made it may have been counted at the
/// last look already: they are compared with what there was `before` that.
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
