//! Vectors that are filled within the room that was reserved for them.
//!
//! The rule: after the reservation, which may fail, nothing grows. A vector that grows by itself aborts where there is no
//! memory, and every call that might make it grow links that abort; here the compiler sees that it cannot.

use alloc::vec::Vec;

/// Collects at most `len` values; `None` if there is no memory for them. IRQL <= DISPATCH_LEVEL.
pub fn collect<T>(len: usize, values: impl IntoIterator<Item = T>) -> Option<Vec<T>> {
    let mut collected = Vec::new();
    collected.try_reserve_exact(len).ok()?;
    for value in values.into_iter().take(len) {
        push_within(&mut collected, value)?;
    }
    Some(collected)
}

/// Appends a value, making room for it; `None`, and the value is dropped, if there is no memory.
/// IRQL <= DISPATCH_LEVEL.
pub fn push<T>(values: &mut Vec<T>, value: T) -> Option<()> {
    values.try_reserve(1).ok()?;
    push_within(values, value)
}

fn push_within<T>(values: &mut Vec<T>, value: T) -> Option<()> {
    if values.len() == values.capacity() {
        return None;
    }
    values.push(value);
    Some(())
}
