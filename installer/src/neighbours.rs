//! Where the driver stands among the upper filters of the volume class.
//!
//! The list begins with the lowest filter. The file system's writes pass through it from the top
//! down; a filter sees what those above it let through, and nothing of what those below it write of
//! their own accord.
//!
//! Rule: the driver stands at the top, so that it sees a write when the file system makes it and as
//! the file system wrote it; but below a filter that is known to write by itself, whose writes
//! would pass it by. Filters that are not known stay where they are, above or below.
//!
//! What is known, with its source:
//!
//! - The stack of a volume from the top: upper filters, `volsnap`, `volume`, `fvevol`, `iorate`,
//!   `rdyboost`, `volmgr`. On a Windows without other software `volsnap` is the only upper filter
//!   of the class; `fvevol`, `iorate` and `rdyboost` are its lower filters, in the value
//!   `LowerFilters` (devedse/QueueCache, `docs/VOLUME_FILTER.md`). Flushes and holds of `volsnap`
//!   pass through a filter above it.
//! - `snapman`: takes snapshots for Acronis products, an upper filter between file system and
//!   volume (kb.acronis.com/content/1512). It saves old content before it lets a write through.
//! - `qcachelab`: a write-back cache of volumes that holds writes in memory (devedse/QueueCache,
//!   `docs/VOLUME_FILTER.md`; its installer makes it the last entry).
//! - `bsrvflt`: a replicator whose secondary sends its peer's writes to the device below it
//!   (mantechnology/bsr, `bsr/bsr-kernel-compat/windows/bsr_windows.c`, `IoCallDriver` to
//!   `TargetDeviceObject`; registered by `bsr-platform/windows/bsrvflt/bsrvflt.inf`).
//! - `veracrypt`: lets requests pass unchanged, or refuses writes (veracrypt/VeraCrypt,
//!   `src/Driver/VolumeFilter.c`).

use crate::filter_list::FilterList;
use crate::names::DRIVER;

/// Where a known filter belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// Below the driver.
    Below,
    /// Above the driver.
    Above,
}

/// A filter that is known, and why its place matters.
struct Neighbour {
    name: &'static str,
    what: &'static str,
    place: Place,
    /// What is wrong if it is on the other side.
    otherwise: &'static str,
}

const KNOWN: [Neighbour; 7] = [
    Neighbour {
        name: "volsnap",
        what: "Windows' shadow copies",
        place: Place::Below,
        otherwise: "its flushes and holds do not reach the driver, and its own writes do",
    },
    Neighbour {
        name: "fvevol",
        what: "BitLocker",
        place: Place::Below,
        otherwise: "the copy would have encrypted content",
    },
    Neighbour {
        name: "iorate",
        what: "Windows' I/O rate control",
        place: Place::Below,
        otherwise: "the driver's own reads are not counted",
    },
    Neighbour {
        name: "rdyboost",
        what: "ReadyBoost",
        place: Place::Below,
        otherwise: "it caches what the driver has not captured yet",
    },
    Neighbour {
        name: "snapman",
        what: "Acronis Snapshot Manager",
        place: Place::Below,
        otherwise: "while one of its snapshots is open, writes reach the driver late",
    },
    Neighbour {
        name: "qcachelab",
        what: "QueueCache",
        place: Place::Below,
        otherwise: "the copy lacks the writes that are in its memory",
    },
    Neighbour {
        name: "bsrvflt",
        what: "bsr replication",
        place: Place::Above,
        otherwise: "the copy lacks the writes that it receives from its peer",
    },
];

impl Neighbour {
    /// True if the order of the two is not as it should be; one that is absent is no matter.
    fn is_misplaced(&self, filters: &FilterList) -> bool {
        let (Some(own), Some(its)) = (filters.position(DRIVER), filters.position(self.name)) else {
            return false;
        };
        match self.place {
            Place::Below => its > own,
            Place::Above => its < own,
        }
    }
}

