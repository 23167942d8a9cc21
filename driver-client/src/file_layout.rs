//! Where the paging, swap and hibernation files of a volume are, as its file system says.
//!
//! These files cannot be opened while they are in use, so the file system is asked through the
//! volume: `FSCTL_QUERY_FILE_LAYOUT` goes through all files, some in each reply.
//!
//! Rule: what a reply does not say clearly is left out. To exclude less is always sound.

use std::time::Duration;

use snapless_types::Extent;
use snapless_wire::ioctl::{SPECIAL_FILE_HIBERNATION, SPECIAL_FILE_PAGING};

/// How long one search through the files may take; those not found by then count as any other.
pub const SEARCH_LIMIT: Duration = Duration::from_secs(10);
/// The flags of a request: names, streams and their extents; for the first one, from the start.
pub const FLAGS: u32 = 0x2 | 0x4 | 0x8;
/// `QUERY_FILE_LAYOUT_RESTART`
pub const RESTART: u32 = 0x1;
/// Bytes of a request (`QUERY_FILE_LAYOUT_INPUT` without a filter).
pub const REQUEST_LEN: usize = 32;

/// The record of an NTFS volume's root directory.
const ROOT: u64 = 5;
/// The bits of a file reference that are the record's number.
const RECORD: u64 = (1 << 48) - 1;
/// `$DATA`
const DATA: u32 = 0x80;
/// `STREAM_EXTENT_ENTRY_AS_RETRIEVAL_POINTERS`
const AS_POINTERS: u32 = 0x1;

/// The files that are looked for, and the special file of the volume that each stands for.
const NAMES: [(&str, u32); 3] = [
    ("pagefile.sys", SPECIAL_FILE_PAGING),
    ("swapfile.sys", SPECIAL_FILE_PAGING),
    ("hiberfil.sys", SPECIAL_FILE_HIBERNATION),
];

/// A request; the first one begins at the first file.
pub fn request(is_first: bool) -> [u8; REQUEST_LEN] {
    let mut request = [0; REQUEST_LEN];
    let flags = if is_first { FLAGS | RESTART } else { FLAGS };
    request[4..8].copy_from_slice(&flags.to_le_bytes());
    request
}

/// A search for the special files.
#[derive(Debug)]
pub struct Search {
    /// Which special files the driver says that the volume has.
    special_files: u32,
    /// Bytes of a cluster.
    cluster: u64,
    /// For each of [`NAMES`], whether it is not found yet.
    missing: [bool; NAMES.len()],
    extents: Vec<Extent>,
}

impl Search {
    /// A search for the files that a volume has, by its `SPECIAL_FILE_…` bits.
    pub fn new(special_files: u32, cluster: u32) -> Self {
        let missing = NAMES.map(|(_, bit)| special_files & bit != 0);
        Self { special_files, cluster: cluster.into(), missing, extents: Vec::new() }
    }

    /// True if there is nothing left to look for.
    pub fn is_over(&self) -> bool {
        !self.missing.contains(&true)
    }

    /// Takes one reply.
    pub fn take(&mut self, reply: &[u8]) {
        // `QUERY_FILE_LAYOUT_OUTPUT`
        let mut next = u32_at(reply, 4);
        let mut file = reply;
        while let Some(at) = next.filter(|&at| at > 0) {
            let Some(rest) = file.get(at as usize..) else { return };
            file = rest;
            if let Some(index) = self.special(file) {
                self.missing[index] = false;
                self.add(file);
            }
            next = u32_at(file, 4);
        }
    }

    /// The extents, ascending, joined where they touch.
    pub fn into_extents(self) -> Vec<Extent> {
        joined(self.extents)
    }

