//! The handshake of a connection (fixed newstyle): export and options.
//!
//! Rule: the connection is closed if the client is silent for [`SILENCE_LIMIT`] or sends an option
//! longer than [`OPTION_MAX`].

use std::io::{self, Read, Write};
use std::time::Duration;

use crate::reply::ALLOCATION_CONTEXT;
use crate::request::PAYLOAD_MAX;
use crate::stream::Stream;

const SILENCE_LIMIT: Duration = Duration::from_secs(10);
const OPTION_MAX: u32 = 64 << 10;

const INIT_MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const REPLY_MAGIC: u64 = 0x3_e889_0455_65a9;
/// Fixed newstyle, and no padding if the client agrees.
const HANDSHAKE_FLAGS: u16 = 1 | 1 << 1;
/// Flags, several connections at once.
const FLAGS_ALWAYS: u16 = 1 | 1 << 8;
const FLAG_READ_ONLY: u16 = 1 << 1;
/// Flush, FUA, trim, write-zeroes.
const FLAGS_WRITABLE: u16 = 1 << 2 | 1 << 3 | 1 << 5 | 1 << 6;

const OPT_EXPORT_NAME: u32 = 1;
const OPT_ABORT: u32 = 2;
const OPT_LIST: u32 = 3;
const OPT_INFO: u32 = 6;
const OPT_GO: u32 = 7;
const OPT_STRUCTURED_REPLY: u32 = 8;
const OPT_LIST_META_CONTEXT: u32 = 9;
const OPT_SET_META_CONTEXT: u32 = 10;

const REP_ACK: u32 = 1;
const REP_SERVER: u32 = 2;
const REP_INFO: u32 = 3;
const REP_META_CONTEXT: u32 = 4;
const REP_ERR_UNSUP: u32 = (1 << 31) + 1;
const REP_ERR_INVALID: u32 = (1 << 31) + 3;
const REP_ERR_UNKNOWN: u32 = (1 << 31) + 6;

const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

/// The metadata context of what is allocated.
const ALLOCATION: &[u8] = b"base:allocation";
/// A query for every context of the protocol's own.
const ALL_OF_BASE: &[u8] = b"base:";

/// A volume that clients can choose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Export {
    /// The name.
    pub name: String,
    /// The length in bytes.
    pub length: u64,
    /// The sector size in bytes.
    pub sector: u32,
    /// What clients may do.
    pub access: Access,
    /// Clients may ask what is allocated (`base:allocation`).
    pub tells_allocation: bool,
}

/// What clients may do with an export.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read.
    Read,
    /// Read, write, flush, trim.
    Write,
}

impl Export {
    fn flags(&self) -> u16 {
        FLAGS_ALWAYS
            | match self.access {
                Access::Read => FLAG_READ_ONLY,
                Access::Write => FLAGS_WRITABLE,
            }
    }
}

/// The result of a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Agreed {
    /// Index of the export.
    pub export: usize,
    /// Reads are answered in chunks.
    pub structured: bool,
    /// The client may ask what is allocated.
    pub allocation: bool,
}

/// Carries out the handshake; `None` if the client ends it without an export.
pub fn shake_hands<S: Stream>(stream: &S, exports: &[Export]) -> io::Result<Option<Agreed>>
where
    for<'a> &'a S: Read + Write,
{
    stream.limit_silence(Some(SILENCE_LIMIT))?;
    let handshake =
        Handshake { stream, exports, structured: false, allocation_of: None, padding: true };
    let agreed = handshake.run()?;
    stream.limit_silence(None)?;
    Ok(agreed)
}

