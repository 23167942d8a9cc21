//! Lets a machine restore a point of its own volume over the network ([`snapless_wire::fetch`]).
//!
//! The point is opened once, and pinned, so that no fold removes what it needs. Then the machine
//! asks for window after window, in the order of the volume; each is read once, checked against its
//! checksums, compared with the hashes of what the machine has, and sent as far as it differs.
//!
//! Rule: what a machine can make the server do is bounded. A connection goes through the image
//! once; a request before the last one ends it. A server has [`Openings`] for restores of its own,
//! and a machine that asks for nothing gives its place back after [`REQUEST_LIMIT`].
//!
//! Memory of each restore: the map of the point, a window of
//! [`restore::window_bytes`](crate::restore::window_bytes), and one answer, twice.
//!
//! [`Openings`]: crate::openings::Openings

use std::iter;
use std::str::FromStr;
use std::time::{Duration, Instant};

use log::warn;
use snapless_link::LinkError;
use snapless_link::packing::Packer;
use snapless_link::question::{Opened, RefusedKind, Reply};
use snapless_link::server::{Patience, ServerLink};
use snapless_wire::fetch::{FETCH_TILE, Fetch, Fetched, Tile, Window};
use snapless_wire::frame::FrameKind;
use snapless_wire::id::VolumeGuid;

use crate::bytes::{is_zero, to_index};
use crate::error::{Error, Result};
use crate::format::point_key;
use crate::host::Host;
use crate::openings::Opening;
use crate::point::PointReader;
use crate::point_name::PointName;
use crate::questions::{kind_of, session_id};
use crate::restore::{Found, Source, window_bytes};
use crate::stop::StopFlag;
use crate::time;
use crate::timeline::At;

/// How long a machine may ask for nothing.
pub(crate) const REQUEST_LIMIT: Duration = Duration::from_mins(2);
/// What reads, in the pins of sessions.
const COMMAND: &str = "restore";

/// A point that a machine asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) volume: VolumeGuid,
    pub(crate) session: Option<&'a str>,
    pub(crate) at: &'a str,
    pub(crate) is_key: bool,
}

/// A point that is open.
pub(crate) struct Point {
    image: PointReader,
    told: Opened,
    _place: Opening,
}

impl Asked<'_> {
    /// Opens the point.
    ///
    /// # Errors
    /// The reply that says why not.
    pub(crate) fn open(&self, host: &Host, stop: &StopFlag) -> Result<Point, Reply> {
        let Some(place) = host.restores.take() else {
            let why = "as many restores run at this server as it takes: try again later";
            return Err(Reply::refused(RefusedKind::Busy, why));
        };
        let repository = host.repository.repository().clone().pinned_for(COMMAND);
        let no_question = |why: String| Reply::refused(RefusedKind::Question, why);
        let session = self.session.map(session_id).transpose()?;
        let refused = |error: Error| Reply::refused(kind_of(&error), error);
        let source = if self.is_key {
            let key = point_key::parse(self.at);
            let (time, cut) = key.ok_or_else(|| no_question("the key names no point".into()))?;
            Source { volume: self.volume, session, at: At::Exact { time, cut } }
        } else {
            let named = PointName::from_str(self.at).map_err(no_question)?;
            named.source(&repository, self.volume, session).map_err(refused)?
        };
        let found = Found::find(&repository, &source, stop).map_err(refused)?;
        let image = found.open(stop, |_| ()).map_err(refused)?;
        let (header, point, geometry) = (found.header(), found.point(), found.geometry());
        let told = Opened {
            volume: header.volume.to_string(),
            session: header.session.to_string(),
            time: time::to_text(point.time),
            key: point_key::to_text(point.time, point.cut),
            length: geometry.length(),
            sector_size: geometry.sector_size(),
            unreadable_bytes: image.map().unreadable_bytes(),
            gap_since: point.gap_since.map(time::to_text),
        };
        Ok(Point { image, told, _place: place })
    }
}

impl Point {
    /// What the machine is told of it.
    pub(crate) fn told(&self) -> &Opened {
        &self.told
    }