    /// Which special file a `FILE_LAYOUT_ENTRY` is of: one with its name in the root directory.
    fn special(&self, file: &[u8]) -> Option<usize> {
        let mut next = u32_at(file, 24);
        let mut name = file;
        while let Some(at) = next.filter(|&at| at > 0) {
            // `FILE_LAYOUT_NAME_ENTRY`
            name = name.get(at as usize..)?;
            let units = name.get(24..)?.get(..u32_at(name, 16)? as usize)?;
            let units = units.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
            let text: String = char::decode_utf16(units).map(|it| it.unwrap_or('?')).collect();
            let is_it = |&(known, bit): &(&str, u32)| {
                self.special_files & bit != 0 && known.eq_ignore_ascii_case(&text)
            };
            if u64_at(name, 8)? & RECORD == ROOT
                && let Some(index) = NAMES.iter().position(is_it)
            {
                return Some(index);
            }
            next = u32_at(name, 0);
        }
        None
    }

    /// Adds the extents of a file's data.
    fn add(&mut self, file: &[u8]) {
        let mut next = u32_at(file, 28);
        let mut stream = file;
        while let Some(at) = next.filter(|&at| at > 0) {
            // `STREAM_LAYOUT_ENTRY`
            let Some(rest) = stream.get(at as usize..) else { return };
            stream = rest;
            if u32_at(stream, 36) == Some(DATA) {
                self.add_stream(stream);
            }
            next = u32_at(stream, 4);
        }
    }

    fn add_stream(&mut self, stream: &[u8]) -> Option<()> {
        // `STREAM_EXTENT_ENTRY` with a `RETRIEVAL_POINTERS_BUFFER`
        let at = u32_at(stream, 12).filter(|&at| at > 0)?;
        let entry = stream.get(at as usize..)?;
        if u32_at(entry, 0)? & AS_POINTERS == 0 {
            return None;
        }
        let pointers = entry.get(8..)?;
        let count = u32_at(pointers, 0)? as usize;
        let mut vcn = u64_at(pointers, 8)?;
        for pair in pointers.get(16..)?.chunks_exact(16).take(count) {
            let (next, lcn) = (u64_at(pair, 0)?, u64_at(pair, 8)?);
            let len = next.checked_sub(vcn)?.checked_mul(self.cluster)?;
            // A part without clusters has -1.
            let offset = lcn.checked_mul(self.cluster);
            self.extents.extend(offset.and_then(|offset| Extent::new(offset, len)));
            vcn = next;
        }
        Some(())
    }
}

/// True if each of the `given` extents is wholly in one of `now`, which are ascending and joined.
pub fn are_still(now: &[Extent], given: impl IntoIterator<Item = Extent>) -> bool {
    given
        .into_iter()
        .all(|one| now.iter().any(|it| it.offset() <= one.offset() && one.end() <= it.end()))
}

