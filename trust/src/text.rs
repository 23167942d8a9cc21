//! Texts that people write: configurations, keys, tokens, in whatever encoding an editor chose.
//!
//! Windows PowerShell writes UTF-16 where its `>` and `Out-File` are used, and some editors put a
//! byte order mark in front of UTF-8. Rule: what a person may have written is decoded here.

use zeroize::Zeroizing;

/// Why bytes are no text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("it is {0}: save it as UTF-8")]
pub struct NotText(&'static str);

/// Decodes UTF-8, or UTF-16 with a byte order mark; the mark is left out. The memory is cleared
/// when it is released: it may hold a secret.
///
/// # Errors
/// [`NotText`] names the encoding, as far as that can be told.
pub fn decode(bytes: &[u8]) -> Result<Zeroizing<String>, NotText> {
    let text = match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Err(NotText("UTF-32")),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes)?,
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes)?,
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest)?.to_owned(),
        _ => utf8(bytes)?.to_owned(),
    };
    Ok(Zeroizing::new(text))
}

fn utf8(bytes: &[u8]) -> Result<&str, NotText> {
    // No text has a zero in it; UTF-16 has one in each character of a Western script.
    if bytes.contains(&0) {
        let is_utf16 = bytes.len() >= 4 && bytes[0] != 0 && bytes[1] == 0
            || bytes.len() >= 4 && bytes[0] == 0 && bytes[1] != 0;
        let utf16 = "UTF-16 without a byte order mark";
        return Err(NotText(if is_utf16 { utf16 } else { "no text" }));
    }
    str::from_utf8(bytes).map_err(|_| NotText("neither UTF-8 nor UTF-16"))
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, NotText> {
    const CUT: NotText = NotText("damaged UTF-16");
    let (units, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        return Err(CUT);
    }
    // Sized before, so that nothing is left behind in memory that was outgrown.
    let mut text = String::with_capacity(units.len() * 3);
    for decoded in char::decode_utf16(units.iter().map(|pair| unit(*pair))) {
        text.push(decoded.map_err(|_| CUT)?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "volume = \"ü€😀\"\r\n";

    fn units(to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        TEXT.encode_utf16().flat_map(to_bytes).collect()
    }

    #[test]
    fn a_text_is_the_same_in_every_encoding_that_windows_writes() {
        let [little, big] = [units(u16::to_le_bytes), units(u16::to_be_bytes)];
        for bytes in [
            TEXT.as_bytes().to_vec(),
            [&[0xef, 0xbb, 0xbf], TEXT.as_bytes()].concat(),
            [&[0xff, 0xfe][..], &little].concat(),
            [&[0xfe, 0xff][..], &big].concat(),
        ] {
            assert_eq!(*decode(&bytes).unwrap(), TEXT, "{bytes:x?}");
        }
        for empty in [&[][..], &[0xef, 0xbb, 0xbf], &[0xff, 0xfe], &[0xfe, 0xff]] {
            assert_eq!(*decode(empty).unwrap(), "");
        }
    }

    #[test]
    fn another_encoding_is_named() {
        let [little, big] = [units(u16::to_le_bytes), units(u16::to_be_bytes)];
        let cut = [&[0xff, 0xfe][..], &little[..5]].concat();
        for (bytes, named) in [
            (&little[..], "UTF-16 without a byte order mark"),
            (&big, "UTF-16 without a byte order mark"),
            (&cut, "damaged UTF-16"),
            (&[0xff, 0xfe, 0x00, 0xd8], "damaged UTF-16"),
            (&[0xff, 0xfe, 0, 0, b'a', 0, 0, 0], "UTF-32"),
            (&[0, 0, 0xfe, 0xff, 0, 0, 0, b'a'], "UTF-32"),
            (b"ol\xe9", "neither UTF-8 nor UTF-16"),
            (b"a\0", "no text"),
        ] {
            let refused = decode(bytes).unwrap_err().to_string();
            assert!(refused.contains(named) && refused.contains("save it as UTF-8"), "{refused}");
        }
    }
}