/// The list with the driver in its place, once. One that stands well already stays there.
pub fn placed(filters: &FilterList) -> FilterList {
    let mut placed = filters.clone();
    placed.keep_first(DRIVER);
    if placed.contains(DRIVER) && doubts(&placed).is_empty() {
        return placed;
    }
    placed.remove(DRIVER);
    let above = KNOWN.iter().filter(|known| known.place == Place::Above);
    let lowest = above.filter_map(|known| placed.position(known.name)).min();
    placed.insert(lowest.unwrap_or(placed.names().len()), DRIVER);
    placed
}

/// What is doubtful about the order, a sentence for each known filter on the wrong side.
pub fn doubts(filters: &FilterList) -> Vec<String> {
    let misplaced = KNOWN.iter().filter(|known| known.is_misplaced(filters));
    misplaced
        .map(|Neighbour { name, what, place, otherwise }| {
            let side = match place {
                Place::Below => "above",
                Place::Above => "below",
            };
            format!("{name} ({what}) is {side} {DRIVER}: {otherwise}")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &str) -> FilterList {
        FilterList::new(names.split_whitespace().map(str::to_owned))
    }

    fn placed_in(names: &str) -> String {
        placed(&list(names)).names().join(" ")
    }

    #[test]
    fn the_driver_goes_to_the_top() {
        assert_eq!(placed_in(""), "snapless");
        assert_eq!(placed_in("volsnap"), "volsnap snapless");
        assert_eq!(placed_in("volsnap snapman unknown"), "volsnap snapman unknown snapless");
    }

    #[test]
    fn but_below_a_filter_that_writes_by_itself() {
        assert_eq!(placed_in("volsnap bsrvflt"), "volsnap snapless bsrvflt");
        assert_eq!(placed_in("volsnap BSRVFLT unknown"), "volsnap snapless BSRVFLT unknown");
    }

    #[test]
    fn a_list_in_which_it_stands_well_is_not_changed() {
        for names in ["volsnap snapless", "volsnap snapless unknown", "Snapless", "a snapless b"] {
            assert_eq!(placed_in(names), names);
        }
    }

    #[test]
    fn only_the_driver_moves() {
        assert_eq!(placed_in("snapless volsnap"), "volsnap snapless");
        assert_eq!(placed_in("a snapless b volsnap c"), "a b volsnap c snapless");
        assert_eq!(placed_in("bsrvflt snapless"), "snapless bsrvflt");
        assert_eq!(placed_in("snapless volsnap SNAPLESS"), "volsnap snapless");
        assert_eq!(placed_in("volsnap snapless snapless"), "volsnap snapless");
    }

    #[test]
    fn placing_it_twice_is_placing_it_once() {
        let names = ["volsnap", "snapless", "bsrvflt", "qcachelab", "unknown"];
        for mask in 0..1_u32 << names.len() {
            for turn in 0..names.len() {
                let turned = names.iter().cycle().skip(turn).take(names.len()).enumerate();
                let some = turned.filter(|(at, _)| mask & (1 << at) != 0);
                let filters = FilterList::new(some.map(|(_, name)| (*name).to_owned()));
                let once = placed(&filters);
                assert_eq!(placed(&once), once, "{filters}");
                assert_eq!(once.names().iter().filter(|name| *name == DRIVER).count(), 1);
                let (mut before, mut after) = (filters, once);
                before.remove(DRIVER);
                after.remove(DRIVER);
                assert_eq!(before, after, "the others stay in their order");
            }
        }
    }

    #[test]
    fn a_known_filter_on_the_wrong_side_is_named_with_the_reason() {
        let said = doubts(&list("snapless VolSnap unknown"));
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("volsnap (Windows' shadow copies) is above"), "{said:?}");
        let said = doubts(&list("volsnap bsrvflt snapless"));
        assert!(said[0].contains("is below") && said[0].contains("peer"), "{said:?}");
        for names in ["", "volsnap", "volsnap snapless", "bsrvflt", "volsnap veracrypt snapless"] {
            assert_eq!(doubts(&list(names)), <[String; 0]>::default(), "{names}");
        }
    }

    #[test]
    fn what_cannot_be_put_right_stays_doubtful() {
        let placed = placed(&list("bsrvflt volsnap"));
        assert_eq!(placed, list("snapless bsrvflt volsnap"));
        assert_eq!(doubts(&placed).len(), 1);
    }
}
