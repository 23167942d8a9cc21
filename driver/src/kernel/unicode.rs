//! `UNICODE_STRING`s.

use alloc::vec::Vec;

use wdk_sys::{NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_NAME_TOO_LONG, UNICODE_STRING};

use super::reserved;

/// UTF-16 text, for a `UNICODE_STRING`.
pub struct UnicodeString {
    units: Vec<u16>,
}

impl UnicodeString {
    /// Copies `text`. PASSIVE_LEVEL.
    pub fn new(text: &str) -> Result<Self, NTSTATUS> {
        // A UTF-8 text never has fewer bytes than UTF-16 units.
        let units = reserved::collect(text.len(), text.encode_utf16());
        Ok(Self { units: units.ok_or(STATUS_INSUFFICIENT_RESOURCES)? })
    }

    /// Copies both texts, one after the other. PASSIVE_LEVEL.
    pub fn joined(
        first: impl Iterator<Item = u16>,
        second: impl Iterator<Item = u16>,
    ) -> Result<Self, NTSTATUS> {
        let mut units = Vec::new();
        for unit in first.chain(second) {
            reserved::push(&mut units, unit).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        }
        Ok(Self { units })
    }

    /// The text as a `UNICODE_STRING`, to be used while `self` lives. PASSIVE_LEVEL.
    pub fn as_kernel(&self) -> Result<UNICODE_STRING, NTSTATUS> {
        let bytes =
            u16::try_from(size_of_val(self.units.as_slice())).map_err(|_| STATUS_NAME_TOO_LONG)?;
        Ok(UNICODE_STRING {
            Length: bytes,
            MaximumLength: bytes,
            // The routines that take it only read.
            Buffer: self.units.as_ptr().cast_mut(),
        })
    }
}