struct Handshake<'a, S> {
    stream: S,
    exports: &'a [Export],
    structured: bool,
    /// The export of which the client wants to know what is allocated.
    allocation_of: Option<usize>,
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
            OPT_LIST_META_CONTEXT | OPT_SET_META_CONTEXT if self.tells_allocation() => {
                self.contexts(option, &data)
            }
            _ => self.done(option, REP_ERR_UNSUP),
        }
    }

    fn export_name(&mut self, name: &[u8]) -> io::Result<Next> {
        let export = self.find(name).ok_or_else(|| violation("no such export"))?;
        let mut reply = self.exports[export].length.to_be_bytes().to_vec();
        reply.extend(self.exports[export].flags().to_be_bytes());
        reply.resize(reply.len() + if self.padding { 124 } else { 0 }, 0);
        self.stream.write_all(&reply)?;
        Ok(Next::End(Some(self.agreed(export))))
    }

    fn agreed(&self, export: usize) -> Agreed {
        let allocation = self.allocation_of == Some(export);
        Agreed { export, structured: self.structured, allocation }
    }

    fn information(&mut self, option: u32, data: &[u8]) -> io::Result<Next> {
        let Some(name) = requested_name(data) else { return self.done(option, REP_ERR_INVALID) };
        let Some(export) = self.find(name) else { return self.done(option, REP_ERR_UNKNOWN) };
        let found = &self.exports[export];
        let (length, sector, flags) = (found.length, found.sector, found.flags());
        let mut info = INFO_EXPORT.to_be_bytes().to_vec();
        info.extend(length.to_be_bytes());
        info.extend(flags.to_be_bytes());
        self.answer(option, REP_INFO, &info)?;
        let mut sizes = INFO_BLOCK_SIZE.to_be_bytes().to_vec();
        for size in [sector, sector.max(4096), PAYLOAD_MAX] {
            sizes.extend(size.to_be_bytes());
        }
        self.answer(option, REP_INFO, &sizes)?;
        self.answer(option, REP_ACK, &[])?;
        let agreed = self.agreed(export);
        Ok(if option == OPT_GO { Next::End(Some(agreed)) } else { Next::Option })
    }

    fn tells_allocation(&self) -> bool {
        self.exports.iter().any(|export| export.tells_allocation)
    }

    /// Lists or sets the metadata contexts of an export.
    fn contexts(&mut self, option: u32, data: &[u8]) -> io::Result<Next> {
        let sets = option == OPT_SET_META_CONTEXT;
        if sets {
            // Whatever comes of this, what was set before is no longer.
            self.allocation_of = None;
        }
        let Some((name, queries)) = requested_contexts(data).filter(|_| self.structured) else {
            return self.done(option, REP_ERR_INVALID);
        };
        let Some(export) = self.find(name) else { return self.done(option, REP_ERR_UNKNOWN) };
        let asks = queries.contains(&ALLOCATION)
            || (!sets && (queries.is_empty() || queries.contains(&ALL_OF_BASE)));
        if asks && self.exports[export].tells_allocation {
            let number = if sets { ALLOCATION_CONTEXT } else { 0 };
            self.answer(option, REP_META_CONTEXT, &[&number.to_be_bytes(), ALLOCATION].concat())?;
            if sets {
                self.allocation_of = Some(export);
            }
        }
        self.done(option, REP_ACK)
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
    let (name, rest) = take_prefixed(data)?;
    let (count, requests) = rest.split_first_chunk::<2>()?;
    (requests.len() == 2 * usize::from(u16::from_be_bytes(*count))).then_some(name)
}

/// The export name and the queries in the data of `LIST_META_CONTEXT` and `SET_META_CONTEXT`.
fn requested_contexts(data: &[u8]) -> Option<(&[u8], Vec<&[u8]>)> {
    let (name, rest) = take_prefixed(data)?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let mut queries = Vec::new();
    for _ in 0..u32::from_be_bytes(*count) {
        let query;
        (query, rest) = take_prefixed(rest)?;
        queries.push(query);
    }
    rest.is_empty().then_some((name, queries))
}

/// A string with its length in front, and what follows it.
fn take_prefixed(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = data.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*len) as usize)
}

fn prefixed(name: &str) -> Vec<u8> {
    let mut bytes = u32::try_from(name.len()).unwrap_or(0).to_be_bytes().to_vec();
    bytes.extend(name.as_bytes());
    bytes
}

