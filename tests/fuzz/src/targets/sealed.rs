//! A sealed entry without a key, and the header of a repository that has such entries. The first
//! byte of an input says which.

use snapless_server::error::Damage;
use snapless_server::format::FormatError;
use snapless_server::format::sealed::{FRAME_LEN_MAX, SEALED_HEADER_LEN, SealedHeader};
use snapless_server::format::sealing::{COPY_STRIDE, SEALING_LEN, SealingHeader};
use snapless_server::seal::EntrySeal;

use super::{Target, repository, split};

pub(super) const TARGET: Target = Target {
    name: "sealed",
    repairs: &[seal],
    run,
    reached: &[
        "entry", "header", "one copy", "short", "magic", "version", "checksum", "content", "sealed",
    ],
};

const ENTRY: u8 = 1;
/// Where a header has its checksum.
const CRC: usize = SEALED_HEADER_LEN - 4;

/// Makes the checksums right.
fn seal(input: &mut [u8]) {
    match input.split_first_mut() {
        Some((&mut kind, entry)) if kind & 1 == ENTRY => {
            let Some((head, body)) = entry.split_first_chunk_mut::<SEALED_HEADER_LEN>() else {
                return;
            };
            let sum = crc32c::crc32c_append(crc32c::crc32c(&head[..CRC]), body);
            head[CRC..].copy_from_slice(&sum.to_le_bytes());
        }
        Some((_, copies)) => copies.chunks_exact_mut(SEALING_LEN).for_each(repository::seal),
        None => {}
    }
}

fn run(input: &[u8]) -> &'static str {
    match input.split_first() {
        Some((kind, entry)) if kind & 1 == ENTRY => open(entry).unwrap_or_else(repository::name),
        Some((_, copies)) => header(copies).unwrap_or_else(repository::name),
        None => "short",
    }
}

fn open(entry: &[u8]) -> Result<&'static str, FormatError> {
    let (head, body) = split::<SEALED_HEADER_LEN>(entry).ok_or(FormatError::Short)?;
    let header = SealedHeader::read(&head)?;
    assert_eq!(header.to_bytes(), head, "it comes back the same");
    assert!(header.frame_len <= FRAME_LEN_MAX);
    match EntrySeal::without_key().open(&header, 64, &mut body.to_vec()) {
        Ok(frame) => {
            assert_eq!(frame.len(), header.frame_len);
            assert!(!header.is_encrypted, "nothing encrypted is opened without a key");
            Ok("entry")
        }
        Err(Damage::Format(why)) => Err(why),
        Err(other) => panic!("{other}"),
    }
}

/// The copies without the stretch between them, which is not read.
fn header(copies: &[u8]) -> Result<&'static str, FormatError> {
    let (first, second) = copies.split_at(copies.len().min(SEALING_LEN));
    let mut file = first.to_vec();
    if !second.is_empty() {
        file.resize(COPY_STRIDE, 0);
        file.extend(second);
    }
    let (header, damage) = SealingHeader::read_file(&file)?;
    assert_eq!(SealingHeader::read_file(&header.to_file()), Ok((header, None)));
    Ok(if damage.is_none() { "header" } else { "one copy" })
}
