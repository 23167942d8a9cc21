//! Reads a session's stored stream up to its acknowledged end.
//!
//! Readers need no lock: the writer changes only what lies past the acknowledged end.
//!
//! - `segments`: which files the stream consists of; `bytes`: how long it is;
//! - `entries`: visits entries and records in order, by the indices and the segments;
//! - `indices`, `maps`, `kept_state`: what the server keeps beside the stream, so that not all
//!   of it need be read;
//! - `whole`: whether a finished segment has all that was stored in it;
//! - `verified`: what came of comparing it with its volume;
//! - `end`: what the acknowledged end says, and the state of the stream there; `sound`: how far a
//!   damaged one is sound.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use snapless_types::{EpochId, Seq};

use crate::error::{Error, Result};
use crate::format::acknowledged::{ACKNOWLEDGED_FILE, Acknowledged};
use crate::format::history::{Boundary, History};
use crate::format::repository::session_dir;
use crate::format::segment::SegmentNumber;
use crate::format::session::SessionHeader;
use crate::format::slots::SLOTS_FILE_LEN;
use crate::format::state::Checkpoint;
use crate::pin::{Pin, Pins};
use crate::seal::SessionSeal;
use crate::storage::{Objects, Store};
use crate::stream::StreamState;

mod bytes;
pub(crate) mod claims;
mod end;
mod entries;
mod frames;
pub(crate) mod history;
mod index;
mod indices;
mod kept_state;
mod listing;
pub(crate) mod maps;
mod segment;
mod segments;
mod sound;
mod verified;
pub(crate) mod whole;

use claims::Claims;
pub(crate) use end::End;
pub(crate) use entries::Located;
pub use entries::Wanted;
pub(crate) use frames::{EntryEnd, StoredFrame};
pub(crate) use index::IndexReader;
pub(crate) use indices::{Indices, SoundIndex, with_indices};
use listing::Listing;
pub(crate) use segment::SegmentReader;
pub use sound::Survey;

/// A session's stored stream.
#[derive(Clone, Debug)]
pub struct SessionReader {
    store: Store,
    dir: PathBuf,
    header: SessionHeader,
    seal: SessionSeal,
    acknowledged: Acknowledged,
    /// What tells the end of a stream of objects; `None` in a directory.
    claims: Option<Arc<Claims>>,
    /// The files, as they were when it was opened; of a stream of objects nothing.
    listing: Arc<Listing>,
    /// `None` if the session was never folded.
    history: Option<Arc<History>>,
    /// Among objects, bytes of each part of the file of the pages but the last one.
    pages_part: Arc<OnceLock<u64>>,
    /// Keeps what is read from being removed, as long as a clone lives.
    _pin: Option<Arc<Pin>>,
}

impl SessionReader {
    /// Opens a session's stream as it has been acknowledged at this moment.
    pub fn open(store: &Store, header: SessionHeader) -> Result<Self> {
        if let Some(objects) = store.objects() {
            return Self::open_objects(store, objects, header);
        }
        let dir = session_dir(header.volume, header.session);
        let listing = Arc::new(Listing::of(store, &dir)?);
        // First: its boundary is then within the acknowledged end that is read.
        let history = history::newest_of(store, &header, listing.histories())?.map(Arc::new);
        let acknowledged = read_acknowledged(store, &dir, history.as_deref())?;
        Ok(Self::of_files(store, header, acknowledged, (listing, history)))
    }

    fn open_objects(store: &Store, objects: &dyn Objects, header: SessionHeader) -> Result<Self> {
        let dir = session_dir(header.volume, header.session);
        let mut history = history::newest(store, &header)?;
        loop {
            let begin = begin_of(history.as_ref()).0;
            let error = match Claims::read(store, objects, (&dir, header.ids()), begin) {
                Ok(claims) => {
                    return Ok(Self::of_objects(store, header, claims, history.map(Arc::new)));
                }
                Err(error) => error,
            };
            if !error.is_damage() {
                return Err(error);
            }
            // A newer fold may have ended meanwhile, and the claims before its boundary be gone.
            let newest = history::newest(store, &header)?;
            let number = |history: &Option<History>| history.as_ref().map(|it| it.number);
            if number(&newest) == number(&history) {
                return Err(error);
            }
            history = newest;
        }
    }

    fn of_files(
        store: &Store,
        header: SessionHeader,
        acknowledged: Acknowledged,
        (listing, history): (Arc<Listing>, Option<Arc<History>>),
    ) -> Self {
        let dir = session_dir(header.volume, header.session);
        let (store, seal) = (store.clone(), store.seal().of(&header));
        Self {
            store,
            dir,
            header,
            seal,
            acknowledged,
            claims: None,
            listing,
            history,
            pages_part: Arc::default(),
            _pin: None,
        }
    }

    fn of_objects(
        store: &Store,
        header: SessionHeader,
        claims: Claims,
        history: Option<Arc<History>>,
    ) -> Self {
        let (acknowledged, listing) = (claims.end(), Arc::default());
        let of_files = Self::of_files(store, header, acknowledged, (listing, history));
        Self { claims: Some(Arc::new(claims)), ..of_files }
    }

