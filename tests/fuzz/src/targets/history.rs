//! The history of a folded session, a fence in its place, and the root of a retained point. The
//! first byte of an input is the history's number, or 0 for a root.

use snapless_server::format::fence::FoldFence;
use snapless_server::format::history::{History, HistoryNumber};
use snapless_server::format::map::{Image, page_count};
use snapless_server::timeline::Cut;

use super::{Target, repository};

pub(super) const TARGET: Target = Target {
    name: "history",
    repairs: &[seal, place],
    run,
    reached: &["history", "fence", "root", "short", "magic", "version", "checksum", "content"],
};

/// Where the identity is: volume, session and the history's number.
const IDENTITY: std::ops::Range<usize> = 17..57;

/// Makes the checksum right.
fn seal(input: &mut [u8]) {
    if let Some((_, bytes)) = input.split_first_mut().filter(|(number, _)| **number > 0) {
        repository::seal(bytes);
    }
}

/// Makes it one of the session of all targets and of the number asked for, and the checksum right.
fn place(input: &mut [u8]) {
    let session = repository::session();
    let number = u64::from(input.first().copied().unwrap_or_default());
    let identity = [&session.volume.0[..], &session.session.0, &number.to_le_bytes()].concat();
    if let Some(found) = input.get_mut(IDENTITY).filter(|_| number > 0) {
        found.copy_from_slice(&identity);
    }
    seal(input);
}

fn run(input: &[u8]) -> &'static str {
    match input {
        [] => "short",
        [0, bytes @ ..] => root(bytes),
        [number, bytes @ ..] if FoldFence::is_fence(bytes) => {
            fence(bytes, HistoryNumber((*number).into()))
        }
        [number, bytes @ ..] => history(bytes, HistoryNumber((*number).into())),
    }
}

fn fence(bytes: &[u8], number: HistoryNumber) -> &'static str {
    let session = repository::session();
    match FoldFence::read(bytes, number, &session) {
        Ok(fence) => {
            assert_eq!(fence.number, number);
            assert_eq!(FoldFence::of_hold(&fence.hold_name()), Some(number));
            let again = fence.to_bytes(&session);
            assert_eq!(FoldFence::read(&again, number, &session), Ok(fence), "it is the same");
            "fence"
        }
        Err(error) => repository::name(error),
    }
}

fn history(bytes: &[u8], number: HistoryNumber) -> &'static str {
    let session = repository::session();
    let history = match History::read(bytes, number, &session) {
        Ok(history) => history,
        Err(error) => return repository::name(error),
    };
    assert_eq!(history.number, number);
    let boundary = history.boundary;
    for point in &history.points {
        assert!(point.root.offset + point.root.len <= history.pages_len);
        assert!(point.at <= boundary.place.at);
        if let Cut::Through(seq) = point.cut {
            assert!(seq < boundary.place.seq);
        }
    }
    let is_old = |it: &snapless_server::format::history::KeptSegment| {
        it.number.is_compacted() || it.number < boundary.segment
    };
    assert!(history.segments.iter().all(is_old));
    let again = history.to_bytes(&session);
    assert_eq!(History::read(&again, number, &session), Ok(history), "it comes back the same");
    "history"
}

fn root(bytes: &[u8]) -> &'static str {
    let session = repository::session();
    match Image::read(bytes, &session) {
        Ok(image) => {
            let pages = page_count(&session.geometry, image.length);
            assert_eq!(image.pages.len() as u64, pages);
            let again = image.to_bytes(&session);
            assert_eq!(Image::read(&again, &session), Ok(image), "it is the same");
            "root"
        }
        Err(error) => repository::name(error),
    }
}
