//! Held writes while the system shuts down: if none of them goes on, they are released.

use snapless_engine::Tick;

use super::Session;
use crate::kernel::log;

/// How long writes may be held without any of them going on while the system shuts down, in ticks:
/// 5 s. The service that would make room in the queue may be stopped already, and the shutdown
/// waits for the file systems.
const SHUTDOWN_LIMIT: u64 = 5_000 * Tick::PER_MS;

/// Held writes of which none goes on.
pub struct Standstill {
    /// How many held writes had gone on before.
    gone_on: u64,
    since: Tick,
}

impl Session {
    /// Releases writes that are held at a standstill past the limit (rule HANG, rules.md#hang);
    /// returns when to look again. PASSIVE_LEVEL.
    #[inline(never)] // The engine's status does not add to the caller's stack.
    pub fn end_standstill(&self, standstill: &mut Option<Standstill>) -> Option<Tick> {
        let (status, now) = (self.engine.status(), self.now());
        if status.writes_holding == 0 {
            *standstill = None;
            return None;
        }
        let gone_on = status.writes_held;
        let since = match standstill {
            Some(known) if known.gone_on == gone_on => known.since,
            _ => standstill.insert(Standstill { gone_on, since: now }).since,
        };
        let limit = since.after(SHUTDOWN_LIMIT);
        if now >= limit {
            log::line(c"held writes do not go on while the system shuts down: a gap begins");
            *standstill = None;
            self.end_claim();
            return Some(now);
        }
        Some(limit)
    }
}
