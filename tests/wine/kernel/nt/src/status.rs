//! `NTSTATUS` as a result: the one conversion between the kernel's codes and `?`.
//!
//! The rule: a failure code never travels as a success value.

use wdk_sys::NTSTATUS;

/// A failure code of the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Failure(pub NTSTATUS);

/// The result of a kernel call that returns nothing but its status.
pub type Result<T = ()> = core::result::Result<T, Failure>;

impl core::fmt::Debug for Failure {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "NTSTATUS {:#010x}", self.0)
    }
}

impl core::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Debug::fmt(self, formatter)
    }
}

/// Whether a status is a success (or informational) code, as `NT_SUCCESS` has it.
pub const fn is_success(status: NTSTATUS) -> bool {
    status >= 0
}

/// Splits a status into success and failure.
pub const fn check(status: NTSTATUS) -> Result {
    if is_success(status) { Ok(()) } else { Err(Failure(status)) }
}

/// The status that stands for a result.
pub fn code(result: Result) -> NTSTATUS {
    match result {
        Ok(()) => wdk_sys::STATUS_SUCCESS,
        Err(Failure(status)) => status,
    }
}
