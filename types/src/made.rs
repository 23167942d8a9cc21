//! When a record was made.

use crate::Tick;

/// When a record was made, as its header says: what the wall clock showed, and the clock that is
/// never set, in ticks of 100 ns. It tells a record from the one that another past of the machine
/// has under the same number (rule RESUME, rules.md#resume).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Made {
    /// The wall clock.
    pub time: u64,
    /// The clock that is never set.
    pub monotonic: Tick,
}
