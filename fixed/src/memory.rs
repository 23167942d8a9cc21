//! Allocation at session start: all of it fallible, none of it later (rule BOUND, rules.md#bound).

use alloc::boxed::Box;
use alloc::vec::Vec;

/// The host has not enough memory for the session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfMemory;

/// A boxed value, made by `make`: it moves without its bytes, which would take much of a kernel's
/// stack.
#[inline(never)] // For the same reason.
pub fn boxed<T>(make: impl FnMut() -> Result<T, OutOfMemory>) -> Result<Box<[T; 1]>, OutOfMemory> {
    boxed_slice(1, make)?.try_into().map_err(|_| OutOfMemory)
}

/// A slice of `len` values made by `make`.
///
/// The comparisons with the capacity show the compiler that nothing grows or shrinks, so that it
/// links no abort for that.
#[inline(never)] // Within a long function the compiler does not see that.
pub fn boxed_slice<T>(
    len: u64,
    mut make: impl FnMut() -> Result<T, OutOfMemory>,
) -> Result<Box<[T]>, OutOfMemory> {
    let len = usize::try_from(len).map_err(|_| OutOfMemory)?;
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| OutOfMemory)?;
    while values.len() < len {
        if values.len() == values.capacity() {
            return Err(OutOfMemory);
        }
        // Not `?`: it would put a second copy of the value on the stack.
        match make() {
            Ok(value) => values.push(value),
            Err(error) => return Err(error),
        }
    }
    if values.len() != values.capacity() {
        return Err(OutOfMemory);
    }
    Ok(values.into_boxed_slice())
}

/// Bytes that [`boxed_slice`] takes for `len` values.
pub fn slice_bytes<T>(len: u64) -> u64 {
    len.saturating_mul(size_of::<T>() as u64)
}
