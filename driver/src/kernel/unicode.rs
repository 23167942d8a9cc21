//! Strings for the kernel.

use alloc::vec::Vec;

use wdk_sys::{NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_NAME_TOO_LONG, UNICODE_STRING};

/// UTF-16 text with the structure that the kernel wants.
pub struct UnicodeString {
    units: Vec<u16>,
}

impl UnicodeString {
    /// Copies `text`. PASSIVE_LEVEL.
    pub fn new(text: &str) -> Result<Self, NTSTATUS> {
        let mut units = Vec::new();
        // A UTF-8 text never has fewer bytes than UTF-16 units.
        units.try_reserve_exact(text.len()).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        units.extend(text.encode_utf16());
        Ok(Self { units })
    }

    /// Copies the texts, one behind the other. PASSIVE_LEVEL.
    pub fn joined(
        first: impl Iterator<Item = u16>,
        second: impl Iterator<Item = u16>,
    ) -> Result<Self, NTSTATUS> {
        let mut units = Vec::new();
        for unit in first.chain(second) {
            units.try_reserve(1).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
            units.push(unit);
        }
        Ok(Self { units })
    }

    /// The kernel's view of the text, to be used while `self` lives.
    pub fn as_kernel(&self) -> Result<UNICODE_STRING, NTSTATUS> {
        let bytes =
            u16::try_from(size_of_val(self.units.as_slice())).map_err(|_| STATUS_NAME_TOO_LONG)?;
        Ok(UNICODE_STRING {
            Length: bytes,
            MaximumLength: bytes,
            // The kernel's routines that take it only read.
            Buffer: self.units.as_ptr().cast_mut(),
        })
    }
}
