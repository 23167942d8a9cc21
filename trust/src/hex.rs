//! Lower-case hexadecimal text of identities, numbers and hashes.

use std::fmt::Write;

/// The text of `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of a text of exactly that length; upper case is taken too.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode_any(text)?.try_into().ok()
}

/// The bytes of a text of any even length.
pub(crate) fn decode_any(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_hexadecimal_text_of_the_right_length_is_read() {
        assert_eq!(decode::<2>(&encode(&[0x0a, 0xff])), Some([0x0a, 0xff]));
        for bad in ["", "0a", "0aff0", "0aff00", "0a+f", "0äf"] {
            assert_eq!(decode::<2>(bad), None, "{bad}");
        }
    }
}
