//! Leases: who holds something among objects, which have no locks.
//!
//! A lease on `NAME` is an object `NAME.00000001`. Its holder renews it by creating the next number
//! and removing the one before. It is *live* for a term after its newest object was stored, by the
//! store's clock: who looks at leases creates an object just then and compares the two. So it makes
//! no difference what the clocks of the holder and of the one who looks show.
//!
//! The holder ends before that. He counts the term from *before* he sent the request, by a clock
//! that is never set, less a margin; and when an object was stored a term or more after the one
//! before it, the lease had lapsed meanwhile, however long he believes that took. A lease that has
//! lapsed is never live again for its holder: [`Held::check`] fails from then on.
//!
//! Objects are created and removed, never replaced. A removal that is refused leaves a lease that
//! lapses.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use snapless_wire::id::FileTime;

use super::{Held, Objects, Put, Store, Terms};
use crate::error::{Error, Result};
use crate::format::claim::WriterId;
use crate::format::pin::PINS_DIR;
use crate::stop::StopFlag;

/// The longest wait for the objects of a lease to be removed when it is given back.
const LEAVE: Duration = Duration::from_secs(10);

/// Objects that a thread of its own renews a lease in.
pub type SharedObjects = Arc<dyn Objects + Send + Sync>;

/// The objects of one lease, one after the other, without a clock or a thread: what a holder does.
#[derive(Debug)]
pub struct Chain {
    path: PathBuf,
    id: WriterId,
    number: u64,
    stored_at: FileTime,
}

impl Chain {
    /// Creates the first object of a lease.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if there is a lease of this name: take another one.
    pub fn begin(objects: &dyn Objects, path: &Path) -> io::Result<Self> {
        let id = WriterId::random();
        let mut chain = Self { path: path.to_owned(), id, number: 1, stored_at: FileTime::new(0) };
        chain.stored_at = chain.create(objects, 1)?;
        Ok(chain)
    }

    /// Renews the lease; false if it had lapsed by then.
    ///
    /// # Errors
    /// What keeps the next object from being created: it may be tried again.
    pub fn renew(&mut self, objects: &dyn Objects, term: Duration) -> io::Result<bool> {
        let next = self.number + 1;
        let stored_at = self.create(objects, next)?;
        let is_live = since(self.stored_at, stored_at) < term;
        let before = self.object(self.number);
        (self.number, self.stored_at) = (next, stored_at);
        // What stays is older than the newest one, and counts for nothing.
        drop(objects.remove_all(&[before]));
        Ok(is_live)
    }

    /// Gives the lease back, as far as objects can be removed.
    pub fn end(self, objects: &dyn Objects) {
        // The next one may be there, if its creation has failed.
        let all = [self.number, self.number + 1].map(|number| self.object(number));
        if let Err(error) = objects.remove_all(&all) {
            log::warn!("the lease {} stays until it lapses: {error}", self.path.display());
        }
    }

    fn create(&self, objects: &dyn Objects, number: u64) -> io::Result<FileTime> {
        let path = self.object(number);
        objects.put(&path, self.id.0.to_vec(), Put::Create)?;
        objects.stored_at(&path)
    }

    fn object(&self, number: u64) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number:08}"));
        name.into()
    }
}

/// A lease that a thread renews; dropping it gives it back.
#[derive(Debug)]
pub struct Lease {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: PathBuf,
    terms: Terms,
    /// Protects until when the lease is held, and whether it is to end.
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// By [`monotonic`].
    held_until: Duration,
    is_lost: bool,
    is_closed: bool,
    is_ended: bool,
}

