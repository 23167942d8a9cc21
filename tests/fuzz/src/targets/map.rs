//! A kept map of a volume of one page. The first byte of an input says whether a page follows, or
//! the number of a map and its file.

use snapless_server::format::FormatError;
use snapless_server::format::map::{MapNumber, Root, TRAILER_LEN, Trailer, page_count};
use snapless_server::point::page::rewritten;

use super::{Target, repository, stream};

pub(super) const TARGET: Target = Target {
    name: "map",
    repairs: &[seal, place],
    run,
    reached: &["map", "page", "short", "magic", "version", "checksum", "content"],
};

const MAP: u8 = 1;
/// The fields of a trailer, and the state in a root: see `snapless_server::format::map`.
const OFFSET: usize = 16;
const LEN: usize = 24;
const SUM: usize = 32;
const STATE: usize = 8;

/// The root of a file and its trailer, where the trailer says so.
fn parts(input: &mut [u8]) -> Option<(&mut [u8], &mut [u8])> {
    let [kind, _, file @ ..] = input else { return None };
    let (body, trailer) = file.split_at_mut_checked(file.len().checked_sub(TRAILER_LEN)?)?;
    let offset = u64::from_le_bytes(trailer[OFFSET..LEN].try_into().ok()?);
    let root = body.get_mut(usize::try_from(offset).ok()?..)?;
    (*kind & 1 == MAP).then_some((root, trailer))
}

/// Makes the root's length and the checksums right.
fn seal(input: &mut [u8]) {
    let Some((root, trailer)) = parts(input) else { return };
    trailer[LEN..SUM].copy_from_slice(&(root.len() as u64).to_le_bytes());
    trailer[SUM..SUM + 4].copy_from_slice(&crc32c::crc32c(root).to_le_bytes());
    repository::seal(trailer);
}

/// Makes the checksum of the state in the root right, and the others.
fn place(input: &mut [u8]) {
    if let Some((root, _)) = parts(input)
        && let Some((len, state)) = root.split_first_chunk_mut::<STATE>()
        && let Ok(len) = usize::try_from(u64::from_le_bytes(*len))
        && let Some(state) = state.get_mut(..len)
    {
        repository::seal(state);
    }
    seal(input);
}

fn run(input: &[u8]) -> &'static str {
    match input {
        [] => "short",
        [kind, number, file @ ..] if kind & 1 == MAP => {
            map(file, MapNumber((*number).into())).unwrap_or_else(repository::name)
        }
        [_, bytes @ ..] => page(bytes),
    }
}

/// A page that is taken comes back the same.
fn page(bytes: &[u8]) -> &'static str {
    let window = 0..stream::LENGTH;
    let Some(again) = rewritten(bytes, window.clone()) else { return "content" };
    assert_eq!(rewritten(&again, window), Some(again), "it comes back the same");
    "page"
}

fn map(file: &[u8], number: MapNumber) -> Result<&'static str, FormatError> {
    let (body, trailer) = file.split_last_chunk::<TRAILER_LEN>().ok_or(FormatError::Short)?;
    let trailer = Trailer::read(trailer)?;
    let offset = usize::try_from(trailer.offset).map_err(|_| FormatError::Short)?;
    let root = body.get(offset..).ok_or(FormatError::Short)?;
    trailer.verify(root)?;
    let session = repository::session();
    let root = Root::read(root, number, &session)?;
    assert_eq!(root.image.pages.len() as u64, page_count(&session.geometry, root.image.length));
    assert!(root.image.pages.iter().all(|page| page.map <= number));
    let again = root.to_bytes(&session);
    assert_eq!(Trailer::new(trailer.offset, &again).verify(&again), Ok(()));
    let same = Root::read(&again, number, &session).expect("it was written");
    assert_eq!(same.to_bytes(&session), again, "it comes back the same");
    Ok("map")
}
