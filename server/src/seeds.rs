//! What a first sync need not send: content of the volume that the repository has from before the
//! session ([`snapless_wire::compare`]).
//!
//! ```text
//!   service ── Compare ──▶ comparer ──── hash of the seed's content ────▶ Compared
//!   service ── a record with a hash ──▶ storing thread ── the seed's content, compared ──▶ segment
//! ```
//!
//! The seed is an earlier session of the volume, or an image that was imported as one
//! ([`crate::seed_image`]). Its content is that of its last acknowledged record, a point or not:
//! what it is does not matter, as each block is taken only if it has the hash that the service
//! names.
//!
//! Rule: a record is stored with its content, whose hash was compared with the one that the record
//! had. So a session knows nothing of its seed: it may be folded, copied or removed, and no reader
//! of the session looks for it. A seed that is gone or damaged meanwhile costs a link, over whose
//! successor the service sends all of the content.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use log::{info, warn};
use snapless_types::{Extent, Seq};
use snapless_wire::compare::ContentHash;
use snapless_wire::frame::{FRAME_PAYLOAD_MAX, FrameError, FrameHeader, FrameKind, Hello};
use snapless_wire::record::{RECORD_HEADER_LEN, Record, Records};

use crate::error::{Error, Result};
use crate::format::session::SessionHeader;
use crate::given::Given;
use crate::host::Host;
use crate::openings::Opening;
use crate::reader::SessionReader;
use crate::repository::{Presence, Repository};
use crate::stop::StopFlag;

/// Earlier sessions that are looked at, the newest first: the first one whose first sync was done
/// is the seed.
const CANDIDATES_MAX: usize = 4;

/// What there is of the volume of a connection from before its session.
pub(crate) struct Seeds<'a> {
    host: &'a Host,
    hello: Hello,
    /// The connection, in the log.
    name: &'a str,
    stop: StopFlag,
    /// Locked while the seed is opened.
    state: Mutex<State>,
}

enum State {
    Closed,
    Open(Arc<Seed>),
    /// There is none, or none that can be read.
    Nothing,
}

/// The seed, open.
pub(crate) struct Seed {
    content: Given,
    _opening: Opening,
}

impl<'a> Seeds<'a> {
    /// Of the session of a connection.
    pub(crate) fn new(host: &'a Host, hello: Hello, name: &'a str) -> Self {
        let (stop, state) = (StopFlag::default(), Mutex::new(State::Closed));
        Self { host, hello, name, stop, state }
    }

    /// True if there is an earlier session of the volume: whether it has any content is not looked
    /// at.
    pub(crate) fn may_be_there(&self) -> bool {
        let earlier = earlier(self.host.repository.repository(), &self.hello);
        earlier.is_ok_and(|earlier| !earlier.is_empty())
    }

    /// The seed, which is opened now if it was not; `None` if there is none, or as many sessions
    /// are open as may be.
    ///
    /// # Errors
    /// [`Error::Stopped`]. Damage is in the log, and then there is no seed.
    pub(crate) fn get(&self) -> Result<Option<Arc<Seed>>> {
        let mut state = self.lock();
        if let State::Closed = *state {
            let Some(opening) = self.host.openings.take() else { return Ok(None) };
            *state = match self.open()? {
                Some(content) => State::Open(Arc::new(Seed { content, _opening: opening })),
                None => State::Nothing,
            };
        }
        Ok(match &*state {
            State::Open(seed) => Some(Arc::clone(seed)),
            State::Closed | State::Nothing => None,
        })
    }

