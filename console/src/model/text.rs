//! Texts that are checked when they are made.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident: $is_one:expr, $want:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text, if it can be one.
            ///
            /// # Errors
            /// What is expected.
            pub fn parse(text: impl Into<String>) -> Result<Self, &'static str> {
                let text = text.into();
                let is_one: fn(&str) -> bool = $is_one;
                if is_one(&text) { Ok(Self(text)) } else { Err(concat!("expected ", $want)) }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = &'static str;

            fn try_from(text: String) -> Result<Self, &'static str> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }
    )*};
}

macro_rules! shown {
    ($($name:ident)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    )*};
}

texts! {
    /// A volume's GUID at the server.
    VolumeId: is_guid, "a volume's id such as 71a27cdd-812a-11d0-bec7-08002be2092f";
    /// A machine's id at the server.
    MachineId: |text| is_hex(text, 32), "a machine's id: 32 hexadecimal digits";
    /// The id of a job or of a token.
    HexId: |text| is_hex(text, 16), "an id: 16 hexadecimal digits";
    /// A point as it is asked for.
    At: |text| has_chars(text, 1, 200), "latest, t0, an RFC 3339 time, how long ago, or a bookmark";
    /// A name for a bookmark.
    BookmarkName: |text| {
        text.starts_with(|first: char| first.is_ascii_alphabetic()) && is_plain(text, 64, "._-")
    }, "a letter and then letters, digits, '-', '_' and '.', at most 64 of them";
    /// A path within a point, with `/` before each name.
    FilePath: |text| text.starts_with('/') && has_chars(text, 1, 2000), "a path that begins with / and has 2,000 characters at most";
    /// The name of a file of a restore. Never a folder, a stream or a device of its own.
    FileName: |text| {
        let is_first = |first: char| first.is_ascii_alphanumeric() || first == '_';
        text.starts_with(is_first) && is_plain(text, 200, "._ -")
    }, "a file's name of letters, digits, '.', '_', '-' and spaces, at most 200 of them";
    /// How long something is kept.
    Span: is_span, "a number with h, d or w, such as 14d, or forever";
    /// A name of a token.
    TokenName: |text| {
        text.starts_with(|first: char| first.is_ascii_alphanumeric()) && is_plain(text, 64, "._-")
    }, "a letter or digit and then letters, digits, '-', '_' and '.', at most 64 of them";
    /// The name of who signs in.
    UserName: |text| has_chars(text, 1, 64), "a name of at most 64 characters";
    /// A password. `Debug` does not show it.
    Password: |text| has_chars(text, 1, 1024), "a password of at most 1,024 characters";
}

shown! { VolumeId MachineId HexId At BookmarkName FilePath FileName Span TokenName UserName }

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

fn has_chars(text: &str, min: usize, max: usize) -> bool {
    (min..=max).contains(&text.chars().count())
}

fn is_plain(text: &str, max: usize, others: &str) -> bool {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || others.contains(it);
    has_chars(text, 1, max) && text.chars().all(is_plain)
}

fn is_lower_hex(digit: u8) -> bool {
    digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit)
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(is_lower_hex)
}

fn is_guid(text: &str) -> bool {
    let is_dash = |index| [8, 13, 18, 23].contains(&index);
    let is_right = |(index, it)| if is_dash(index) { it == b'-' } else { is_lower_hex(it) };
    text.len() == 36 && text.bytes().enumerate().all(is_right)
}

fn is_span(text: &str) -> bool {
    let digits = text.strip_suffix(['h', 'd', 'w']).unwrap_or_default();
    let is_number = (1..=6).contains(&digits.len()) && digits.bytes().all(|it| it.is_ascii_digit());
    text == "forever" || (is_number && !digits.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_cannot_be_one_is_refused() {
        let guid = "71a27cdd-812a-11d0-bec7-08002be2092f";
        assert!(VolumeId::parse(guid).is_ok());
        for bad in ["", "..", &guid.to_uppercase(), &guid[1..], &guid.replace('-', "/")] {
            assert!(VolumeId::parse(bad).is_err(), "{bad}");
        }
        for bad in ["", ".hidden", "a/b", "a\\b", "..", "C:x", "a\0", "-rf", " x", "ä"] {
            assert!(FileName::parse(bad).is_err(), "{bad:?}");
        }
        assert!(FileName::parse("web 1.d-drive.img").is_ok());
        for (text, good) in [("14d", true), ("forever", true), ("0d", false), ("d", false)] {
            assert_eq!(Span::parse(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let password = Password::parse("open sesame").unwrap();
        assert!(!format!("{password:?}").contains("sesame"));
    }
}