    /// Answers what the machine asks for, until it closes the connection.
    ///
    /// # Errors
    /// Why the connection ends sooner. The machine has been told of damage.
    pub(crate) fn serve(&self, link: &mut ServerLink, stop: &StopFlag) -> Result<()> {
        let mut served = Serving {
            point: self,
            stop,
            start: 0,
            bytes: Vec::new(),
            packer: Packer::new().map_err(Error::Thread)?,
        };
        let (mut reached, mut payload) = (0, Vec::new());
        loop {
            let Some(request) = receive(link, stop, &mut payload)? else { return Ok(()) };
            let window = request.window();
            if window.offset() < reached || window.end() > self.told.length {
                return Err(Error::FetchOrder { offset: window.offset(), reached });
            }
            reached = window.end();
            match served.read(window) {
                Ok(()) => {}
                Err(error) if error.is_damage() => {
                    warn!("{}: {error}", link.peer());
                    let reply = Reply::refused(RefusedKind::Damaged, &error);
                    link.send(FrameKind::Reply, &reply.to_bytes())?;
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
            served.answer(&request, link)?;
        }
    }
}

/// A connection's pass through an image.
struct Serving<'a> {
    point: &'a Point,
    stop: &'a StopFlag,
    /// Where in the image the bytes begin that were read last.
    start: u64,
    bytes: Vec<u8>,
    packer: Packer,
}

impl Serving<'_> {
    /// Reads on, if a window was not read yet.
    fn read(&mut self, window: Window) -> Result<()> {
        if window.offset() >= self.start && window.end() <= self.start + self.bytes.len() as u64 {
            return Ok(());
        }
        let (image, length) = (&self.point.image, self.point.told.length);
        let size = window_bytes(image);
        let end = window.offset().saturating_add(size).min(length).max(window.end());
        self.start = window.offset();
        self.bytes.clear();
        self.bytes.resize(to_index(end - self.start), 0);
        // The disk has the next part before it while this one is read and sent.
        image.will_read(end..end.saturating_add(size).min(length))?;
        let stored = image.read_stored(self.start, &mut self.bytes, self.stop);
        let stored = stored.inspect_err(|_| self.bytes.clear())?;
        // What is not stored is zeros, and the buffer has anything there.
        let mut at = self.start;
        for part in stored.into_iter().chain(iter::once(end..end)) {
            self.bytes[to_index(at - self.start)..to_index(part.start - self.start)].fill(0);
            at = part.end;
        }
        Ok(())
    }

    /// Sends of a window that was read what the machine lacks.
    fn answer(&mut self, request: &Fetch, link: &mut ServerLink) -> Result<()> {
        let window = request.window();
        let bytes = &self.bytes[to_index(window.offset() - self.start)..][..to_index(window.len())];
        let tile = |(index, tile)| match request.hash(index) {
            Some(hash) if blake3::hash(tile).as_bytes() == hash => Tile::Same,
            _ if is_zero(tile) => Tile::Zeros,
            _ => Tile::Bytes(tile),
        };
        let tiles = bytes.chunks(to_index(FETCH_TILE)).enumerate().map(tile).collect();
        let answer = Fetched::new(window, tiles).map_err(LinkError::from)?.to_bytes();
        match self.packer.pack_as(FrameKind::Fetched, &answer) {
            Some(packed) => link.send(FrameKind::Packed, packed)?,
            None => link.send(FrameKind::Fetched, &answer)?,
        }
        Ok(())
    }
}

/// The next request; `None` if the machine has what it wants.
fn receive(link: &mut ServerLink, stop: &StopFlag, payload: &mut Vec<u8>) -> Result<Option<Fetch>> {
    let begun = Instant::now();
    let is_late = || begun.elapsed() >= REQUEST_LIMIT;
    match link.receive(Patience::Idle, &|| stop.is_set() || is_late(), payload) {
        Ok(frame) if frame.kind() == FrameKind::Fetch => {
            Ok(Some(Fetch::read(payload).map_err(LinkError::from)?))
        }
        Ok(frame) => Err(LinkError::OutOfPlace(frame.kind()).into()),
        Err(LinkError::Closed) => Ok(None),
        Err(LinkError::Cancelled) if stop.is_set() => Err(Error::Stopped),
        Err(LinkError::Cancelled) => Err(LinkError::Silent(REQUEST_LIMIT).into()),
        Err(error) => Err(error.into()),
    }
}
