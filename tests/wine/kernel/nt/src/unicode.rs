//! Counted UTF-16 strings, owned and borrowed.
//!
//! The rule: a `UNICODE_STRING` that leaves this module points at memory that lives as long as the
//! borrow says.

use alloc::{string::String, vec::Vec};
use core::marker::PhantomData;

use wdk_sys::UNICODE_STRING;

/// An owned, zero-terminated UTF-16 string.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Wide {
    /// The characters and one terminating zero.
    units: Vec<u16>,
}

/// A `UNICODE_STRING` and the borrow that keeps its buffer alive.
pub struct Borrowed<'a> {
    raw: UNICODE_STRING,
    _buffer: PhantomData<&'a [u16]>,
}

impl Wide {
    /// Copies a Rust string.
    pub fn new(text: &str) -> Self {
        text.encode_utf16().chain([0]).collect::<Vec<_>>().into()
    }

    /// Copies a counted string of the kernel. Null stands for the empty string.
    ///
    /// # Safety
    /// `string` is null or points at a valid `UNICODE_STRING`.
    pub unsafe fn copy_of(string: *const UNICODE_STRING) -> Self {
        if string.is_null() {
            return Self::new("");
        }
        // SAFETY: the caller says that it is valid.
        let string = unsafe { &*string };
        if string.Buffer.is_null() {
            return Self::new("");
        }
        // SAFETY: a valid UNICODE_STRING has `Length` bytes of characters.
        let units =
            unsafe { core::slice::from_raw_parts(string.Buffer, usize::from(string.Length) / 2) };
        units.iter().copied().chain([0]).collect::<Vec<_>>().into()
    }

    /// The same text with a suffix.
    #[must_use]
    pub fn with(&self, suffix: &str) -> Self {
        self.as_units()
            .iter()
            .copied()
            .chain(suffix.encode_utf16())
            .chain([0])
            .collect::<Vec<_>>()
            .into()
    }

    /// The characters, without the terminating zero.
    pub fn as_units(&self) -> &[u16] {
        &self.units[..self.units.len().saturating_sub(1)]
    }

    /// As a Rust string, for messages.
    pub fn to_text(&self) -> String {
        String::from_utf16_lossy(self.as_units())
    }

    /// As the kernel takes it, for the length of the borrow.
    pub fn borrow(&self) -> Borrowed<'_> {
        let bytes =
            u16::try_from(self.as_units().len() * 2).expect("a name shorter than 32 Ki characters");
        Borrowed {
            raw: UNICODE_STRING {
                Length: bytes,
                MaximumLength: bytes.saturating_add(2),
                Buffer: self.units.as_ptr().cast_mut(),
            },
            _buffer: PhantomData,
        }
    }
}

impl From<Vec<u16>> for Wide {
    /// Takes characters that already end in a zero.
    fn from(units: Vec<u16>) -> Self {
        assert_eq!(units.last(), Some(&0), "a wide string ends in a zero");
        Self { units }
    }
}

impl Borrowed<'_> {
    /// The pointer that kernel routines take. They do not write through it.
    pub fn as_ptr(&self) -> *mut UNICODE_STRING {
        (&raw const self.raw).cast_mut()
    }

    /// The structure itself, for a caller who keeps the buffer alive by other means.
    pub fn raw(&self) -> UNICODE_STRING {
        self.raw
    }
}
