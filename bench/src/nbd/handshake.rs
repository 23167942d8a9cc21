//! The handshake of a connection (fixed newstyle): export and options.
//!
//! Rule: the connection is closed if the client is silent for [`SILENCE_LIMIT`] or sends an option
//! longer than [`OPTION_MAX`].

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::PAYLOAD_MAX;

const SILENCE_LIMIT: Duration = Duration::from_secs(10);
const OPTION_MAX: u32 = 64 << 10;

const INIT_MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const REPLY_MAGIC: u64 = 0x3_e889_0455_65a9;
/// Fixed newstyle, and no padding if the client agrees.
const HANDSHAKE_FLAGS: u16 = 1 | 1 << 1;
/// Flags, flush, FUA, trim, write-zeroes, several connections at once.
const EXPORT_FLAGS: u16 = 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 8;

const OPT_EXPORT_NAME: u32 = 1;
const OPT_ABORT: u32 = 2;
const OPT_LIST: u32 = 3;
const OPT_INFO: u32 = 6;
const OPT_GO: u32 = 7;
const OPT_STRUCTURED_REPLY: u32 = 8;

const REP_ACK: u32 = 1;
const REP_SERVER: u32 = 2;
const REP_INFO: u32 = 3;
const REP_ERR_UNSUP: u32 = (1 << 31) + 1;
const REP_ERR_INVALID: u32 = (1 << 31) + 3;
const REP_ERR_UNKNOWN: u32 = (1 << 31) + 6;

const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

/// A volume that clients can choose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Export {
    /// The name.
    pub name: String,
    /// The length in bytes.
    pub length: u64,
    /// The sector size in bytes.
    pub sector: u32,
}

/// The result of a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Agreed {
    /// Index of the export.
    pub export: usize,
    /// Reads are answered in chunks.
    pub structured: bool,
}

/// Carries out the handshake; `None` if the client ends it without an export.
pub fn shake_hands(stream: &UnixStream, exports: &[Export]) -> io::Result<Option<Agreed>> {
    stream.set_read_timeout(Some(SILENCE_LIMIT))?;
    stream.set_write_timeout(Some(SILENCE_LIMIT))?;
    let agreed = Handshake { stream, exports, structured: false, padding: true }.run()?;
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)?;
    Ok(agreed)
}

struct Handshake<'a, S> {
    stream: S,
    exports: &'a [Export],
    structured: bool,
    /// The client expects the 124 zeros of the old protocol.
    padding: bool,
}

/// What follows an option.
enum Next {
    Option,
    End(Option<Agreed>),
}

impl<S: Read + Write> Handshake<'_, S> {
    fn run(mut self) -> io::Result<Option<Agreed>> {
        let mut hello = INIT_MAGIC.to_be_bytes().to_vec();
        hello.extend(OPTION_MAGIC.to_be_bytes());
        hello.extend(HANDSHAKE_FLAGS.to_be_bytes());
        self.stream.write_all(&hello)?;
        let flags = self.number()?;
        if flags & !u32::from(HANDSHAKE_FLAGS) != 0 {
            return Err(violation("unknown client flags"));
        }
        self.padding = flags & 2 == 0;
        loop {
            if let Next::End(agreed) = self.option()? {
                return Ok(agreed);
            }
        }
    }

    fn option(&mut self) -> io::Result<Next> {
        let mut magic = [0; 8];
        self.stream.read_exact(&mut magic)?;
        if u64::from_be_bytes(magic) != OPTION_MAGIC {
            return Err(violation("an option without its magic number"));
        }
        let (option, len) = (self.number()?, self.number()?);
        if len > OPTION_MAX {
            return Err(violation("an option that is too long"));
        }
        let mut data = vec![0; len as usize];
        self.stream.read_exact(&mut data)?;
        match option {
            OPT_EXPORT_NAME => self.export_name(&data),
            OPT_ABORT => {
                self.answer(option, REP_ACK, &[])?;
                Ok(Next::End(None))
            }
            OPT_LIST | OPT_STRUCTURED_REPLY if !data.is_empty() => {
                self.done(option, REP_ERR_INVALID)
            }
            OPT_LIST => {
                for export in self.exports {
                    self.answer(option, REP_SERVER, &prefixed(&export.name))?;
                }
                self.done(option, REP_ACK)
            }
            OPT_INFO | OPT_GO => self.information(option, &data),
            OPT_STRUCTURED_REPLY => {
                self.structured = true;
                self.done(option, REP_ACK)
            }
            _ => self.done(option, REP_ERR_UNSUP),
        }
    }

    fn export_name(&mut self, name: &[u8]) -> io::Result<Next> {
        let export = self.find(name).ok_or_else(|| violation("no such export"))?;
        let mut reply = self.exports[export].length.to_be_bytes().to_vec();
        reply.extend(EXPORT_FLAGS.to_be_bytes());
        reply.resize(reply.len() + if self.padding { 124 } else { 0 }, 0);
        self.stream.write_all(&reply)?;
        Ok(Next::End(Some(Agreed { export, structured: self.structured })))
    }

    fn information(&mut self, option: u32, data: &[u8]) -> io::Result<Next> {
        let Some(name) = requested_name(data) else { return self.done(option, REP_ERR_INVALID) };
        let Some(export) = self.find(name) else { return self.done(option, REP_ERR_UNKNOWN) };
        let (length, sector) = (self.exports[export].length, self.exports[export].sector);
        let mut info = INFO_EXPORT.to_be_bytes().to_vec();
        info.extend(length.to_be_bytes());
        info.extend(EXPORT_FLAGS.to_be_bytes());
        self.answer(option, REP_INFO, &info)?;
        let mut sizes = INFO_BLOCK_SIZE.to_be_bytes().to_vec();
        for size in [sector, sector.max(4096), PAYLOAD_MAX] {
            sizes.extend(size.to_be_bytes());
        }
        self.answer(option, REP_INFO, &sizes)?;
        self.answer(option, REP_ACK, &[])?;
        let agreed = Agreed { export, structured: self.structured };
        Ok(if option == OPT_GO { Next::End(Some(agreed)) } else { Next::Option })
    }

    /// The export's index; an empty name means the first export.
    fn find(&self, name: &[u8]) -> Option<usize> {
        self.exports.iter().position(|it| name.is_empty() || it.name.as_bytes() == name)
    }

    fn done(&mut self, option: u32, kind: u32) -> io::Result<Next> {
        self.answer(option, kind, &[])?;
        Ok(Next::Option)
    }

    fn answer(&mut self, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
        let mut reply = REPLY_MAGIC.to_be_bytes().to_vec();
        reply.extend(option.to_be_bytes());
        reply.extend(kind.to_be_bytes());
        reply.extend(u32::try_from(data.len()).unwrap_or(0).to_be_bytes());
        reply.extend(data);
        self.stream.write_all(&reply)
    }

    fn number(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.stream.read_exact(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }
}

