//! How long DPCs and ISRs take, and whose they are: a tally of the kernel's events.
//!
//! The rule: an event without the bytes that its kind has is counted as unread, and nothing is
//! taken from it. A routine belongs to the image whose addresses it is among.

#[cfg(windows)]
pub mod trace;

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;

use vm_protocol::routines::{Histogram, Kind, Routines};

/// The class `PerfInfo` of the kernel's events.
const PERF_INFO: u128 = 0xce1d_bfb4_137e_4da6_87b0_3f59_aa10_2cbc;
/// Its class `Image`.
const IMAGE: u128 = 0x2cb1_5d1d_5fc1_11d2_abe1_00a0_c911_f518;
/// Where the kernel's half of the addresses begins.
const KERNEL: u64 = 1 << 63;
/// Where an event of an image has its file name, with pointers of 64 bits.
const FILE_NAME: usize = 56;
/// Windows stops (bug check 0x133) long before a routine takes this.
const NANOS_MAX: u64 = 60_000_000_000;
/// More images, or routines, than any system has.
const ENTRIES_MAX: usize = 10_000;
/// The module of a routine that is in no known image.
const UNKNOWN: &str = "unknown";

/// An event as a trace has it.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The GUID of its class.
    pub class: u128,
    /// Its type within the class.
    pub opcode: u8,
    /// When it was written, in ticks.
    pub time: i64,
    /// Its own bytes.
    pub data: &'a [u8],
}

/// What a trace has told so far.
pub struct Tally {
    ticks_per_second: NonZeroU64,
    routines: HashMap<(Kind, u64), Histogram>,
    /// By their first address.
    images: BTreeMap<u64, Image>,
    unread: u64,
}

struct Image {
    length: u64,
    name: String,
}

impl Tally {
    /// A tally of events whose clock has so many ticks a second.
    pub fn new(ticks_per_second: NonZeroU64) -> Self {
        let (routines, images) = (HashMap::new(), BTreeMap::new());
        Self { ticks_per_second, routines, images, unread: 0 }
    }

    /// Takes an event.
    pub fn take(&mut self, event: &Event<'_>) {
        let taken = match (event.class, kind_of(event.opcode)) {
            (IMAGE, _) => self.take_image(event.data),
            (PERF_INFO, Some(kind)) => self.take_routine(kind, event),
            _ => Some(()),
        };
        self.unread += u64::from(taken.is_none());
    }

    /// `InitialTime`, `Routine`; what comes behind them is not needed. The event is written when
    /// the routine returns.
    fn take_routine(&mut self, kind: Kind, event: &Event<'_>) -> Option<()> {
        let (began, routine) = (number(event.data, 0)?, number(event.data, 8)?);
        let ticks = u64::try_from(event.time).ok()?.checked_sub(began)?;
        let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(self.ticks_per_second.get());
        let nanos = u64::try_from(nanos).ok().filter(|nanos| *nanos < NANOS_MAX)?;
        let has_room = self.routines.len() < ENTRIES_MAX;
        if !has_room && !self.routines.contains_key(&(kind, routine)) {
            return None;
        }
        self.routines.entry((kind, routine)).or_default().add(nanos);
        Some(())
    }

    /// `ImageBase`, `ImageSize`, … `FileName`: the kernel tells of each image that is there when
    /// the trace begins and when it ends, and of each that comes in between.
    fn take_image(&mut self, data: &[u8]) -> Option<()> {
        let (base, length) = (number(data, 0)?, number(data, 8)?);
        if base < KERNEL {
            return Some(());
        }
        let (pairs, _) = data.get(FILE_NAME..)?.as_chunks();
        let letters = pairs.iter().map(|pair| u16::from_le_bytes(*pair));
        let letters: Vec<u16> = letters.take_while(|letter| *letter != 0).collect();
        let path = String::from_utf16_lossy(&letters);
        let name = path.rsplit('\\').next().filter(|name| !name.is_empty())?.to_lowercase();
        if self.images.len() >= ENTRIES_MAX && !self.images.contains_key(&base) {
            return None;
        }
        self.images.insert(base, Image { length, name });
        Some(())
    }

    /// The result, with what Windows says that it has lost.
    pub fn end(self, lost_events: u64, lost_buffers: u64) -> Routines {
        let mut found =
            Routines { lost_events, lost_buffers, unread: self.unread, ..Routines::default() };
        for image in self.images.values() {
            found.modules.entry(image.name.clone()).or_default();
        }
        for ((kind, routine), histogram) in &self.routines {
            let below = self.images.range(..=*routine).next_back();
            let image = below.filter(|(base, image)| routine - *base < image.length);
            let module = image.map_or(UNKNOWN, |(_, image)| &image.name);
            let kinds = found.modules.entry(module.to_owned()).or_default();
            kinds.entry(*kind).or_default().merge(histogram);
        }
        found
    }
}

