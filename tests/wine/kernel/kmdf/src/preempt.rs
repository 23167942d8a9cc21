//! Preemption: after a call that lets another thread of the driver go on, that thread goes first.
//!
//! The rule: what a driver uses after it has released a lock, signalled an event or given a packet
//! away must still be there, however long its thread is kept from the processor then. The free
//! pages and the freed blocks of `gaps/pool.rs` show it if it is not.

use core::sync::atomic::{AtomicU32, Ordering};

use nt::time::sleep_us;

use crate::settings::PREEMPT_PERCENT;

/// The longest that a thread is kept from the processor, in microseconds: longer than the other
/// threads of a session take to end.
const LONGEST_US: u32 = 4000;

/// Keeps the calling thread from the processor now and then, if a scenario asks for it.
pub(crate) fn point() {
    static TURN: AtomicU32 = AtomicU32::new(0);
    let percent = PREEMPT_PERCENT.get();
    if percent == 0 {
        return;
    }
    // Relaxed: only the distribution matters. The multiplier spreads neighbours apart.
    let turn = TURN.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B1);
    if (turn >> 16) % 100 < percent {
        sleep_us(1 + turn % LONGEST_US);
    }
}
