//! The parsers of bytes from outside.
//!
//! | target | who sends the bytes | what parses them |
//! | --- | --- | --- |
//! | `area` | a program that can write to the volume or the registry | a state area, the list of areas |
//! | `bookmark` | people, and a program that can write to the repository | names of points, files of bookmarks |
//! | `control` | any program that may open the driver's control device | control codes and their structures |
//! | `dispatch` | the same, many requests by several handles | the driver's dispatcher (`snapless_driver_logic::control`), on a model |
//! | `records` | the driver, through the service | records in a buffer |
//! | `export` | whoever made the disk that an export is on | the mark of an export |
//! | `frames` | the network | frames and what they carry |
//! | `ingest` | the network | whole connections: frames, records, the stream's rules |
//! | `history` | a program that can write to the repository | what a fold has kept: the history |
//! | `index` | a program that can write to the repository | the index of a segment |
//! | `map` | the same | a kept map: its pages, its root |
//! | `marks` | the same | the claim of an object, the last watermark, names of pins |
//! | `nbd` | a client of `snapless-server mount` | the NBD handshake and requests |
//! | `repository` | the same as for `index` | the fixed structures of its files |
//! | `sealed` | the same | a sealed entry, the header of a compressed or encrypted repository |
//! | `segment` | the same | a stored stream, read from files and salvaged |
//! | `service` | people, and a program that can write to the service's folders | the configuration, the remembered session, a report |
//! | `state` | the same as for `index` | the kept state of a stream; the list of sessions |
//! | `text` | people, files and the network | identities, file names, keys of points, times |
//! | `trust` | people and the network | tokens, what enrolment says, certificates |
//! | `unfinished` | whoever can write to a restore's target | the slots of an unfinished image |
//! | `whole` | a program that can write to the repository | all of its files at once, by every command that reads them |
//!
//! Upholds: what a target accepts keeps the promises of the type that it was parsed into, and comes
//! back the same when it is written and read again.

mod area;
mod bookmark;
mod control;
mod dispatch;
mod export;
mod frames;
mod history;
mod index;
mod ingest;
mod map;
mod marks;
mod nbd;
mod records;
mod repository;
mod sealed;
mod segment;
mod service;
mod state;
mod stream;
mod text;
mod trust;
mod unfinished;
mod whole;

use crate::memory::peak_of;

/// Memory that no input may take, in bytes: far more than the longest that a fuzzer tries needs,
/// and far less than a length from outside can ask for.
const MEMORY_MAX: usize = 256 << 20;

/// A parser.
#[derive(Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Each makes a copy of the input right where only a checksum or a number in a row gives it
    /// away.
    pub repairs: &'static [fn(&mut [u8])],
    /// Parses an input and says how that ended; panics where a promise is broken.
    pub run: fn(&[u8]) -> &'static str,
    /// Ends that some input must come to, or the others prove nothing.
    pub reached: &'static [&'static str],
}

impl Target {
    /// Parses the input as it is, and after each repair; returns how that ended.
    pub fn play(&self, input: &[u8]) -> Vec<&'static str> {
        let mut ends = vec![self.play_one(input)];
        for repair in self.repairs {
            let mut repaired = input.to_vec();
            repair(&mut repaired);
            ends.push(self.play_one(&repaired));
        }
        ends
    }

    fn play_one(&self, input: &[u8]) -> &'static str {
        let (end, peak) = peak_of(|| (self.run)(input));
        let name = self.name;
        assert!(peak <= MEMORY_MAX, "{name}: {peak} bytes of memory for {} bytes", input.len());
        end
    }
}

/// All of them.
pub static TARGETS: [Target; 22] = [
    area::TARGET,
    bookmark::TARGET,
    control::TARGET,
    dispatch::TARGET,
    export::TARGET,
    records::TARGET,
    frames::TARGET,
    history::TARGET,
    index::TARGET,
    ingest::TARGET,
    map::TARGET,
    marks::TARGET,
    nbd::TARGET,
    repository::TARGET,
    sealed::TARGET,
    segment::TARGET,
    service::TARGET,
    state::TARGET,
    text::TARGET,
    trust::TARGET,
    unfinished::TARGET,
    whole::TARGET,
];

/// The first `N` bytes and the rest.
fn split<const N: usize>(input: &[u8]) -> Option<([u8; N], &[u8])> {
    input.split_first_chunk().map(|(first, rest)| (*first, rest))
}
