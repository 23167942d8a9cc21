//! Changes of a session's state, for the driver's trace. The drain thread looks for them: every
//! change wakes it.

use super::Session;
use crate::trace;

/// The state that was traced last.
#[derive(Default)]
pub struct Traced {
    base_complete: bool,
    gaps: u64,
    in_gap: bool,
}

impl Session {
    /// Traces what has changed. PASSIVE_LEVEL.
    #[inline(never)] // The engine's status does not add to the caller's stack.
    pub fn trace_changes(&self, traced: &mut Traced) {
        if !trace::is_enabled() {
            return;
        }
        let status = self.engine.status();
        if status.base_complete && !traced.base_complete {
            trace::base_complete(self.id(), status.blocks_total);
        }
        if status.gaps > traced.gaps {
            trace::gap_began(self.id(), status.gap_reason);
            traced.in_gap = true;
        }
        if traced.in_gap && status.consistent {
            trace::gap_ended(self.id());
            traced.in_gap = false;
        }
        traced.base_complete = status.base_complete;
        traced.gaps = status.gaps;
    }
}
