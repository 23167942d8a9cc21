//! A message on the line: its checksum in hexadecimal, a space, JSON, and a line feed.
//!
//! The rule: a line that is not exactly this is an error, whatever made it: a program that prints
//! to the same port, a lost byte, another version. Nothing is guessed.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// An empty line, which is no message: the program in the guest begins with it, to end a line that
/// a reset has torn.
pub const EMPTY: &[u8] = b"\n";
/// The longest line, without its end.
pub const LINE_MAX: usize = 64 << 10;

/// Why a line is no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// More than [`LINE_MAX`] bytes without an end.
    #[error("a line is longer than {LINE_MAX} bytes")]
    TooLong,
    /// There is no checksum, or it is another one.
    #[error("a line has not the checksum of its text: {0:?}")]
    Checksum(String),
    /// The text is no message.
    #[error("a line is no message: {0}")]
    Message(String),
}

/// The line of a message, with its end.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let text = serde_json::to_string(message);
    let text = text.map_err(|error| FrameError::Message(error.to_string()))?;
    let line = format!("{:08x} {text}\n", crc32fast::hash(text.as_bytes()));
    if line.len() > LINE_MAX { Err(FrameError::TooLong) } else { Ok(line.into_bytes()) }
}

/// Takes bytes as they come, and gives messages.
#[derive(Debug, Default)]
pub struct Decoder {
    pending: Vec<u8>,
}

impl Decoder {
    /// Adds bytes; returns the messages that are complete now, and the error that ends them. After
    /// an error the decoder goes on behind the line.
    pub fn push<M: DeserializeOwned>(&mut self, bytes: &[u8]) -> Vec<Result<M, FrameError>> {
        let mut found = Vec::new();
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.pending.extend_from_slice(part);
            if self.pending.ends_with(b"\n") {
                let line = std::mem::take(&mut self.pending);
                if line != EMPTY {
                    found.push(decode(&line));
                }
            } else if self.pending.len() > LINE_MAX {
                self.pending.clear();
                found.push(Err(FrameError::TooLong));
            }
        }
        found
    }
}

fn decode<M: DeserializeOwned>(line: &[u8]) -> Result<M, FrameError> {
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end_matches('\n');
    let wrong = || FrameError::Checksum(line.chars().take(80).collect());
    let (checksum, text) = line.split_at_checked(9).ok_or_else(wrong)?;
    let expected = format!("{:08x} ", crc32fast::hash(text.as_bytes()));
    if checksum != expected {
        return Err(wrong());
    }
    serde_json::from_str(text).map_err(|error| FrameError::Message(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{FromGuest, Outcome};

    fn messages() -> [FromGuest; 3] {
        let ended = FromGuest::Ended { step: 3, outcome: Outcome::Failed { why: "ä\n".into() } };
        [FromGuest::Beat, ended, FromGuest::Log { step: 3, line: "x".repeat(9000) }]
    }

    #[test]
    fn messages_come_back_however_their_bytes_are_cut() {
        let bytes: Vec<u8> = messages().iter().flat_map(|it| encode(it).unwrap()).collect();
        for size in [1, 7, 4096, bytes.len()] {
            let mut decoder = Decoder::default();
            let found: Result<Vec<FromGuest>, _> =
                bytes.chunks(size).flat_map(|chunk| decoder.push(chunk)).collect();
            assert_eq!(found.unwrap(), messages());
        }
    }

    #[test]
    fn each_flipped_bit_and_each_lost_byte_is_an_error() {
        let line = encode(&messages()[1]).unwrap();
        let read = |bytes: &[u8]| Decoder::default().push::<FromGuest>(bytes);
        for at in 0..line.len() - 1 {
            let mut flipped = line.clone();
            flipped[at] ^= 1;
            assert!(read(&flipped).iter().any(Result::is_err), "flipped at {at}");
            let mut lost = line.clone();
            lost.remove(at);
            assert!(read(&lost).iter().any(Result::is_err), "lost at {at}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_given_up_and_the_next_one_is_read() {
        let mut decoder = Decoder::default();
        let endless = decoder.push::<FromGuest>(&vec![b'x'; LINE_MAX + 1]);
        assert_eq!(endless, [Err(FrameError::TooLong)]);
        let next = decoder.push::<FromGuest>(&encode(&FromGuest::Beat).unwrap());
        assert_eq!(next, [Ok(FromGuest::Beat)]);
    }
}