/// The export name in the data of `INFO` and `GO`; a list of information requests follows it.
fn requested_name(data: &[u8]) -> Option<&[u8]> {
    let (len, rest) = data.split_first_chunk::<4>()?;
    let (name, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
    let (count, requests) = rest.split_first_chunk::<2>()?;
    (requests.len() == 2 * usize::from(u16::from_be_bytes(*count))).then_some(name)
}

fn prefixed(name: &str) -> Vec<u8> {
    let mut bytes = u32::try_from(name.len()).unwrap_or(0).to_be_bytes().to_vec();
    bytes.extend(name.as_bytes());
    bytes
}

fn violation(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn exports() -> Vec<Export> {
        ["a", "b"]
            .map(|name| Export { name: name.to_owned(), length: 1 << 20, sector: 512 })
            .to_vec()
    }

    fn option(number: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = OPTION_MAGIC.to_be_bytes().to_vec();
        bytes.extend(number.to_be_bytes());
        bytes.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend(data);
        bytes
    }

    /// Sends all of a client's bytes at once; returns the result and the server's bytes.
    fn talk(said: &[u8]) -> (io::Result<Option<Agreed>>, Vec<u8>) {
        let (client, server) = UnixStream::pair().unwrap();
        let shaking = thread::spawn(move || shake_hands(&server, &exports()));
        (&client).write_all(said).unwrap();
        let agreed = shaking.join().unwrap();
        let mut heard = Vec::new();
        // The server may close before it has read everything.
        let _ = (&client).read_to_end(&mut heard);
        (agreed, heard)
    }

    fn go(name: &str) -> Vec<u8> {
        [prefixed(name), vec![0, 0]].concat()
    }

    #[test]
    fn unknown_exports_unknown_options_and_bad_requests_do_not_end_the_handshake() {
        let broken = [prefixed("a"), vec![0, 1]].concat();
        let said = [
            vec![0, 0, 0, 3],
            option(7, &go("c")),
            option(6, &broken),
            option(99, b"x"),
            option(3, &[]),
            option(2, &[]),
        ];
        let (agreed, heard) = talk(&said.concat());
        assert_eq!(agreed.unwrap(), None);
        for kind in [REP_ERR_UNKNOWN, REP_ERR_INVALID, REP_ERR_UNSUP, REP_SERVER, REP_ACK] {
            assert!(heard.windows(4).any(|it| it == kind.to_be_bytes()), "{kind:#x}");
        }
    }

    #[test]
    fn an_option_that_takes_no_data_is_refused_with_some_and_changes_nothing() {
        for number in [OPT_LIST, OPT_STRUCTURED_REPLY] {
            let said = [vec![0, 0, 0, 3], option(number, b"x"), option(OPT_GO, &go("a"))];
            let (agreed, heard) = talk(&said.concat());
            assert_eq!(agreed.unwrap(), Some(Agreed { export: 0, structured: false }));
            let has = |kind: u32| heard.windows(4).any(|it| it == kind.to_be_bytes());
            assert!(has(REP_ERR_INVALID) && !has(REP_SERVER), "option {number}");
        }
    }

    #[test]
    fn an_old_client_gets_the_padding() {
        let (agreed, heard) = talk(&[vec![0, 0, 0, 1], option(1, b"a")].concat());
        assert_eq!(agreed.unwrap(), Some(Agreed { export: 0, structured: false }));
        assert_eq!(heard.len(), 18 + 8 + 2 + 124);
    }

    #[test]
    fn a_violation_or_a_long_option_ends_the_handshake() {
        let long = [OPTION_MAGIC.to_be_bytes().to_vec(), vec![0, 0, 0, 3, 0xff, 0, 0, 0]].concat();
        for said in [vec![0, 0, 0, 0x80], [vec![0, 0, 0, 3], long].concat(), vec![0; 20]] {
            assert!(talk(&said).0.is_err());
        }
    }
}
