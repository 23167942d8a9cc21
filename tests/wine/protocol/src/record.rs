//! Reading and writing fixed little-endian records.
//!
//! The rule: a record's length is known, and running past it is a bug of this crate, not of its input: parsers check
//! the input's length before they make a reader.

/// Writes fields one after the other.
pub(crate) struct Writer<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Writer<N> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; N], at: 0 }
    }

    pub(crate) fn put<const M: usize>(mut self, field: [u8; M]) -> Self {
        self.bytes[self.at..self.at + M].copy_from_slice(&field);
        self.at += M;
        self
    }

    /// The record. Fields that were not written are zero.
    pub(crate) fn finish(self) -> [u8; N] {
        self.bytes
    }
}

/// Reads fields one after the other.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader of the first `length` bytes, if there are so many.
    pub(crate) fn new(bytes: &'a [u8], length: usize) -> Option<Self> {
        bytes.get(..length).map(|bytes| Self { bytes })
    }

    pub(crate) fn take<const M: usize>(&mut self) -> [u8; M] {
        let (field, rest) = self.bytes.split_at(M);
        self.bytes = rest;
        let mut out = [0; M];
        out.copy_from_slice(field);
        out
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}
