//! The course of a restore: the point is opened, its content fetched as far as the disk lacks it,
//! and the disk compared with the point.
//!
//! A link that is cut is no end: the same point is opened again, and the restore goes on behind the
//! last window that has come. A restore that is begun anew finds the windows that it has written
//! before to be the same.

use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use snapless_link::LinkError;
use snapless_link::client::{Link, LinkLimits};
use snapless_link::question::{Opened, Question, RefusedKind, Reply};
use snapless_wire::fetch::Tile;
use snapless_wire::frame::FrameError;
use snapless_wire::id::{SessionId, VolumeGuid};
use snapless_wire::record::RECORD_GRANULE;

use crate::disk::Disk;
use crate::error::RestoreError;
use crate::guarded::Guarded;
use crate::pass::{Each, Part, Pass, Reached, Read};

/// Bytes of a sector: those that volumes have.
const SECTOR_SIZES: std::ops::RangeInclusive<u32> = 512..=65_536;
/// The longest volume: offsets of Windows are positive.
const LENGTH_MAX: u64 = i64::MAX as u64;
/// The longest pause before the next try to reach the server.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// How often a pause looks whether the restore is given up.
const PAUSE_STEP: Duration = Duration::from_millis(50);

/// Which point is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// The volume.
    pub volume: VolumeGuid,
    /// The session; if `None`, the newest that has the point.
    pub session: Option<SessionId>,
    /// The point: `t0`, `latest`, a time, how long ago, or a bookmark.
    pub at: String,
}

/// How it is restored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// All is sent, and what the disk has is not read.
    pub whole: bool,
    /// The disk is compared with the point at the end.
    pub compare: bool,
    /// How long the server is tried to be reached after a cut.
    pub patience: Duration,
    /// The pause before the first try after a cut; later ones are longer.
    pub pause: Duration,
    /// How long the parts of a conversation may take.
    pub limits: LinkLimits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            whole: false,
            compare: true,
            patience: Duration::from_mins(10),
            pause: Duration::from_secs(1),
            limits: LinkLimits::default(),
        }
    }
}

/// What is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Content comes and is written.
    Restoring,
    /// The disk is compared with the point.
    Comparing,
    /// The link was cut.
    Reconnecting,
}

/// How far a restore is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// What is under way.
    pub stage: Stage,
    /// Bytes of the image that are done.
    pub done: u64,
    /// Bytes of the image.
    pub total: u64,
    /// Bytes that came over the link.
    pub received: u64,
}

/// What a restore has done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The volume's name at the server.
    pub volume: String,
    /// The session.
    pub session: String,
    /// The instant, RFC 3339.
    pub time: String,
    /// The target.
    pub target: String,
    /// Bytes of the image.
    pub bytes: u64,
    /// Bytes of the volume's sectors.
    pub sector_size: u32,
    /// Bytes of the image that the target had already.
    pub same_bytes: u64,
    /// Bytes of the image that the server sent.
    pub fetched_bytes: u64,
    /// Bytes that came over the link, as far as it is compressed.
    pub received_bytes: u64,
    /// Bytes that were written.
    pub written_bytes: u64,
    /// Bytes that the volume's disk could not read: zeros.
    pub unreadable_bytes: u64,
    /// The target was compared with the point at the end.
    pub compared: bool,
    /// How often the link was made anew.
    pub reconnects: u32,
    /// Begin of the gap that has not ended, if the point is the last one before it.
    pub gap_since: Option<String>,
}

/// Restores a point to the disk that `open` opens for it. `connect` connects to the server; true of
/// `cancelled` ends the restore soon.
///
/// # Errors
/// [`RestoreError`]. Unless nothing was written, or all of it, the disk says that it is half
/// restored.
pub fn restore<D: Disk>(
    connect: &dyn Fn() -> Result<Link, LinkError>,
    wanted: &Wanted,
    open: impl FnOnce(&Opened) -> Result<D, RestoreError>,
    options: &Options,
    cancelled: &(dyn Fn() -> bool + Sync),
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, RestoreError> {
    let server = Server { connect, options, cancelled };
    let Wanted { volume, session, at } = wanted;
    let question = Question::Restore {
        volume: volume.to_string(),
        session: session.map(|session| session.to_string()),
        at: at.clone(),
        is_key: false,
    };
    let (link, opened) = server.open(&question)?;
    check(&opened)?;
    let disk = open(&opened)?;
    let guarded = Guarded::new(&disk, opened.length);
    let again = Question::Restore {
        volume: volume.to_string(),
        session: Some(opened.session.clone()),
        at: opened.key.clone(),
        is_key: true,
    };
    let mut run = Run { server, again, opened: &opened, reconnects: 0, progress };
    let failed = |error| RestoreError::disk("write", disk.name())(error);
    let (mut same_bytes, mut fetched_bytes) = (0, 0);
    let read = |offset: u64, bytes: &mut [u8]| guarded.read(offset, bytes);
    let reads = !options.whole && !disk.is_blank();
    let mut write = |Part { offset, len, tile, .. }: Part<'_>| {
        let done = match tile {
            Tile::Same => {
                same_bytes += len;
                Ok(())
            }
            Tile::Zeros => guarded.zero(offset, len),
            Tile::Bytes(bytes) => {
                fetched_bytes += len;
                guarded.write(offset, bytes)
            }
        };
        done.map_err(failed)
    };
    let known: Option<Read<'_>> = if reads { Some(&read) } else { None };
    let mut carried = run.through(Stage::Restoring, Some(link), known, &mut write)?;
    disk.cut().map_err(failed)?;
    guarded.finish().map_err(failed)?;
    // A target that was not written to was compared just now.
    if options.compare && guarded.written() > 0 {
        let read = |offset: u64, bytes: &mut [u8]| disk.read(offset, bytes);
        let (mut bytes, mut first) = (0, None);
        carried += run.through(Stage::Comparing, None, Some(&read), &mut |part| {
            if part.tile != Tile::Same {
                bytes += part.len;
                first.get_or_insert(part.offset);
            }
            Ok(())
        })?;
        if let Some(first) = first {
            // A disk that loses what is written may lose this, too.
            drop(guarded.spoil());
            return Err(RestoreError::Differs { bytes, first });
        }
    }
    let reconnects = run.reconnects;
    Ok(Report {
        volume: opened.volume,
        session: opened.session,
        time: opened.time,
        target: disk.name().to_owned(),
        bytes: opened.length,
        sector_size: opened.sector_size,
        same_bytes,
        fetched_bytes,
        received_bytes: carried,
        written_bytes: guarded.written(),
        unreadable_bytes: opened.unreadable_bytes,
        compared: options.compare,
        reconnects,
        gap_since: opened.gap_since,
    })
}

