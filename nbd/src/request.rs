//! A client's requests.

/// Longest read or write, in bytes.
pub const PAYLOAD_MAX: u32 = 32 << 20;
/// Length of a request's header in bytes.
pub const REQUEST_LEN: usize = 28;

const REQUEST_MAGIC: u32 = 0x2560_9513;

const FLAG_FUA: u16 = 1;
const FLAG_NO_HOLE: u16 = 1 << 1;
const FLAG_ONE_EXTENT: u16 = 1 << 3;

const BLOCK_STATUS: u16 = 7;

/// Why a request fails, with the protocol's numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Errno {
    /// The export is read-only.
    NotPermitted = 1,
    /// I/O error.
    Io = 5,
    /// Out of memory.
    NoMemory = 12,
    /// Invalid request.
    Invalid = 22,
    /// Past the end of the volume, or the disk is full.
    NoSpace = 28,
    /// Not supported by the disk.
    NotSupported = 95,
}

/// A client's command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Read.
    Read,
    /// Write the payload that follows.
    Write,
    /// Close the connection.
    Disconnect,
    /// Make completed writes durable.
    Flush,
    /// Discard the content.
    Trim,
    /// Write zeros.
    Zero {
        /// The disk may free the space.
        hole: bool,
    },
    /// Tell what is allocated. Only for a client that has agreed on it.
    Allocation {
        /// Of one extent, no longer than was asked for.
        one: bool,
    },
}

/// A well-formed request whose extent is not checked yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The command; `None` if it is unknown.
    pub command: Option<Command>,
    /// Must be durable before the reply.
    pub fua: bool,
    /// The client's identifier of the request.
    pub cookie: u64,
    /// Offset in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub len: u32,
    /// Bytes of payload that follow.
    pub payload_len: u32,
}

/// The client violates the protocol: the connection must be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Violation;

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// [`Violation`] for bytes that are not a request, or a payload longer than [`PAYLOAD_MAX`].
    pub fn read(bytes: &[u8; REQUEST_LEN]) -> Result<Self, Violation> {
        let [m0, m1, m2, m3, f0, f1, t0, t1, rest @ ..] = *bytes;
        let [c @ .., _, _, _, _, _, _, _, _, _, _, _, _] = rest;
        let [_, _, _, _, _, _, _, _, o @ .., _, _, _, _] = rest;
        let [.., l0, l1, l2, l3] = rest;
        if u32::from_be_bytes([m0, m1, m2, m3]) != REQUEST_MAGIC {
            return Err(Violation);
        }
        let flags = u16::from_be_bytes([f0, f1]);
        let len = u32::from_be_bytes([l0, l1, l2, l3]);
        let number = u16::from_be_bytes([t0, t1]);
        let payload_len = if number == 1 { len } else { 0 };
        if payload_len > PAYLOAD_MAX {
            return Err(Violation);
        }
        let may_have = if number == BLOCK_STATUS { FLAG_ONE_EXTENT } else { 0 };
        let known = flags & !(FLAG_FUA | FLAG_NO_HOLE | may_have) == 0;
        let command = match number {
            0 => Some(Command::Read),
            1 => Some(Command::Write),
            2 => Some(Command::Disconnect),
            3 => Some(Command::Flush),
            4 => Some(Command::Trim),
            6 => Some(Command::Zero { hole: flags & FLAG_NO_HOLE == 0 }),
            BLOCK_STATUS => Some(Command::Allocation { one: flags & FLAG_ONE_EXTENT != 0 }),
            _ => None,
        };
        Ok(Self {
            command: command.filter(|&command| known || command == Command::Disconnect),
            fua: flags & FLAG_FUA != 0,
            cookie: u64::from_be_bytes(c),
            offset: u64::from_be_bytes(o),
            len,
            payload_len,
        })
    }

    /// Checks the extent against a volume of `length` bytes in sectors of `sector` bytes.
    ///
    /// # Errors
    /// The error for the client.
    pub fn check(&self, length: u64, sector: u32) -> Result<Command, Errno> {
        let command = self.command.ok_or(Errno::Invalid)?;
        if matches!(command, Command::Flush | Command::Disconnect) {
            return Ok(command);
        }
        let len = u64::from(self.len);
        let aligned = self.offset.is_multiple_of(u64::from(sector))
            && len.is_multiple_of(u64::from(sector))
            && len > 0;
        let too_long = command == Command::Read && self.len > PAYLOAD_MAX;
        if !aligned || too_long {
            return Err(Errno::Invalid);
        }
        match self.offset.checked_add(len) {
            Some(end) if end <= length => Ok(command),
            _ if matches!(command, Command::Read | Command::Allocation { .. }) => {
                Err(Errno::Invalid)
            }
            _ => Err(Errno::NoSpace),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(flags: u16, kind: u16, offset: u64, len: u32) -> [u8; REQUEST_LEN] {
        let mut bytes = REQUEST_MAGIC.to_be_bytes().to_vec();
        bytes.extend(flags.to_be_bytes());
        bytes.extend(kind.to_be_bytes());
        bytes.extend(7_u64.to_be_bytes());
        bytes.extend(offset.to_be_bytes());
        bytes.extend(len.to_be_bytes());
        bytes.try_into().unwrap()
    }

    #[test]
    fn a_request_is_parsed() {
        let header = Header::read(&request(1, 1, 4096, 512)).unwrap();
        let want = Header {
            command: Some(Command::Write),
            fua: true,
            cookie: 7,
            offset: 4096,
            len: 512,
            payload_len: 512,
        };
        assert_eq!(header, want);
        let zero = Header::read(&request(2, 6, 0, 1 << 31)).unwrap();
        assert_eq!((zero.command, zero.payload_len), (Some(Command::Zero { hole: false }), 0));
    }

    #[test]
    fn bytes_that_are_not_a_request_and_long_payloads_are_violations() {
        assert_eq!(Header::read(&[0; REQUEST_LEN]), Err(Violation));
        assert_eq!(Header::read(&request(0, 1, 0, PAYLOAD_MAX + 1)), Err(Violation));
    }

    #[test]
    fn extents_are_checked_against_the_volume() {
        let check = |flags, kind, offset, len| {
            Header::read(&request(flags, kind, offset, len)).unwrap().check(8192, 512)
        };
        assert_eq!(check(0, 0, 0, 8192), Ok(Command::Read));
        assert_eq!(check(0, 0, 512, 8192), Err(Errno::Invalid));
        assert_eq!(check(0, 1, 8192, 512), Err(Errno::NoSpace));
        assert_eq!(check(0, 1, u64::MAX - 511, 512), Err(Errno::NoSpace));
        assert_eq!(check(0, 1, 0, 0), Err(Errno::Invalid));
        assert_eq!(check(0, 1, 1, 512), Err(Errno::Invalid));
        assert_eq!(check(0, 4, 0, 511), Err(Errno::Invalid));
        assert_eq!(check(0, 5, 0, 512), Err(Errno::Invalid), "an unknown command");
        assert_eq!(check(4, 0, 0, 512), Err(Errno::Invalid), "an unknown flag");
        assert_eq!(check(8, 0, 0, 512), Err(Errno::Invalid), "a flag of another command");
        assert_eq!(check(8, 7, 0, 8192), Ok(Command::Allocation { one: true }));
        assert_eq!(check(0, 7, 512, 8192), Err(Errno::Invalid));
        assert_eq!(check(0, 3, 0, 0), Ok(Command::Flush));
        assert_eq!(check(1 << 15, 2, 0, 0), Ok(Command::Disconnect));
    }
}