/// Ascending extents, joined where they touch.
fn joined(mut extents: Vec<Extent>) -> Vec<Extent> {
    extents.sort_unstable_by_key(Extent::offset);
    let mut all: Vec<Extent> = Vec::with_capacity(extents.len());
    for extent in extents {
        match all.last_mut() {
            Some(last) if extent.offset() <= last.end() => {
                let end = last.end().max(extent.end());
                *last = Extent::from_parts(last.offset(), end - last.offset());
            }
            _ => all.push(extent),
        }
    }
    all
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: u32 = 4096;
    const BOTH: u32 = SPECIAL_FILE_PAGING | SPECIAL_FILE_HIBERNATION;

    fn le(len: usize) -> u32 {
        u32::try_from(len).unwrap()
    }

    /// A `FILE_LAYOUT_ENTRY` with one name and one stream of these clusters.
    fn file(
        parent: u64,
        name: &str,
        attribute: u32,
        runs: &[(u64, i64)],
        is_last: bool,
    ) -> Vec<u8> {
        let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let name_at = 40_u32;
        let stream_at = (name_at + 24 + le(units.len())).next_multiple_of(8);
        let len = stream_at + 48 + 24 + 16 * le(runs.len());
        let mut bytes = Vec::new();
        for field in [1, if is_last { 0 } else { len }, 0, 0, 0, 0, name_at, stream_at, 0, 0] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend([0_u32, 1].iter().flat_map(|it| it.to_le_bytes()));
        bytes.extend(parent.to_le_bytes());
        bytes.extend([le(units.len()), 0].iter().flat_map(|it| it.to_le_bytes()));
        bytes.extend(units);
        bytes.resize(stream_at as usize, 0);
        for field in [1_u32, 0, 0, 48, 0, 0, 0, 0, 0, attribute, 0, 0] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend([3_u32, 0, le(runs.len()), 0].iter().flat_map(|it| it.to_le_bytes()));
        bytes.extend(0_u64.to_le_bytes());
        let mut vcn = 0;
        for &(clusters, lcn) in runs {
            vcn += clusters;
            bytes.extend(vcn.to_le_bytes());
            bytes.extend(lcn.to_le_bytes());
        }
        bytes
    }

    fn reply(files: &[Vec<u8>]) -> Vec<u8> {
        let header = [le(files.len()), 16, 0, 0];
        let mut bytes: Vec<u8> = header.iter().flat_map(|it| it.to_le_bytes()).collect();
        bytes.extend(files.concat());
        bytes
    }

    fn found(special_files: u32, reply: &[u8]) -> Vec<Extent> {
        let mut search = Search::new(special_files, CLUSTER);
        search.take(reply);
        search.into_extents()
    }

    fn clusters(first: u64, count: u64) -> Extent {
        Extent::new(first * u64::from(CLUSTER), count * u64::from(CLUSTER)).unwrap()
    }

    #[test]
    fn the_extents_of_special_files_in_the_root_directory_are_found() {
        let root = 5 | 5 << 48;
        let files = [
            file(root, "notes.txt", DATA, &[(1, 900)], false),
            file(77, "pagefile.sys", DATA, &[(1, 901)], false),
            file(root, "PageFile.sys", DATA, &[(4, 100), (2, -1), (4, 104), (1, 50)], false),
            file(root, "hiberfil.sys", DATA, &[(8, 200)], true),
        ];
        let reply = reply(&files);
        let paging = [clusters(50, 1), clusters(100, 8)];
        assert_eq!(found(SPECIAL_FILE_PAGING, &reply), paging);
        assert_eq!(found(BOTH, &reply), [paging[0], paging[1], clusters(200, 8)]);
        assert_eq!(found(0, &reply), []);
    }

    #[test]
    fn a_search_is_over_once_each_file_is_found() {
        assert!(Search::new(0, CLUSTER).is_over());
        let mut search = Search::new(BOTH, CLUSTER);
        for name in ["pagefile.sys", "swapfile.sys", "hiberfil.sys"] {
            assert!(!search.is_over());
            search.take(&reply(&[file(5, name, DATA, &[(1, 9)], true)]));
        }
        assert!(search.is_over());
        assert_eq!(search.into_extents(), [clusters(9, 1)]);
    }

    #[test]
    fn other_attributes_and_what_cannot_be_are_left_out() {
        let with = |attribute, runs: &[(u64, i64)]| {
            found(BOTH, &reply(&[file(5, "pagefile.sys", attribute, runs, true)]))
        };
        assert_eq!(with(0x30, &[(1, 9)]), []);
        assert_eq!(with(DATA, &[(1, i64::MAX), (u64::MAX - 1, 1)]), []);
        let sound = reply(&[file(5, "pagefile.sys", DATA, &[(1, 9), (1, 20)], true)]);
        for len in 0..sound.len() {
            let some = found(BOTH, &sound[..len]);
            assert!(some.iter().all(|it| [clusters(9, 1), clusters(20, 1)].contains(it)));
        }
        for at in 0..sound.len() {
            let mut odd = sound.clone();
            odd[at] ^= 0xff;
            let _ = found(BOTH, &odd);
        }
    }

    #[test]
    fn a_request_restarts_once() {
        assert_eq!(request(true)[4], 0xf);
        assert_eq!(request(false)[4], 0xe);
    }

    #[test]
    fn extents_are_still_the_files_if_all_of_each_is() {
        let now = [clusters(10, 4), clusters(20, 4)];
        assert!(are_still(&now, []) && are_still(&now, now));
        assert!(are_still(&now, [clusters(11, 2), clusters(23, 1)]));
        assert!(!are_still(&now, [clusters(13, 2)]) && !are_still(&[], [clusters(10, 1)]));
    }
}
