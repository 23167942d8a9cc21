//! Numbers, options and lists in the variable part of a structure, little-endian.
//!
//! A reader takes the fields in the order in which the writer put them. It uses no byte that is not
//! there, and allocates no more than there are bytes.

use snapless_types::{EpochId, Seq};
use snapless_wire::id::FileTime;

/// Bytes that are still to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `len` bytes; `None` if there are fewer.
    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next number of 1 to 10 bytes, as [`put_number`] writes it.
    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            let placed = bits << shift;
            if placed >> shift != bits {
                return None;
            }
            value |= placed;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// The next difference, as [`put_difference`] writes it.
    pub(crate) fn difference(&mut self) -> Option<u64> {
        let folded = self.number()?;
        Some((folded >> 1) ^ (folded & 1).wrapping_neg())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Appends a number that is mostly small: seven bits a byte, the lowest first, with the eighth bit
/// on all but the last byte.
pub(crate) fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while let Ok(low) = u8::try_from(value & 0x7f) {
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Appends a difference modulo 2^64 that is mostly near zero, on either side.
pub(crate) fn put_difference(out: &mut Vec<u8>, difference: u64) {
    put_number(out, (difference << 1) ^ (difference >> 63).wrapping_neg());
}

/// A value with a form in bytes.
pub(crate) trait Stored: Sized {
    /// Appends the value.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads the value; `None` if the bytes are not one.
    fn take(input: &mut Input<'_>) -> Option<Self>;
}

impl Stored for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.to_le_bytes());
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        input.bytes(8)?.try_into().ok().map(Self::from_le_bytes)
    }
}

impl Stored for u32 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.to_le_bytes());
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        input.bytes(4)?.try_into().ok().map(Self::from_le_bytes)
    }
}

impl Stored for FileTime {
    fn put(&self, out: &mut Vec<u8>) {
        self.get().put(out);
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        u64::take(input).map(Self::new)
    }
}

impl Stored for Seq {
    fn put(&self, out: &mut Vec<u8>) {
        self.get().put(out);
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        u64::take(input).map(Self::new)
    }
}

impl Stored for EpochId {
    fn put(&self, out: &mut Vec<u8>) {
        self.get().put(out);
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        u64::take(input).map(Self::new)
    }
}

impl<T: Stored> Stored for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        u32::from(self.is_some()).put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        match u32::take(input)? {
            0 => Some(None),
            1 => T::take(input).map(Some),
            _ => None,
        }
    }
}

impl<T: Stored> Stored for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        for value in self {
            value.put(out);
        }
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        // Not sized by the count, which the bytes may not bear out.
        (0..u64::take(input)?).map(|_| T::take(input)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_small_ones_are_short() {
        for value in [0, 1, 127, 128, 1 << 14, u64::MAX >> 1, u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, value);
            let len = bytes.len();
            put_difference(&mut bytes, value);
            let mut input = Input::new(&bytes);
            assert_eq!((input.number(), input.difference()), (Some(value), Some(value)));
            assert!(input.is_empty());
            assert_eq!(Input::new(&bytes[..len - 1]).number(), None, "{value} cut short");
        }
        let mut bytes = Vec::new();
        put_difference(&mut bytes, 63);
        put_difference(&mut bytes, 64_u64.wrapping_neg());
        assert_eq!(bytes.len(), 2);
        let too_long = [[0xff; 9].as_slice(), &[2]].concat();
        assert_eq!(Input::new(&too_long).number(), None);
        assert_eq!(Input::new(&[0x80; 11]).number(), None);
    }

    #[test]
    fn what_was_put_is_taken_and_no_truncation_is_a_value() {
        let value = vec![Some(Seq::new(7)), None, Some(Seq::new(u64::MAX))];
        let mut bytes = Vec::new();
        value.put(&mut bytes);
        assert_eq!(Vec::take(&mut Input::new(&bytes)), Some(value));
        for len in 0..bytes.len() {
            let cut = Vec::<Option<Seq>>::take(&mut Input::new(&bytes[..len]));
            assert_eq!(cut, None, "{len}");
        }
        let lie = u64::MAX.to_le_bytes();
        assert_eq!(Vec::<u64>::take(&mut Input::new(&lie)), None);
    }
}
