//! The floor of free space: a server whose repository's file system has less free space than this
//! takes no more records, as if the disk were slow, and goes on when there is space again.
//!
//! A disk that is full to the last byte refuses whatever comes next: the state, the index, the
//! acknowledged end. Above the floor, what has been taken can always be finished, and the
//! administrator has time.
//!
//! The file system is not asked for each frame: up to [`LOOK_BYTES`] are stored between two looks,
//! so that the floor may be passed by that and by one frame for each session.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use log::{debug, info, warn};
use serde::Serialize;

use crate::error::Result;
use crate::format::floor::{FLOOR_FILE, FLOOR_LEN, FloorHeader};
use crate::repository::Repository;
use crate::storage::{Space, Store};
use crate::time;

/// Between two looks at the free space, so many bytes are stored at most,
const LOOK_BYTES: u64 = 16 << 20;
/// and so much time passes while records come: other programs fill the disk too.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time between two looks below the floor.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// The log tells again that space is missing after this time.
const TELL_AGAIN: Duration = Duration::from_mins(1);

/// How much of a file system stays free: the lower of both bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MinFree {
    /// In bytes.
    bytes: u64,
    /// In hundredths of the file system, at most 100.
    percent: u8,
}

impl MinFree {
    /// All of the disk may be used.
    pub const NONE: Self = Self { bytes: 0, percent: 100 };

    /// The floor of a file system, in bytes.
    pub fn of(self, space: Space) -> u64 {
        let share = u128::from(space.total) * u128::from(self.percent) / 100;
        u64::try_from(share).map_or(self.bytes, |share| share.min(self.bytes))
    }
}

impl Default for MinFree {
    /// 1 GiB, on a disk of less than 20 GiB 5 % of it.
    fn default() -> Self {
        Self { bytes: 1 << 30, percent: 5 }
    }
}

impl fmt::Display for MinFree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = ByteSize(self.bytes).display().iec();
        match (self.bytes, self.percent) {
            (u64::MAX, percent) => write!(f, "{percent}%"),
            (_, 100) => write!(f, "{size}"),
            (_, percent) => write!(f, "{size},{percent}%"),
        }
    }
}

impl FromStr for MinFree {
    type Err = &'static str;

    /// Reads a size ("1GiB"), a share ("5%"), or both, separated by a comma.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANT: &str = "expected a size such as 10GiB, a share such as 5%, or 0 for none";
        let mut floor = Self { bytes: u64::MAX, percent: 100 };
        let (first, second) = match text.split_once(',') {
            Some((first, second)) => (first, Some(second)),
            None => (text, None),
        };
        let (mut sizes, mut shares) = (0, 0);
        for part in [Some(first), second].into_iter().flatten() {
            if let Some(share) = part.trim().strip_suffix('%') {
                floor.percent = share.trim().parse().map_err(|_| WANT)?;
                shares += 1;
            } else {
                floor.bytes = part.trim().parse::<ByteSize>().map_err(|_| WANT)?.as_u64();
                sizes += 1;
            }
        }
        let is_one_of_each = sizes <= 1 && shares <= 1 && floor.percent <= 100;
        if is_one_of_each { Ok(floor) } else { Err(WANT) }
    }
}

/// The floor of a server's repository; clones share what they know.
#[derive(Clone, Debug)]
pub struct Floor(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Store,
    min_free: MinFree,
    /// Protects what was seen and told last.
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    looked: Option<Instant>,
    /// Bytes that were admitted since.
    admitted: u64,
    is_below: bool,
    /// When the log last told that space is missing; none once it told that there is space.
    told: Option<Instant>,
}

impl Floor {
    /// The floor of this storage.
    pub fn new(store: Store, min_free: MinFree) -> Self {
        Self(Arc::new(Shared { store, min_free, seen: Mutex::default() }))
    }

    /// Writes into the repository how much stays free, for [`Shortage::find`].
    ///
    /// Nothing depends on it: a failure is logged.
    pub fn publish(&self) {
        let MinFree { bytes, percent } = self.0.min_free;
        let header = FloorHeader { created: time::now(), bytes, percent };
        let has_space = self.0.store.space().is_ok_and(|space| space.is_some());
        if has_space
            && let Err(error) =
                self.0.store.create_durably(Path::new(FLOOR_FILE), &header.to_bytes())
        {
            warn!("`list` and `stat` cannot tell when the disk is full: {error}");
        }
    }