impl Lease {
    /// Takes a lease.
    ///
    /// # Errors
    /// As for [`Chain::begin`]; the system's, if no thread can be started.
    pub fn begin(objects: SharedObjects, path: &Path) -> io::Result<Self> {
        let (terms, began) = (objects.terms(), monotonic());
        let chain = Chain::begin(&*objects, path)?;
        let held_until = began + terms.term.saturating_sub(terms.margin);
        let state = State { held_until, is_lost: false, is_closed: false, is_ended: false };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        let shared = Arc::new(Shared { name: path.to_owned(), terms, state, changed });
        let renewed = Arc::clone(&shared);
        let thread = thread::Builder::new().name("lease".to_owned());
        // It ends when the lease is dropped.
        drop(thread.spawn(move || renewed.keep(&*objects, chain))?);
        Ok(Self { shared })
    }
}

impl Held for Lease {
    fn check(&self) -> io::Result<()> {
        let mut state = self.shared.state();
        state.is_lost |= monotonic() >= state.held_until;
        if !state.is_lost {
            return Ok(());
        }
        let name = self.shared.name.display();
        Err(io::Error::other(format!(
            "the lease {name} was not renewed in time, and what it holds may be removed: look at \
             the connection to the store, and begin again"
        )))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.is_closed = true;
        self.shared.changed.notify_all();
        // Not for a store that does not answer: the lease lapses then.
        let ended = self.shared.changed.wait_timeout_while(state, LEAVE, |state| !state.is_ended);
        drop(ended);
    }
}

impl Shared {
    /// Renews the lease until it is closed or lost.
    fn keep(&self, objects: &dyn Objects, mut chain: Chain) {
        let Terms { term, renew, margin, .. } = self.terms;
        let mut pause = renew;
        // When the creation of the next object was tried first: it may have been stored then.
        let mut tried = None;
        loop {
            let state = self.state();
            let waited = self.changed.wait_timeout_while(state, pause, |state| !state.is_closed);
            let state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.is_closed || state.is_lost {
                break;
            }
            drop(state);
            let began = *tried.get_or_insert_with(monotonic);
            let renewed = chain.renew(objects, term);
            let mut state = self.state();
            match renewed {
                Ok(true) => {
                    state.held_until = began + term.saturating_sub(margin);
                    (tried, pause) = (None, renew);
                }
                Ok(false) => state.is_lost = true,
                Err(error) => {
                    log::warn!("the lease {} is not renewed yet: {error}", self.name.display());
                    pause = renew / 4;
                }
            }
        }
        chain.end(objects);
        self.state().is_ended = true;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No change is left half made by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The names in a directory that are wanted, begin with `beginning`, and are leased. Those of which
/// the lease has lapsed are removed, as far as that is possible.
///
/// # Errors
/// What keeps that from being known.
pub fn held(
    objects: &dyn Objects,
    dir: &Path,
    beginning: &str,
    wanted: &dyn Fn(&str) -> bool,
) -> io::Result<Vec<String>> {
    if newest(&objects.list_stored_at(dir, beginning)?, wanted).is_empty() {
        return Ok(Vec::new());
    }
    // Nothing that is there tells the time: the clock may have been set back since.
    let (now, term) = (clock(objects)?, objects.terms().term);
    let is_live = |stored_at: FileTime| since(stored_at, now) < term;
    // After the clock was read: what was renewed before that is seen.
    let listed = objects.list_stored_at(dir, beginning)?;
    remove_lapsed(objects, dir, &listed, |stored_at| !is_live(stored_at));
    let live = newest(&listed, wanted).into_iter().filter(|(_, at)| is_live(*at));
    Ok(live.map(|(name, _)| name.to_owned()).collect())
}

impl Store {
    /// Among objects, waits until an object has been there for the grace of [`Terms`]: readers that
    /// began before it, and hold nothing, have ended then.
    ///
    /// # Errors
    /// [`Error::Stopped`], or what keeps the store's clock from being known.
    pub(crate) fn wait_grace(&self, since: &Path, stop: &StopFlag) -> Result<()> {
        let Some(objects) = self.objects() else { return Ok(()) };
        let left = grace_left(objects, since).map_err(self.failed("look at", since))?;
        if stop.wait(left) { Err(Error::Stopped) } else { Ok(()) }
    }
}

/// How long what an object has replaced must still stay for readers that hold nothing.
///
/// # Errors
/// What keeps that from being known.
pub fn grace_left(objects: &dyn Objects, since_object: &Path) -> io::Result<Duration> {
    let grace = objects.terms().grace;
    if grace.is_zero() {
        return Ok(grace);
    }
    let stored_at = objects.stored_at(since_object)?;
    Ok(grace.saturating_sub(since(stored_at, clock(objects)?)))
}

/// The time by the store's clock: when an object is stored that is created now.
///
/// # Errors
/// What keeps that from being known.
pub fn clock(objects: &dyn Objects) -> io::Result<FileTime> {
    let id = WriterId::random();
    let path = Path::new(PINS_DIR).join(format!("{CLOCK}{id}"));
    objects.put(&path, id.0.to_vec(), Put::Create)?;
    let now = objects.stored_at(&path);
    // One that stays is removed by a later look.
    drop(objects.remove_all(&[path]));
    now
}

/// What the names of objects begin with that were created to read the store's clock.
const CLOCK: &str = "clock-";

/// The leases in a list, each with the time when its newest object was stored.
fn newest<'a>(
    listed: &'a [(String, FileTime)],
    wanted: &dyn Fn(&str) -> bool,
) -> BTreeMap<&'a str, FileTime> {
    let mut found = BTreeMap::new();
    for (name, stored_at) in listed {
        let Some(name) = lease_of(name).filter(|name| wanted(name)) else { continue };
        let newest = found.entry(name).or_insert(*stored_at);
        *newest = (*newest).max(*stored_at);
    }
    found
}

