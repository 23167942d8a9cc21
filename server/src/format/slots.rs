//! A file of two slots in different disk sectors, which are written in turn: a torn write damages
//! one and leaves the other.

use super::FormatError;

/// Bytes between the starts of the slots: the largest common physical sector.
pub const SLOT_STRIDE: usize = 4096;
/// Bytes of the file.
pub const SLOTS_FILE_LEN: usize = 2 * SLOT_STRIDE;

/// What a slot holds.
pub(super) trait Slot: Sized {
    /// Bytes of a slot.
    const LEN: usize;
    /// What tells the newer of two.
    type Age: Ord;

    /// Reads a slot of [`Self::LEN`] bytes.
    fn read_slot(bytes: &[u8]) -> Result<Self, FormatError>;

    /// The newer one has the greater.
    fn age(&self) -> Self::Age;
}

/// Reads the slot that begins at `start`.
pub(super) fn read<S: Slot>(file: &[u8], start: usize) -> Result<S, FormatError> {
    S::read_slot(file.get(start..start + S::LEN).ok_or(FormatError::Short)?)
}

/// The newest sound slot of a file's bytes.
///
/// # Errors
/// The first slot's [`FormatError`] if neither is sound.
pub(super) fn newest<S: Slot>(file: &[u8]) -> Result<S, FormatError> {
    match [0, SLOT_STRIDE].map(|start| read::<S>(file, start)) {
        [Ok(a), Ok(b)] => Ok(if a.age() > b.age() { a } else { b }),
        [Ok(one), Err(_)] | [Err(_), Ok(one)] => Ok(one),
        [Err(error), Err(_)] => Err(error),
    }
}

/// Where the slot begins that is written next: the one that is not sound, or the older one.
pub(super) fn next<S: Slot>(file: &[u8]) -> usize {
    match [0, SLOT_STRIDE].map(|start| read::<S>(file, start)) {
        [Ok(a), Ok(b)] if a.age() > b.age() => SLOT_STRIDE,
        [Ok(_), Err(_)] => SLOT_STRIDE,
        _ => 0,
    }
}

/// Where the slot begins that the one at `start` is not.
pub fn other(start: usize) -> usize {
    SLOT_STRIDE - start
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A byte that is its own age; zero is not sound.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct Byte(u8);

    impl Slot for Byte {
        const LEN: usize = 1;
        type Age = u8;

        fn read_slot(bytes: &[u8]) -> Result<Self, FormatError> {
            if bytes == [0] { Err(FormatError::Magic) } else { Ok(Self(bytes[0])) }
        }

        fn age(&self) -> u8 {
            self.0
        }
    }

    #[test]
    fn the_newer_sound_slot_counts_and_the_other_one_is_written_next() {
        let cases = [
            ([0, 0], Err(FormatError::Magic), 0),
            ([1, 0], Ok(Byte(1)), SLOT_STRIDE),
            ([0, 1], Ok(Byte(1)), 0),
            ([1, 2], Ok(Byte(2)), 0),
            ([3, 2], Ok(Byte(3)), SLOT_STRIDE),
        ];
        for ([first, second], counts, written) in cases {
            let mut file = vec![0; SLOTS_FILE_LEN];
            (file[0], file[SLOT_STRIDE]) = (first, second);
            assert_eq!((newest(&file), next::<Byte>(&file)), (counts, written), "{first} {second}");
        }
        assert_eq!(newest::<Byte>(&[]), Err(FormatError::Short));
        assert_eq!([0, SLOT_STRIDE].map(other), [SLOT_STRIDE, 0]);
    }
}
