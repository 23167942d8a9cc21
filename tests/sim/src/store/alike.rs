//! What tells two disks, or two servers, apart: all but the times and the numbers that each server
//! makes up for itself.

use std::path::Path;

use snapless_server::format::claim::{CLAIMED_HEADER_LEN, Claim, WriterId};
use snapless_server::format::repository::REPOSITORY_FILE;
use snapless_server::format::segment::{SEGMENT_HEADER_LEN, SegmentNumber};

use crate::storage::Disk;

/// The disk without them.
pub fn disk(disk: &Disk) -> Disk {
    let mut alike = disk.clone();
    for path in disk.paths() {
        if path == Path::new(REPOSITORY_FILE) {
            alike.damage(&path, Vec::new());
        } else if let Some(claimed) = without_writer(&path, disk.read(&path)) {
            alike.damage(&path, claimed);
        }
    }
    alike
}

/// A segment whose claim names no writer; `None` without a claim.
fn without_writer(path: &Path, content: &[u8]) -> Option<Vec<u8>> {
    let number = SegmentNumber::from_file_name(path.file_name()?.to_str()?)?;
    let claim = content.get(SEGMENT_HEADER_LEN..)?.first_chunk()?;
    let claim = Claim { writer: WriterId([0; 16]), ..Claim::read(claim, number).ok()? };
    let mut claimed = content.to_vec();
    claimed[SEGMENT_HEADER_LEN..CLAIMED_HEADER_LEN].copy_from_slice(&claim.to_bytes());
    Some(claimed)
}

/// What the `Debug` of a server's memory tells, without them.
pub fn process(told: &str) -> String {
    ["WriterId(", "Instant {", "connected: "].iter().fold(told.to_owned(), |told, made_up| {
        let mut parts = told.split(made_up);
        let first = parts.next().unwrap_or_default().to_owned();
        let rest = |part: &str| part.split_once([')', '}', ',']).map(|it| it.1.to_owned());
        parts.filter_map(rest).fold(first, |told, part| told + made_up + &part)
    })
}
