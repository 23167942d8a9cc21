//! The rules, checked against the model after a run and whenever it is at rest.
//!
//! | check | rules |
//! | --- | --- |
//! | [`replica`] | LOSS: the server's replica equals the disk |
//! | [`stream`] | T0, ORDER, RESUME, POINT: what the server has, and what it restores |

mod image;
mod points;
mod records;
mod restores;

use crate::failure::{Broken, Rule, ensure};
use crate::far_end::FarEnd;
use crate::ledger::Ledger;
use crate::link::Link;
use crate::report::Report;
use crate::rng::Rng;
use crate::volume::Content;

use snapless_types::RecordKind;

use image::Image;

/// Rule LOSS (rules.md#loss): all records applied make up the disk, in the blocks that are
/// `certain`.
pub fn replica(
    ledger: &Ledger,
    link: &Link,
    disk: &[Content],
    certain: impl Fn(usize) -> bool,
) -> Result<(), Broken> {
    let volume = &ledger.volume;
    let mut image = Image::unknown(volume);
    for received in &link.kept {
        image.apply(received);
    }
    for block in (0..volume.blocks()).filter(|&block| certain(block)) {
        for sector in volume.sectors_in(block) {
            let on_disk = disk[sector];
            ensure!(
                image.shows(sector, on_disk, ledger),
                Rule::Loss,
                "sector {sector} (block {block}): the replica has {:?}, the disk {on_disk:?} by {:?}",
                image.cells[sector],
                on_disk.writer()
            );
        }
    }
    Ok(())
}

/// Rule LOSS: what was read to verify the copy is what the stream gives there. Returns how many
/// sectors were.
fn checks(ledger: &Ledger, link: &Link) -> Result<u64, Broken> {
    let mut image = Image::unknown(&ledger.volume);
    let mut verified = 0;
    for received in &link.kept {
        if received.record.kind == RecordKind::Check {
            for (sector, &read) in received.sectors(&ledger.volume).zip(&received.payload) {
                ensure!(
                    image.shows(sector, read, ledger),
                    Rule::Loss,
                    "{:?}: sector {sector} was read as {read:?}, the stream gives {:?}",
                    received.record,
                    image.cells[sector]
                );
                verified += 1;
            }
        }
        image.apply(received);
    }
    Ok(verified)
}

/// Rules T0, ORDER, RESUME and POINT: what the server has, record by record, and what it restores.
/// Returns the points that are restorable, those that the server restored, and whether the base
/// image is complete.
pub fn stream(ledger: &Ledger, link: &Link, rng: &mut Rng) -> Result<Report, Broken> {
    records::order(ledger, link)?;
    let base = records::base(ledger, link)?;
    let verified = checks(ledger, link)?;
    let far_end = link.far_end.as_ref().filter(|_| verified > 0 && link.durable >= link.kept.len());
    let compared = far_end.map_or(Ok(0), FarEnd::verify)?;
    let points = points::check(ledger, link, base.whole)?;
    let restored = restores::check(&ledger.volume, link, &points, rng)?;
    let (points, base_images) = (points.restorable.len() as u64, u64::from(base.complete));
    Ok(Report { points, restored, verified, compared, base_images, ..Report::default() })
}