    /// Closes the seed until it is wanted again: while it is open, nothing of it is collected.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        if let State::Open(_) = *state {
            *state = State::Closed;
        }
    }

    /// Ends what is being opened.
    pub(crate) fn stop(&self) {
        self.stop.set();
    }

    /// The frame with the seed's content in place of hashes; `None` if it has no hashes.
    ///
    /// # Errors
    /// The seed does not have the content, or the frame would be too long.
    pub(crate) fn expand(&self, payload: &[u8]) -> Result<Option<(FrameHeader, Vec<u8>)>> {
        let is_seeded = |record: Record<'_>| record.header.is_seeded();
        if !Records::new(payload).map_while(Result::ok).any(is_seeded) {
            return Ok(None);
        }
        let seed = self.get()?;
        let full = expand(payload, |extent| match &seed {
            Some(seed) => seed.content(extent),
            None => Ok(None),
        })?;
        let header = FrameHeader::new(FrameKind::Records, &full).map_err(Error::from)?;
        Ok(Some((header, full)))
    }

    /// The content of the newest earlier session whose first sync was done; if there is none, of
    /// the one that has the most.
    fn open(&self) -> Result<Option<Given>> {
        let repository = self.host.repository.repository();
        let mut best: Option<Given> = None;
        for header in earlier(repository, &self.hello)? {
            let reader = SessionReader::open_pinned(repository.store(), header, "seed");
            let given = match reader.and_then(|reader| Given::open(reader, &self.stop)) {
                Ok(given) => given,
                Err(Error::Stopped) => return Err(Error::Stopped),
                Err(why) => {
                    warn!("{}: session {} is no seed: {why}", self.name, header.session);
                    continue;
                }
            };
            let is_whole = given.is_whole();
            if given.known() > best.as_ref().map_or(0, Given::known) {
                info!("{}: session {} may be a seed", self.name, header.session);
                best = Some(given);
            }
            if is_whole {
                break;
            }
        }
        Ok(best)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No change is left half made by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seed {
    /// True if this is what the seed has of an extent. What cannot be read it does not have.
    pub(crate) fn has(&self, extent: &Extent, hash: &ContentHash) -> bool {
        let content = self.content(extent);
        content.is_ok_and(|content| content.is_some_and(|it| blake3::hash(&it) == *hash))
    }

    fn content(&self, extent: &Extent) -> Result<Option<Vec<u8>>> {
        self.content.content(extent)
    }
}

/// The newest sessions of a volume apart from that of the Hello, the newest first.
fn earlier(repository: &Repository, hello: &Hello) -> Result<Vec<SessionHeader>> {
    let sessions = repository.session_ids(hello.volume)?;
    let others = sessions.into_iter().filter(|session| *session != hello.session);
    let mut found: Vec<_> = others
        .filter_map(|session| match repository.session(hello.volume, session) {
            Ok(Presence::Header(header)) => Some(header),
            // What is damaged is for `verify` to tell.
            Ok(Presence::Nothing) | Err(_) => None,
        })
        .collect();
    found.sort_by_key(|header| Reverse(header.created));
    found.truncate(CANDIDATES_MAX);
    Ok(found)
}

/// The records of a frame, with the content that `read` gives in place of hashes.
fn expand(
    payload: &[u8],
    mut read: impl FnMut(&Extent) -> Result<Option<Vec<u8>>>,
) -> Result<Vec<u8>> {
    // A few bytes stand for many: how many is looked at first.
    let mut len = 0_u64;
    for record in Records::new(payload) {
        let Record { header, payload } = record?;
        let content = if header.is_seeded() { header.extent_len() } else { payload.len() as u64 };
        len = len.saturating_add(RECORD_HEADER_LEN as u64).saturating_add(content);
    }
    if len > FRAME_PAYLOAD_MAX as u64 {
        return Err(FrameError::TooLong(len).into());
    }
    let mut full = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
    for record in Records::new(payload) {
        let Record { header, payload } = record?;
        full.extend_from_slice(&header.unseeded().to_bytes());
        if !header.is_seeded() {
            full.extend_from_slice(payload);
            continue;
        }
        let extent = Extent::new(header.extent_offset(), header.extent_len());
        let content = extent.and_then(|extent| read(&extent).transpose()).transpose();
        full.extend_from_slice(&checked(header.seq(), payload, content)?);
    }
    Ok(full)
}

/// The content, if it has the hash that the record has in its place.
fn checked(seq: Seq, hash: &[u8], content: Result<Option<Vec<u8>>>) -> Result<Vec<u8>> {
    let content = content.map_err(|why| Error::Seed { seq, why: Some(Box::new(why)) })?;
    // T0 (rules.md#t0): the hash is that of what the driver has read.
    let is_it = |content: &Vec<u8>| blake3::hash(content).as_bytes() == hash;
    content.filter(is_it).ok_or(Error::Seed { seq, why: None })
}

#[cfg(test)]
mod tests {
    use snapless_types::{EpochId, RecordKind};
    use snapless_wire::id::FileTime;
    use snapless_wire::record::{Position, RecordHeader};

    use super::*;

    const BLOCK: u64 = 64 << 10;

    fn header(kind: RecordKind, seq: u64, len: u64) -> RecordHeader {
        let (time, epoch) = (FileTime::new(1), EpochId::new(1));
        let position = Position { seq: Seq::new(seq), time, monotonic: 1, epoch };
        RecordHeader::extent(kind, position, (seq - 1) * len, len).unwrap()
    }

    fn full(seq: u64, byte: u8) -> Vec<u8> {
        let header = header(RecordKind::Block, seq, BLOCK);
        [&header.to_bytes()[..], &content(byte)].concat()
    }

    fn content(byte: u8) -> Vec<u8> {
        vec![byte; usize::try_from(BLOCK).unwrap()]
    }

    fn seeded(seq: u64, byte: u8) -> Vec<u8> {
        let header = header(RecordKind::Block, seq, BLOCK).seeded().unwrap();
        [&header.to_bytes()[..], blake3::hash(&content(byte)).as_bytes()].concat()
    }

    #[test]
    fn content_stands_where_a_hash_was_and_nothing_else_changes() {
        let frame = [seeded(1, 7), full(2, 8), seeded(3, 9)].concat();
        let read = |extent: &Extent| {
            let byte = if extent.offset() == 0 { 7 } else { 9 };
            Ok(Some(content(byte)))
        };
        assert!(expand(&frame, read).unwrap() == [full(1, 7), full(2, 8), full(3, 9)].concat());
    }

    #[test]
    fn what_has_another_hash_or_is_not_there_is_not_stored() {
        let refused = |content: Result<Option<Vec<u8>>>| {
            let mut content = Some(content);
            let expanded = expand(&seeded(1, 7), |_| content.take().unwrap());
            assert!(matches!(expanded, Err(Error::Seed { .. })), "{expanded:?}");
        };
        refused(Ok(Some(content(8))));
        refused(Ok(Some(content(7)[1..].to_vec())));
        refused(Ok(None));
        refused(Err(Error::Stopped));
    }

    #[test]
    fn a_frame_that_would_be_too_long_is_refused_before_anything_is_read() {
        let longest = 16 << 20;
        let one = header(RecordKind::Block, 1, longest).seeded().unwrap();
        let frame = [&one.to_bytes()[..], &[0; 32]].concat().repeat(2);
        let expanded = expand(&frame, |_| panic!("nothing is read"));
        assert!(matches!(expanded, Err(Error::Frame(FrameError::TooLong(_)))), "{expanded:?}");
    }
}
