//! The slots of an unfinished image: two, one behind the other, without the stretch between them.

use snapless_server::format::slots::{SLOT_STRIDE, SLOTS_FILE_LEN};
use snapless_server::format::unfinished::{TARGET_NAME_MAX, UNFINISHED_LEN, Unfinished};

use super::Target;
use super::repository::{name, seal};

pub(super) const TARGET: Target = Target {
    name: "unfinished",
    repairs: &[repair],
    run,
    reached: &["of a file", "of a device", "short", "magic", "version", "checksum", "content"],
};

/// Makes the checksums right.
fn repair(input: &mut [u8]) {
    input.chunks_exact_mut(UNFINISHED_LEN).for_each(seal);
}

fn run(input: &[u8]) -> &'static str {
    let mut slots = vec![0; SLOTS_FILE_LEN];
    for (slot, start) in input.chunks(UNFINISHED_LEN).zip([0, SLOT_STRIDE]) {
        slots[start..start + slot.len()].copy_from_slice(slot);
    }
    if input.len() < UNFINISHED_LEN {
        slots.truncate(input.len());
    }
    match Unfinished::read(&slots) {
        Ok(found) => {
            assert!(found.done <= found.image.geometry.length());
            assert!(found.name.len() <= TARGET_NAME_MAX);
            let slot = found.to_slot().expect("its name is not too long");
            let mut again = vec![0; SLOTS_FILE_LEN];
            again[found.slot_offset()..][..UNFINISHED_LEN].copy_from_slice(&slot);
            assert_eq!(Unfinished::read(&again).as_ref(), Ok(&found), "it comes back the same");
            if found.name.is_empty() { "of a device" } else { "of a file" }
        }
        Err(error) => name(error),
    }
}
