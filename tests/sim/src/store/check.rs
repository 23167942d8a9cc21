//! What must hold of a store that nothing has damaged: everything acknowledged is there, and each
//! acknowledged instant restores to exactly what the volume held.

use snapless_server::error::Error;
use snapless_server::list::{self, list};
use snapless_server::point::PointReader;
use snapless_server::reader::{SessionReader, Wanted};
use snapless_server::repository::{Presence, Repository};
use snapless_server::restore::{Found, Source};
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;
use snapless_server::verify::verify;

use super::model::{Instant, LENGTH, Model, VOLUME};
use super::site::Site;
use super::world::go_back;

/// Which points are restored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Points {
    /// The first and the last one.
    Ends,
    /// Every one that the model knows.
    All,
}

/// Checks all sessions as any program finds them, whether a server runs or not. The models learn
/// what is there.
///
/// # Errors
/// What is not as it must be.
pub fn sessions(site: &Site, models: &mut [Model], asked: Points) -> Result<u64, String> {
    let repository = match site.open() {
        Ok(repository) => repository,
        Err(Error::NotARepository(_)) => {
            return models.iter_mut().try_for_each(|model| go_back(model, 0, 0)).map(|()| 0);
        }
        Err(error) => return Err(format!("the repository is gone: {error}")),
    };
    let mut points = 0;
    for model in models {
        points += session(&repository, model, asked)?;
    }
    Ok(points)
}

/// Checks that `verify` and `list` find nothing wrong, once a server has opened the sessions.
///
/// # Errors
/// What they name.
pub fn reports(site: &Site) -> Result<(), String> {
    let stop = StopFlag::default();
    let repository = site.open().map_err(|error| error.to_string())?;
    let verified = verify(&repository, &stop, |_| ()).map_err(|error| error.to_string())?;
    if let Some(found) = verified.damage.first() {
        let (file, why) = (found.file.display(), &found.error);
        return Err(format!("verify finds damage where there is none: {file}: {why}"));
    }
    for volume in list(&repository, &stop).map_err(|error| error.to_string())? {
        for session in &volume.sessions {
            if let list::Content::Damaged { error, .. } = &session.content {
                return Err(format!("list finds damage where there is none: {error}"));
            }
        }
    }
    Ok(())
}

fn session(repository: &Repository, model: &mut Model, asked: Points) -> Result<u64, String> {
    let header = *model.header();
    let failed = |error: Error| format!("session {}: {error}", header.session);
    match repository.session(VOLUME, header.session).map_err(failed)? {
        Presence::Header(found) if found == header => {}
        Presence::Header(found) => return Err(format!("{found:?} was {header:?}")),
        Presence::Nothing => return go_back(model, 0, 0).map(|()| 0),
    }
    let reader = SessionReader::open(repository.store(), header).map_err(failed)?;
    let end = reader.acknowledged();
    let epochs = usize::try_from(end.epoch.get()).unwrap_or(usize::MAX);
    let (acknowledged, sent) = model.counts();
    if epochs < acknowledged || epochs > sent || model.seq_of(epochs) != end.seq.get() {
        return Err(format!("of {acknowledged} acknowledged and {sent} epochs, {end:?} is there"));
    }
    records(&reader, model, epochs)
        .map_err(|error| format!("session {}: {error}", header.session))?;
    points(repository, model, epochs, asked)
}

/// The records are those that were sent, byte for byte.
fn records(reader: &SessionReader, model: &Model, epochs: usize) -> Result<(), String> {
    let mut sent = model.records_of(epochs);
    if let Some(history) = reader.history() {
        let boundary = history.boundary.place.seq.get();
        let before = model.records_before(boundary);
        let before = before.ok_or_else(|| format!("no fold has its boundary at {boundary}"))?;
        sent.by_ref().take(before).for_each(drop);
    }
    let mut wrong = None;
    let visited = reader.replay(&StopFlag::default(), |record, _| {
        let bytes = [&record.header.to_bytes()[..], record.payload].concat();
        if sent.next() == Some(&bytes[..]) {
            return Ok(Wanted::More);
        }
        wrong = Some(record.header.seq());
        Ok(Wanted::Enough)
    });
    visited.map_err(|error| format!("the stream is not sound: {error}"))?;
    match (wrong, sent.len()) {
        (Some(seq), _) => Err(format!("record {seq} is not the one that was sent")),
        (None, 0) => Ok(()),
        (None, left) => Err(format!("{left} acknowledged records are gone")),
    }
}

/// Every point restores to what the volume held, and what was no point is none.
fn points(
    repository: &Repository,
    model: &Model,
    epochs: usize,
    asked: Points,
) -> Result<u64, String> {
    let t0 = model.t0();
    let t0 = model.is_whole(epochs).then_some(&t0[..]);
    let mut points = point(repository, model, At::T0, t0, model.t0_is_kept())?;
    points += point(repository, model, At::Latest, model.latest(epochs), true)?;
    if asked == Points::Ends {
        return Ok(points);
    }
    for at in model.instants(epochs) {
        points += instant(repository, model, &at)?;
    }
    Ok(points)
}

/// One that is not firm may be there or not.
fn point(
    repository: &Repository,
    model: &Model,
    at: At,
    want: Option<&[u8]>,
    is_firm: bool,
) -> Result<u64, String> {
    match (image(repository, model, at), want) {
        (Ok(found), Some(want)) if found == want => Ok(1),
        (Ok(found), Some(want)) => Err(other_bytes(at, &found, want)),
        (Ok(_), None) => Err(format!("{at:?} restores, and is no point")),
        (Err(Error::NotRestorable { .. }), None) => Ok(0),
        (Err(Error::NotRestorable { .. }), Some(_)) if !is_firm => Ok(0),
        (Err(error), _) => Err(format!("{at:?} does not restore: {error}")),
    }
}

/// One that is not firm may be there or not.
fn instant(repository: &Repository, model: &Model, instant: &Instant) -> Result<u64, String> {
    let at = At::Time(instant.time);
    match image(repository, model, at) {
        Ok(found) if instant.may_be(&found) => Ok(1),
        Ok(found) => Err(other_bytes(at, &found, &instant.image)),
        Err(Error::NotRestorable { .. }) if !instant.is_firm() => Ok(0),
        Err(error) => Err(format!("{at:?} does not restore: {error}")),
    }
}

fn other_bytes(at: At, found: &[u8], want: &[u8]) -> String {
    let byte = found.iter().zip(want).position(|(found, want)| found != want);
    format!("{at:?} restores to other bytes, from byte {byte:?} on")
}

/// The image of a point.
///
/// # Errors
/// Those of the server.
pub fn image(repository: &Repository, model: &Model, at: At) -> Result<Vec<u8>, Error> {
    let stop = StopFlag::default();
    let source = Source { volume: VOLUME, session: Some(model.header().session), at };
    let found = Found::find(repository, &source, &stop)?;
    let point: PointReader = found.open(&stop, |_| ())?;
    let mut image = vec![0; LENGTH];
    point.read(0, &mut image)?;
    Ok(image)
}
