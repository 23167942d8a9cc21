//! A client of one read: how long a disk takes from its program's start to its first byte.
//!
//! Numbers are big-endian; see the protocol's text, `doc/proto.md` of the NBD project.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::error::{IoContext, Result};
use crate::wait::wait_for;

const START_LIMIT: Duration = Duration::from_mins(5);
const OPTION: &[u8; 8] = b"IHAVEOPT";
/// Fixed newstyle, no zeroes.
const CLIENT_FLAGS: u32 = 3;
const GO: u32 = 7;
const ACK: u32 = 1;
const REFUSED: u32 = 1 << 31;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;

/// Waits for the server at the socket, and reads `len` bytes at `offset` of its default export.
pub fn first_read(socket: &Path, offset: u64, len: u32) -> Result<Vec<u8>> {
    let mut stream = wait_for("the start of an NBD server", START_LIMIT, || {
        Ok(UnixStream::connect(socket).ok())
    })?;
    Ok(read(&mut stream, offset, len).on("read from", socket)?)
}

fn read(stream: &mut (impl Read + Write), offset: u64, len: u32) -> io::Result<Vec<u8>> {
    let greeting: [u8; 18] = take(stream)?;
    if greeting[8..16] != *OPTION {
        return Err(io::Error::other("it does not greet as an NBD server"));
    }
    // The default export: a name without bytes, no wish for more information.
    let option =
        [&CLIENT_FLAGS.to_be_bytes()[..], OPTION, &GO.to_be_bytes(), &[0, 0, 0, 6], &[0; 6]];
    stream.write_all(&option.concat())?;
    loop {
        let reply: [u8; 20] = take(stream)?;
        let (kind, data) = (number(&reply[12..16]), number(&reply[16..]));
        skip(stream, data)?;
        if kind == ACK {
            break;
        }
        if kind & REFUSED != 0 {
            return Err(io::Error::other(format!("it refused its default export: {kind:#x}")));
        }
    }
    let request = [&REQUEST.to_be_bytes()[..], &[0; 12], &offset.to_be_bytes(), &len.to_be_bytes()];
    stream.write_all(&request.concat())?;
    let reply: [u8; 16] = take(stream)?;
    if (number(&reply[..4]), number(&reply[4..8])) != (REPLY, 0) {
        return Err(io::Error::other("it cannot be read"));
    }
    let mut bytes = vec![0; len as usize];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn take<const N: usize>(stream: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn skip(stream: &mut impl Read, len: u32) -> io::Result<()> {
    io::copy(&mut stream.take(len.into()), &mut io::sink()).map(|_| ())
}

/// A number of four bytes.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that has said everything, and what was sent to it.
    struct Said(io::Cursor<Vec<u8>>, Vec<u8>);

    impl Read for Said {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.0.read(bytes)
        }
    }

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn server(reply: u32, error: u32) -> Said {
        let greeting = [&b"NBDMAGIC"[..], OPTION, &[0, 3]].concat();
        let answer = |kind: u32, data: &[u8]| {
            let len = u32::try_from(data.len()).unwrap_or(0);
            let head = [[0; 12].as_slice(), &kind.to_be_bytes(), &len.to_be_bytes(), data];
            head.concat()
        };
        let data = [&reply.to_be_bytes()[..], &error.to_be_bytes(), &[0; 8], b"data"].concat();
        let all = [greeting, answer(3, &[0; 12]), answer(ACK, &[]), data].concat();
        Said(io::Cursor::new(all), Vec::new())
    }

    #[test]
    fn the_first_bytes_are_read_and_a_refusal_is_an_error() {
        let mut said = server(REPLY, 0);
        assert_eq!(read(&mut said, 4096, 4).unwrap(), b"data");
        assert!(said.1.ends_with(&[0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 4]));
        assert!(read(&mut server(REPLY, 5), 0, 4).is_err());
        assert!(read(&mut server(7, 0), 0, 4).is_err());
    }
}
