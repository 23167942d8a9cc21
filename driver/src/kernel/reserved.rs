//! Vectors whose memory is reserved before they are filled.
//!
//! The rule: the reservation may fail; after it nothing grows. A vector that grows by itself aborts
//! when there is no memory, and every call that might grow it links that abort; here the compiler
//! sees that it cannot.

use alloc::vec::Vec;

/// Collects at most `len` values; `None` if there is no memory for them. IRQL <= DISPATCH_LEVEL.
pub fn collect<T>(len: usize, values: impl IntoIterator<Item = T>) -> Option<Vec<T>> {
    let mut collected = Vec::new();
    extend(&mut collected, len, values)?;
    Some(collected)
}

/// Appends at most `len` values, making room for as many; `None`, and none is appended, if there is
/// no memory. IRQL <= DISPATCH_LEVEL.
pub fn extend<T>(values: &mut Vec<T>, len: usize, more: impl IntoIterator<Item = T>) -> Option<()> {
    values.try_reserve_exact(len).ok()?;
    for value in more.into_iter().take(len) {
        push_within(values, value)?;
    }
    Some(())
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
