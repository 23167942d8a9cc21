//! How an input is broken: flipped bits, odd numbers where numbers stand, pieces wiped, cut, doubled, moved and put in
//! from another input.

use crate::rng::Rng;

/// Longest input, in bytes.
pub const LEN_MAX: usize = 4096;
/// Most changes to one input.
const CHANGES_MAX: usize = 6;

/// Numbers at the edges of what fits, and of what the formats allow.
const NUMBERS: [u64; 22] = [
    0,
    1,
    2,
    16,
    511,
    512,
    513,
    4095,
    4096,
    (16 << 10) - 1,
    16 << 10,
    4 << 20,
    16 << 20,
    (16 << 20) + 1,
    1 << 31,
    1 << 32,
    u32::MAX as u64,
    1 << 62,
    1 << 63,
    i64::MAX as u64,
    u64::MAX - 511,
    u64::MAX,
];

/// Breaks `input`, with pieces of `other`.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    for _ in 0..=rng.index(CHANGES_MAX) {
        change(input, other, rng);
    }
    input.truncate(LEN_MAX);
}

fn change(input: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    let at = rng.index(input.len());
    match rng.index(12) {
        0 => flip_bit(input, at, rng),
        1 => put(input, at, &[rng.byte()]),
        2 => put_number(input, at, rng),
        // Numbers stand on their own boundaries.
        3..=5 => put_number(input, at & !(rng.pick(&[1, 3, 7])), rng),
        6 => add_a_little(input, at, rng),
        7 => input.truncate(at),
        8 => cut_out(input, at, rng),
        9 => double(input, at, rng),
        10 => wipe(input, at & !7, rng),
        _ => splice(input, at, other, rng),
    }
}

fn flip_bit(input: &mut [u8], at: usize, rng: &mut Rng) {
    if let Some(byte) = input.get_mut(at) {
        *byte ^= 1 << rng.index(8);
    }
}

fn put_number(input: &mut [u8], at: usize, rng: &mut Rng) {
    let number = if rng.once_in(4) { rng.number() } else { rng.pick(&NUMBERS) };
    let width = rng.pick(&[1, 2, 4, 8]);
    put(input, at, &number.to_le_bytes()[..width]);
}

/// A number that is off by a few.
fn add_a_little(input: &mut [u8], at: usize, rng: &mut Rng) {
    if let Some(byte) = input.get_mut(at) {
        *byte = byte.wrapping_add(rng.pick(&[1, 2, 0xFE, 0xFF]));
    }
}

/// As fields of nothing are, and of everything.
fn wipe(input: &mut [u8], at: usize, rng: &mut Rng) {
    let byte = rng.pick(&[0, 0, 0xFF]);
    put(input, at, &[byte; 64][..rng.pick(&[8, 16, 32, 64])]);
}

fn cut_out(input: &mut Vec<u8>, at: usize, rng: &mut Rng) {
    let end = input.len().min(at + piece(rng));
    input.drain(at..end);
}

fn double(input: &mut Vec<u8>, at: usize, rng: &mut Rng) {
    let end = input.len().min(at + piece(rng));
    let copy = input[at..end].to_vec();
    let to = rng.index(input.len() + 1);
    input.splice(to..to, copy);
}

fn splice(input: &mut Vec<u8>, at: usize, other: &[u8], rng: &mut Rng) {
    let from = rng.index(other.len());
    let end = other.len().min(from + piece(rng));
    let copy = &other[from..end];
    if rng.once_in(2) {
        input.splice(at..at, copy.iter().copied());
    } else {
        put(input, at, copy);
    }
}

/// The length of a piece: often that of a header.
fn piece(rng: &mut Rng) -> usize {
    if rng.once_in(2) { rng.pick(&[8, 16, 64, 80]) } else { 1 + rng.index(128) }
}

/// Overwrites, as far as there is something to overwrite.
fn put(input: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in input.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_of_any_length_are_broken_and_stay_short() {
        let other = vec![7; 3 * LEN_MAX];
        let mut changed = 0;
        for number in 0..2000 {
            let mut rng = Rng::new(1, number);
            let whole = vec![0; rng.index(LEN_MAX)];
            let mut input = whole.clone();
            mutate(&mut input, &other, &mut rng);
            assert!(input.len() <= LEN_MAX);
            changed += usize::from(input != whole);
        }
        assert!(changed > 1500, "{changed}");
        let mut nothing = Vec::new();
        mutate(&mut nothing, &[], &mut Rng::new(1, 1));
    }

    #[test]
    fn the_same_number_breaks_in_the_same_way() {
        let broken = |number| {
            let mut input = vec![1; 100];
            mutate(&mut input, &[2; 100], &mut Rng::new(9, number));
            input
        };
        assert_eq!(broken(3), broken(3));
        assert_ne!(broken(3), broken(4));
    }
}