    /// True if so many bytes may be stored. False as long as there is too little free space: ask
    /// again after [`LOOK_AGAIN`].
    pub fn admits(&self, len: u64) -> bool {
        let mut seen = self.seen();
        let rest = if seen.is_below { LOOK_AGAIN } else { LOOK_EVERY };
        let is_due = seen.looked.is_none_or(|looked| looked.elapsed() >= rest);
        if is_due || seen.admitted.saturating_add(len) > LOOK_BYTES {
            self.0.look(&mut seen);
        }
        if !seen.is_below {
            seen.admitted = seen.admitted.saturating_add(len);
        }
        !seen.is_below
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // What a panic leaves half changed is seen anew by the next look.
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn look(&self, seen: &mut Seen) {
        let shortage = Shortage::of(&self.store, self.min_free).unwrap_or_else(|error| {
            // Whether the disk works, the next write tells.
            debug!("{error}");
            None
        });
        (seen.looked, seen.admitted) = (Some(Instant::now()), 0);
        seen.is_below = shortage.is_some();
        match shortage {
            Some(shortage) if seen.told.is_none_or(|told| told.elapsed() >= TELL_AGAIN) => {
                warn!("{shortage}");
                seen.told = Some(Instant::now());
            }
            None if seen.told.take().is_some() => {
                let place = self.store.locate(Path::new(""));
                info!("{}: there is space again: services are served on", place.display());
            }
            _ => {}
        }
    }
}

/// A repository that takes nothing more, for want of space.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Shortage {
    #[serde(skip)]
    place: PathBuf,
    /// Bytes that are free.
    pub free_bytes: u64,
    /// Bytes that must be.
    pub floor_bytes: u64,
}

impl Shortage {
    /// Looks whether a repository has less free space than its server leaves free. None if no
    /// server told how much that is.
    ///
    /// # Errors
    /// The system does not tell the free space.
    pub fn find(repository: &Repository) -> Result<Option<Self>> {
        let store = repository.store();
        let header = match store.read_head(Path::new(FLOOR_FILE), FLOOR_LEN) {
            Ok(bytes) => FloorHeader::read(&bytes).ok(),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        match header {
            None => Ok(None),
            Some(FloorHeader { bytes, percent, .. }) => Self::of(store, MinFree { bytes, percent }),
        }
    }

    fn of(store: &Store, min_free: MinFree) -> Result<Option<Self>> {
        let Some(space) = store.space()? else { return Ok(None) };
        let (free_bytes, floor_bytes) = (space.free, min_free.of(space));
        let place = store.locate(Path::new(""));
        Ok((free_bytes < floor_bytes).then_some(Self { place, free_bytes, floor_bytes }))
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [free, floor] =
            [self.free_bytes, self.floor_bytes].map(|it| ByteSize(it).display().iec());
        write!(
            f,
            "{}: the disk is full: {free} are free, and `serve --min-free` leaves {floor} free; \
             nothing more is taken from services until there is more: free some space there",
            self.place.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_floor_is_a_size_a_share_or_the_lower_of_both() {
        let of = |text: &str, total| {
            let floor: MinFree = text.parse().unwrap();
            floor.of(Space { free: 0, total })
        };
        assert_eq!(of("1GiB", 10 * GIB), GIB);
        assert_eq!(of("5%", 10 * GIB), GIB / 2);
        assert_eq!(of("1GiB,5%", 10 * GIB), GIB / 2);
        assert_eq!(of(" 1 GiB , 5 % ", 100 * GIB), GIB);
        assert_eq!(of("0", 100 * GIB), 0);
        assert_eq!(of("100%", u64::MAX), u64::MAX);
        assert_eq!("1GiB,5%".parse(), Ok(MinFree::default()));
        assert_eq!("0".parse(), Ok(MinFree::NONE));
        for wrong in ["", "%", "101%", "-1", "5%,5%", "1GiB,2GiB", "1GiB,5%,1", "1 furlong"] {
            assert!(wrong.parse::<MinFree>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_printed_is_read_again() {
        for text in ["1.0 GiB,5%", "1.0 GiB", "5%", "0 B"] {
            let floor: MinFree = text.parse().unwrap();
            assert_eq!(floor.to_string(), text);
        }
        assert_eq!(MinFree::default().to_string(), "1.0 GiB,5%");
    }
}
