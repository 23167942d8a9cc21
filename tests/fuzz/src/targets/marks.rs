//! The marks beside a stream: the claim of a segment that is an object, the last watermark, the
//! name of a pin, the outcome of a verification. The first byte of an input says which.

use std::path::Path;

use snapless_server::format::claim::{CLAIM_LEN, Claim};
use snapless_server::format::pin::{Holder, PINS_DIR};
use snapless_server::format::segment::SegmentNumber;
use snapless_server::format::slots::{SLOT_STRIDE, SLOTS_FILE_LEN};
use snapless_server::format::verified::{self, VERIFIED_LEN_MAX};
use snapless_server::format::watermark::{self, WATERMARK_SLOT_LEN};

use super::{Target, repository, split};

pub(super) const TARGET: Target = Target {
    name: "marks",
    repairs: &[seal],
    run,
    reached: &[
        "claim",
        "claim of voids",
        "watermark",
        "no watermark",
        "pin",
        "no pin",
        "verified",
        "short",
        "magic",
        "checksum",
        "content",
    ],
};

/// The segment whose claim is read.
const OWN: SegmentNumber = SegmentNumber(7);

/// Makes the checksums right.
fn seal(input: &mut [u8]) {
    let Some((kind, bytes)) = input.split_first_mut() else { return };
    match *kind % 4 {
        0 => {
            let len = bytes.len().min(CLAIM_LEN);
            repository::seal(&mut bytes[..len]);
        }
        1 => bytes.chunks_exact_mut(WATERMARK_SLOT_LEN).for_each(repository::seal),
        3 if bytes.len() > 4 => repository::seal(bytes),
        _ => {}
    }
}

fn run(input: &[u8]) -> &'static str {
    let Some((kind, bytes)) = input.split_first() else { return "short" };
    match kind % 4 {
        0 => claim(bytes),
        1 => watermark(bytes),
        2 => pin(bytes),
        _ => verified(bytes),
    }
}

fn claim(bytes: &[u8]) -> &'static str {
    let Some((bytes, _)) = split::<CLAIM_LEN>(bytes) else { return "short" };
    match Claim::read(&bytes, OWN) {
        Ok(claim) => {
            assert_eq!(Claim::read(&claim.to_bytes(), OWN), Ok(claim));
            assert!(claim.segment <= OWN && claim.void_from <= OWN && claim.voids_before < OWN);
            if claim.void_from == SegmentNumber(0) { "claim" } else { "claim of voids" }
        }
        Err(error) => repository::name(error),
    }
}

fn watermark(slots: &[u8]) -> &'static str {
    let mut file = vec![0; SLOTS_FILE_LEN];
    let (first, rest) = slots.split_at(slots.len().min(WATERMARK_SLOT_LEN));
    let second = &rest[..rest.len().min(WATERMARK_SLOT_LEN)];
    file[..first.len()].copy_from_slice(first);
    file[SLOT_STRIDE..][..second.len()].copy_from_slice(second);
    let Some(newest) = watermark::read(&file) else { return "no watermark" };
    let place = watermark::next_slot(&file);
    file[place..][..WATERMARK_SLOT_LEN].copy_from_slice(&watermark::to_slot(&newest));
    assert_eq!(watermark::read(&file), Some(newest), "the newest one stays the newest");
    "watermark"
}

fn pin(name: &[u8]) -> &'static str {
    let Some(holder) = str::from_utf8(name).ok().and_then(Holder::from_file_name) else {
        return "no pin";
    };
    let file = holder.file();
    assert_eq!(file.parent(), Some(Path::new(PINS_DIR)), "it lies where pins lie");
    assert_eq!(file.file_name().map(|it| it.as_encoded_bytes()), Some(name));
    "pin"
}

fn verified(bytes: &[u8]) -> &'static str {
    let session = repository::session();
    match verified::read(bytes, &session) {
        Ok(outcome) => {
            assert!(bytes.len() <= VERIFIED_LEN_MAX);
            let again = verified::to_bytes(&outcome, &session);
            assert_eq!(verified::read(&again, &session), Ok(outcome));
            "verified"
        }
        Err(error) => repository::name(error),
    }
}