/// What the server says of a point must be a volume's.
fn check(opened: &Opened) -> Result<(), RestoreError> {
    let &Opened { length, sector_size, .. } = opened;
    let is_size = sector_size.is_power_of_two() && SECTOR_SIZES.contains(&sector_size);
    if !is_size {
        return Err(RestoreError::Answer("its sectors are of an impossible size"));
    }
    let is_length = (1..=LENGTH_MAX).contains(&length)
        && length.is_multiple_of(sector_size.into())
        && length.is_multiple_of(RECORD_GRANULE);
    is_length.then_some(()).ok_or(RestoreError::Answer("its length is not one of whole sectors"))
}

/// The server, as it is reached.
struct Server<'a> {
    connect: &'a dyn Fn() -> Result<Link, LinkError>,
    options: &'a Options,
    cancelled: &'a (dyn Fn() -> bool + Sync),
}

impl Server<'_> {
    /// Has a point opened.
    fn open(&self, question: &Question) -> Result<(Link, Opened), RestoreError> {
        let mut link = (self.connect)()?;
        let reply = link.ask(question, &self.options.limits, &self.cancelled);
        match reply.map_err(unknown)? {
            Reply::Opened(opened) => Ok((link, *opened)),
            // It knows questions, and not this one.
            Reply::Refused(refused)
                if refused.kind == RefusedKind::Question
                    && refused.text.contains("unknown variant") =>
            {
                Err(RestoreError::Older)
            }
            Reply::Refused(refused) => Err(RestoreError::Refused(refused)),
            _ => Err(LinkError::Frame(FrameError::Payload("Reply")).into()),
        }
    }
}

/// A server of a release without questions says that it does not know the frame.
fn unknown(error: LinkError) -> RestoreError {
    if error.knows_no_questions() { RestoreError::Older } else { error.into() }
}

/// A restore under way.
struct Run<'a> {
    server: Server<'a>,
    /// Opens the same point again.
    again: Question,
    opened: &'a Opened,
    reconnects: u32,
    progress: &'a mut dyn FnMut(Progress),
}

impl Run<'_> {
    /// Goes through the image once, over as many links as it takes; returns the bytes that they
    /// have carried.
    fn through(
        &mut self,
        stage: Stage,
        mut link: Option<Link>,
        read: Option<Read<'_>>,
        each: &mut Each<'_>,
    ) -> Result<u64, RestoreError> {
        let options = self.server.options;
        let (limits, cancelled, total) =
            (&options.limits, self.server.cancelled, self.opened.length);
        let pass = Pass { length: total, read, limits, cancelled };
        let mut reached = Reached::default();
        let (mut cut, mut pause) = (Instant::now(), options.pause);
        loop {
            let before = reached.done;
            let opened = match link.take() {
                Some(link) => Ok(link),
                None => self.reopen(),
            };
            let progress = &mut *self.progress;
            let passed = opened.and_then(|link| {
                pass.run(link, &mut reached, &mut |part| {
                    let Reached { done, carried } = part.reached;
                    // Once a window.
                    if part.offset == done {
                        progress(Progress { stage, done, total, received: carried });
                    }
                    each(part)
                })
            });
            let Reached { done, carried } = reached;
            match passed {
                Ok(()) => {
                    (self.progress)(Progress { stage, done, total, received: carried });
                    return Ok(carried);
                }
                Err(error) if !error.is_passing() => return Err(error),
                Err(error) => {
                    if done > before {
                        (cut, pause) = (Instant::now(), options.pause);
                    }
                    if cut.elapsed() >= options.patience {
                        return Err(error);
                    }
                    let stage = Stage::Reconnecting;
                    (self.progress)(Progress { stage, done, total, received: carried });
                    self.wait(pause)?;
                    self.reconnects += 1;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Opens the same point over a new link.
    fn reopen(&mut self) -> Result<Link, RestoreError> {
        let (link, opened) = self.server.open(&self.again)?;
        let identity =
            |it: &Opened| (it.session.clone(), it.key.clone(), it.length, it.sector_size);
        if identity(&opened) != identity(self.opened) {
            return Err(RestoreError::OtherPoint);
        }
        Ok(link)
    }

    fn wait(&self, pause: Duration) -> Result<(), RestoreError> {
        let begun = Instant::now();
        while begun.elapsed() < pause {
            if (self.server.cancelled)() {
                return Err(LinkError::Cancelled.into());
            }
            thread::sleep(PAUSE_STEP.min(pause));
        }
        Ok(())
    }
}