fn violation(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::thread;

    fn export(name: &str, access: Access) -> Export {
        let tells_allocation = access == Access::Read;
        Export { name: name.to_owned(), length: 1 << 20, sector: 512, access, tells_allocation }
    }

    fn exports() -> Vec<Export> {
        vec![export("a", Access::Write), export("b", Access::Read)]
    }

    fn agreed(export: usize) -> Agreed {
        Agreed { export, structured: false, allocation: false }
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
        let (found, heard) = talk(&said.concat());
        assert_eq!(found.unwrap(), None);
        for kind in [REP_ERR_UNKNOWN, REP_ERR_INVALID, REP_ERR_UNSUP, REP_SERVER, REP_ACK] {
            assert!(heard.windows(4).any(|it| it == kind.to_be_bytes()), "{kind:#x}");
        }
    }

    #[test]
    fn an_option_that_takes_no_data_is_refused_with_some_and_changes_nothing() {
        for number in [OPT_LIST, OPT_STRUCTURED_REPLY] {
            let said = [vec![0, 0, 0, 3], option(number, b"x"), option(OPT_GO, &go("a"))];
            let (found, heard) = talk(&said.concat());
            assert_eq!(found.unwrap(), Some(agreed(0)));
            let has = |kind: u32| heard.windows(4).any(|it| it == kind.to_be_bytes());
            assert!(has(REP_ERR_INVALID) && !has(REP_SERVER), "option {number}");
        }
    }

    /// The data of an option about metadata contexts.
    fn queries(export: &str, of: &[&str]) -> Vec<u8> {
        let count = u32::try_from(of.len()).unwrap().to_be_bytes().to_vec();
        let of = of.iter().map(|query| prefixed(query));
        [prefixed(export), count].into_iter().chain(of).collect::<Vec<_>>().concat()
    }

    #[test]
    fn what_is_allocated_is_told_of_the_export_that_it_was_set_for() {
        let structured = option(OPT_STRUCTURED_REPLY, &[]);
        let set = |export, of: &[&str]| option(OPT_SET_META_CONTEXT, &queries(export, of));
        let (known, other) = (&["x:y", "base:allocation"][..], &["base:", "base:x"][..]);
        let broken = option(OPT_SET_META_CONTEXT, &[0, 0, 0, 1, b'b', 0, 0, 0, 1, 0, 0]);
        for (options, want) in [
            (vec![structured.clone(), set("b", known)], true),
            (vec![set("b", known), structured.clone()], false),
            (vec![structured.clone(), set("a", known)], false),
            (vec![structured.clone(), set("b", other)], false),
            (vec![structured.clone(), set("b", known), set("b", &[])], false),
            (vec![structured.clone(), set("b", known), set("c", known)], false),
            (vec![structured.clone(), set("b", known), broken], false),
        ] {
            let said = [vec![vec![0, 0, 0, 3]], options, vec![option(OPT_GO, &go("b"))]];
            let (found, _) = talk(&said.concat().concat());
            let found = found.unwrap().unwrap();
            assert!(found.export == 1 && found.structured);
            assert_eq!(found.allocation, want, "{said:?}");
        }
    }

    #[test]
    fn the_contexts_of_an_export_are_listed_by_wildcards() {
        let list = |of: &[&str]| option(OPT_LIST_META_CONTEXT, &queries("b", of));
        let structured = option(OPT_STRUCTURED_REPLY, &[]);
        for (of, want) in [(&[][..], true), (&["base:"], true), (&["x:", "base:y"], false)] {
            let said = [vec![0, 0, 0, 3], structured.clone(), list(of), option(OPT_ABORT, &[])];
            let (_, heard) = talk(&said.concat());
            assert_eq!(heard.windows(ALLOCATION.len()).any(|it| it == ALLOCATION), want, "{of:?}");
        }
    }

    #[test]
    fn an_export_that_is_only_read_says_so() {
        let flags = |name: &str| {
            let (_, heard) = talk(&[&[0, 0, 0, 3][..], &option(1, name.as_bytes())].concat());
            u16::from_be_bytes([heard[26], heard[27]])
        };
        assert_eq!(flags("a"), 0b1_0110_1101);
        assert_eq!(flags("b"), 0b1_0000_0011);
    }

    #[test]
    fn an_old_client_gets_the_padding() {
        let (found, heard) = talk(&[vec![0, 0, 0, 1], option(1, b"a")].concat());
        assert_eq!(found.unwrap(), Some(agreed(0)));
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