/// Removes leases that have lapsed, and clocks. One that its holder renews just now was lost to
/// him, and is again: its next number stays, and lapses.
fn remove_lapsed(
    objects: &dyn Objects,
    dir: &Path,
    listed: &[(String, FileTime)],
    has_lapsed: impl Fn(FileTime) -> bool,
) {
    let leases = newest(listed, &|_| true);
    let is_lapsed = |name: &str, stored_at: FileTime| match lease_of(name) {
        Some(lease) => leases.get(lease).is_some_and(|newest| has_lapsed(*newest)),
        None => name.starts_with(CLOCK) && has_lapsed(stored_at),
    };
    let lapsed = listed.iter().filter(|(name, stored_at)| is_lapsed(name, *stored_at));
    let lapsed: Vec<_> = lapsed.map(|(name, _)| dir.join(name)).collect();
    if !lapsed.is_empty()
        && let Err(error) = objects.remove_all(&lapsed)
    {
        log::warn!("leases that have lapsed stay in {}: {error}", dir.display());
    }
}

/// The name that is leased by an object of this name; `None` for an object that is no lease.
pub fn lease_of(object: &str) -> Option<&str> {
    let (name, number) = object.rsplit_once('.')?;
    let is_number = number.len() >= 8 && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !name.is_empty()).then_some(name)
}

/// The time from one instant of the store's clock to another; zero if that is earlier.
fn since(from: FileTime, to: FileTime) -> Duration {
    let ticks = to.get().saturating_sub(from.get());
    Duration::from_nanos(ticks.saturating_mul(100))
}

/// A clock that is never set. Where the system has one, it goes on while the machine sleeps.
#[cfg(target_os = "linux")]
fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

#[cfg(not(target_os = "linux"))]
fn monotonic() -> Duration {
    use std::sync::OnceLock;
    use std::time::Instant;
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    BEGIN.get_or_init(Instant::now).elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbered_objects_are_leases() {
        assert_eq!(lease_of("a.b.slpin.00000001"), Some("a.b.slpin"));
        assert_eq!(lease_of("a.slpin.123456789"), Some("a.slpin"));
        for other in ["a.slpin", "a.slpin.0000001", "a.slpin.0000000x", ".00000001", "clock-00"] {
            assert_eq!(lease_of(other), None, "{other}");
        }
    }
}