/// What a type of `PerfInfo` tells of; the class has others.
fn kind_of(opcode: u8) -> Option<Kind> {
    Some(match opcode {
        // 50 is an interrupt that is a message, as those of NVMe disks are.
        50 | 67 => Kind::Interrupt,
        66 => Kind::ThreadedDpc,
        68 => Kind::Dpc,
        69 => Kind::TimerDpc,
        _ => return None,
    })
}

fn number(data: &[u8], at: usize) -> Option<u64> {
    data.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORPORT: u64 = 0xffff_f801_2000_0000;
    const SNAPLESS: u64 = 0xffff_f801_3000_0000;

    fn tally() -> Tally {
        // The usual frequency: a tick is 100 nanoseconds.
        Tally::new(NonZeroU64::new(10_000_000).unwrap())
    }

    fn image(base: u64, path: &str) -> Vec<u8> {
        let mut data = [base.to_le_bytes(), 0x8000_u64.to_le_bytes()].concat();
        data.resize(FILE_NAME, 0xAA);
        data.extend(path.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
        data
    }

    fn routine(began: u64, routine: u64) -> Vec<u8> {
        // An ISR's event has a return value, a vector and a reserved byte behind the two.
        [&began.to_le_bytes()[..], &routine.to_le_bytes(), &[1, 0x91, 0, 0]].concat()
    }

    fn take(tally: &mut Tally, class: u128, opcode: u8, time: i64, data: &[u8]) {
        tally.take(&Event { class, opcode, time, data });
    }

    #[test]
    fn each_routine_is_its_drivers_whenever_the_image_is_told() {
        let mut tally = tally();
        let path = r"\SystemRoot\System32\drivers\Snapless.sys";
        take(&mut tally, IMAGE, 3, 0, &image(STORPORT, r"\SystemRoot\System32\storport.sys"));
        take(&mut tally, IMAGE, 10, 0, &image(0x7ff6_0000_0000, r"\Windows\diskspd.exe"));
        for (opcode, took, address) in [
            (68, 30, SNAPLESS),
            (68, 1010, SNAPLESS + 0x7fff),
            (66, 5, SNAPLESS + 0x8000),
            (67, 9, STORPORT + 5),
            (50, 20, STORPORT + 7),
            (69, 40, STORPORT - 1),
        ] {
            take(&mut tally, PERF_INFO, opcode, 5_000 + took, &routine(5_000, address));
        }
        take(&mut tally, IMAGE, 4, 0, &image(SNAPLESS, path));
        let found = tally.end(7, 1);
        assert_eq!((found.lost_events, found.lost_buffers, found.unread), (7, 1, 0));
        let names: Vec<_> = found.modules.keys().map(String::as_str).collect();
        assert_eq!(names, ["snapless.sys", "storport.sys", "unknown"]);
        let dpcs = found.modules["snapless.sys"][&Kind::Dpc];
        assert_eq!((dpcs.longest_nanos, dpcs.above_limit), (101_000, 1));
        assert_eq!((dpcs.buckets[2], dpcs.buckets[7]), (1, 1));
        let interrupts = found.modules["storport.sys"][&Kind::Interrupt];
        assert_eq!((interrupts.buckets[0], interrupts.buckets[2]), (1, 1));
        let unknown: Vec<_> = found.modules["unknown"].keys().copied().collect();
        assert_eq!(unknown, [Kind::TimerDpc, Kind::ThreadedDpc]);
    }

    #[test]
    fn events_that_are_cut_or_impossible_are_told_and_those_of_other_classes_are_not() {
        let mut tally = tally();
        let (whole, driver) = (routine(5_000, SNAPLESS), image(SNAPLESS, "a.sys"));
        for length in 0..16 {
            take(&mut tally, PERF_INFO, 68, 6_000, &whole[..length]);
            take(&mut tally, IMAGE, 3, 0, &driver[..length]);
        }
        assert_eq!(tally.unread, 32);
        take(&mut tally, IMAGE, 3, 0, &driver[..=FILE_NAME]);
        // It ends before it began; it took two minutes; its time is none.
        for time in [4_999, 1_200_005_000, -1] {
            take(&mut tally, PERF_INFO, 68, time, &whole);
        }
        assert_eq!(tally.unread, 36);
        take(&mut tally, PERF_INFO, 46, 0, &[]);
        take(&mut tally, 1, 68, 0, &[]);
        let found = tally.end(0, 0);
        assert_eq!((found.unread, found.modules.len()), (36, 0));
    }
}