    /// [`Self::open`], for a command that reads for long: nothing of what it reads is removed
    /// meanwhile.
    pub fn open_pinned(store: &Store, header: SessionHeader, command: &str) -> Result<Self> {
        // Before it is read what is the newest: see the rule in `crate::pin`.
        let pin = Pins::of(store, &header).hold(command);
        let store = store.guarded(pin.guard());
        Ok(Self { _pin: Some(Arc::new(pin)), ..Self::open(&store, header)? })
    }

    /// The same stream after a fold that was published since this one was opened; `None` if there
    /// was none. What this one reads may be gone then.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub(crate) fn after_fold(&self) -> Result<Option<Self>> {
        let newest = Self::open(&self.store, self.header)?;
        let number = |it: &Self| it.history().map(|history| history.number);
        Ok((number(&newest) != number(self)).then_some(newest))
    }

    /// The pins of the session.
    pub fn pins(&self) -> Pins {
        Pins::of(&self.store, &self.header)
    }

    /// Opens what is sound of a damaged session. If all its histories are damaged, it is as if
    /// there had been no fold; if the acknowledged end is, as if all up to this segment were
    /// acknowledged.
    ///
    /// # Errors
    /// What keeps files from being read, but for damage.
    pub(crate) fn to_salvage(
        store: &Store,
        header: SessionHeader,
        last: Option<SegmentNumber>,
    ) -> Result<Self> {
        let dir = session_dir(header.volume, header.session);
        if let Some(objects) = store.objects() {
            let history = unless_damaged(history::newest(store, &header))?.flatten().map(Arc::new);
            let begin = begin_of(history.as_deref()).0;
            let claims = Claims::to_salvage(store, objects, (&dir, header.ids()), begin)?;
            return Ok(Self::of_objects(store, header, claims, history));
        }
        let listing = Arc::new(Listing::of(store, &dir)?);
        let history = history::newest_of(store, &header, listing.histories());
        let history = unless_damaged(history)?.flatten().map(Arc::new);
        let everything = Acknowledged {
            generation: 0,
            epoch: EpochId::new(u64::MAX),
            seq: Seq::new(u64::MAX),
            segment: last.unwrap_or(SegmentNumber(0)),
            offset: u64::MAX,
        };
        let end = unless_damaged(read_acknowledged(store, &dir, history.as_deref()))?;
        let acknowledged = end.unwrap_or(everything);
        Ok(Self::of_files(store, header, acknowledged, (listing, history)))
    }

    /// The acknowledged end, if something sound tells it: see [`Self::to_salvage`].
    pub(crate) fn known_end(&self) -> Option<Acknowledged> {
        match self.claims() {
            Some(claims) => claims.known_end(),
            None => Some(self.acknowledged).filter(|end| end.offset < u64::MAX),
        }
    }

    /// What a fold has kept of the time before its boundary; `None` if there was no fold.
    pub fn history(&self) -> Option<&History> {
        self.history.as_deref()
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The session's folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The session.
    pub fn header(&self) -> &SessionHeader {
        &self.header
    }

    /// How its content is kept.
    pub(crate) fn seal(&self) -> &SessionSeal {
        &self.seal
    }

    /// What the claims of a stream of objects tell; `None` in a directory.
    pub(crate) fn claims(&self) -> Option<&Claims> {
        self.claims.as_deref()
    }

    /// The acknowledged end.
    pub fn acknowledged(&self) -> &Acknowledged {
        &self.acknowledged
    }

    /// Where the stream begins, and its state there: at the boundary of the history, or `None` for
    /// the begin of the session.
    ///
    /// # Errors
    /// Damage of the boundary's map, which nothing replaces.
    pub(crate) fn begin(&self) -> Result<Option<(Checkpoint, StreamState)>> {
        Ok(self.boundary_root()?.map(|root| (root.checkpoint, root.state)))
    }

    /// Where in the log the stream begins.
    pub(crate) fn begin_place(&self) -> (SegmentNumber, u64) {
        begin_of(self.history())
    }
}

/// The acknowledged end of a stream in a directory.
///
/// A fold's boundary was acknowledged before the fold was published. If the sound slot is older
/// than that, the damaged one had the boundary or a later end; what came between the two may be
/// gone.
fn read_acknowledged(store: &Store, dir: &Path, history: Option<&History>) -> Result<Acknowledged> {
    let path = dir.join(ACKNOWLEDGED_FILE);
    let bytes = store.read_head(&path, SLOTS_FILE_LEN).map_err(Error::or_gone)?;
    let damaged = |why| Error::damaged(&store.locate(&path), 0, why);
    let newest = Acknowledged::read(&bytes).map_err(damaged)?;
    let boundary = history.map(|history| history.boundary);
    let later = boundary
        .filter(|boundary| boundary.place.seq > newest.seq && newest.check_older(&bytes).is_err());
    Ok(later.map_or(newest, |Boundary { place, segment, offset }| Acknowledged {
        generation: newest.generation,
        epoch: place.epoch,
        seq: place.seq,
        segment,
        offset,
    }))
}

/// `None` for what is damaged.
fn unless_damaged<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(Error::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where in the log the stream begins.
fn begin_of(history: Option<&History>) -> (SegmentNumber, u64) {
    let boundary = history.map(|history| history.boundary);
    boundary.map_or((SegmentNumber::FIRST, 0), |it| (it.segment, it.offset))
}
