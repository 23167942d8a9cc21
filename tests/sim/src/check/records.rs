//! Rules T0, ORDER and RESUME (rules.md#t0, rules.md#order, rules.md#resume), record by record.

use snapless_engine::Record;
use snapless_types::{Clearing, RecordKind};

use crate::failure::{Broken, Rule, ensure};
use crate::far_end::Received;
use crate::ledger::Ledger;
use crate::link::Link;
use crate::volume::{Content, Sectors, Volume, WriteId};

/// Records are numbered and timed in order, the stream begins and goes on after a loss as it
/// should, and overlapping writes have the order in which the disk applied them.
pub fn order(ledger: &Ledger, link: &Link) -> Result<(), Broken> {
    let mut last: Option<&Record> = None;
    let mut place_of: Vec<Option<u64>> = vec![None; ledger.writes.len()];
    let mut captured_to: Vec<Option<usize>> = vec![None; ledger.writes.len()];
    for (index, received) in link.kept.iter().enumerate() {
        let record = &received.record;
        let (seq, begins) = (record.seq, index == 0 || link.losses.contains(&index));
        if let Some(last) = last {
            let follows = if begins { seq > last.seq } else { seq.get() == last.seq.get() + 1 };
            ensure!(follows, Rule::Order, "record {seq} comes after record {}", last.seq);
            ensure!(
                record.monotonic >= last.monotonic && record.epoch >= last.epoch,
                Rule::Order,
                "record {seq} is earlier than the one before it"
            );
        }
        ensure!(
            !begins || matches!(record.kind, RecordKind::SessionStart | RecordKind::GapBegin),
            Rule::Resume,
            "the stream goes on after a loss with {record:?}"
        );
        let reason = match record.kind {
            RecordKind::GapBegin => ledger.gap_reason(seq.get()),
            _ => None,
        };
        ensure!(
            record.gap_reason == reason,
            Rule::Gap,
            "{record:?} lacks the reason of its gap, {reason:?}"
        );
        if matches!(record.kind, RecordKind::Write | RecordKind::Trim | RecordKind::Zero) {
            let id = writer_of(ledger, received)?;
            let sectors = received.sectors(&ledger.volume);
            let captured = &mut captured_to[id.0 as usize];
            let next = captured.unwrap_or(ledger.write(id).sectors.start);
            // What is lost with the service may leave a part out.
            ensure!(
                sectors.start == next || sectors.start > next && !link.losses.is_empty(),
                Rule::Order,
                "record {seq} has write {id} from sector {} on, not from {next}",
                sectors.start
            );
            *captured = Some(sectors.end);
            place_of[id.0 as usize] = Some(seq.get());
        }
        last = Some(record);
    }
    let mut applied_up_to = vec![0; ledger.volume.sectors + ledger.volume.beyond];
    for applied in &ledger.applied {
        let Some(seq) = applied.content.writer().and_then(|id| place_of[id.0 as usize]) else {
            continue;
        };
        let up_to = &mut applied_up_to[applied.sector];
        ensure!(
            seq >= *up_to,
            Rule::Order,
            "the disk applied record {seq} to sector {} after record {up_to}",
            applied.sector
        );
        *up_to = seq;
    }
    Ok(())
}

/// How much of the base image the server has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Base {
    /// All of it, and the record that says so.
    pub complete: bool,
    /// All of it.
    pub whole: bool,
}

/// Rule T0: blocks of the base image are as they were at t0, each once, ahead of every write to
/// them. True if the base image is whole.
pub fn base(ledger: &Ledger, link: &Link) -> Result<Base, Broken> {
    let volume = &ledger.volume;
    let Some(t0) = &ledger.base else { return Ok(Base::default()) };
    let mut captured = vec![false; volume.blocks()];
    let mut touched = vec![false; volume.blocks()];
    let mut complete = false;
    for received in &link.kept {
        let record = &received.record;
        let sectors = received.sectors(volume);
        let blocks = volume.blocks_of(&sectors);
        match record.kind {
            RecordKind::SessionStart => ensure!(
                record.time == t0.clock,
                Rule::T0,
                "{record:?} begins the stream, and t0 was at {}",
                t0.clock
            ),
            RecordKind::Block | RecordKind::Unallocated | RecordKind::Excluded => {
                whole_blocks(volume, &sectors)?;
                let is_empty = record.kind == RecordKind::Unallocated;
                let has_payload = record.kind == RecordKind::Block;
                if record.kind == RecordKind::Excluded {
                    let others = sectors.clone().find(|&it| t0.sectors[it] != Content::PAGED);
                    ensure!(
                        others.is_none(),
                        Rule::T0,
                        "sector {others:?} is excluded, and was no paging file's at t0"
                    );
                }
                for block in blocks {
                    ensure!(!captured[block], Rule::T0, "block {block} is in the base image twice");
                    ensure!(!touched[block], Rule::T0, "block {block} comes after a write to it");
                    let held_data = is_empty && !ledger.empty[block];
                    ensure!(!held_data, Rule::T0, "block {block} held data at t0");
                    captured[block] = true;
                }
                let difference = sectors
                    .clone()
                    .zip(&received.payload)
                    .filter(|&(sector, _)| !ledger.unreadable[sector])
                    .filter(|&(sector, _)| t0.sectors[sector] != Content::PAGED)
                    .find(|&(sector, &content)| content != t0.sectors[sector]);
                ensure!(
                    difference.is_none()
                        && (!has_payload || received.payload.len() == sectors.len()),
                    Rule::T0,
                    "{record:?}: sectors {sectors:?} are not as they were at t0: {difference:?}"
                );
            }
            RecordKind::Unreadable => {
                let good = sectors.clone().find(|&sector| !ledger.unreadable[sector]);
                ensure!(
                    good.is_none(),
                    Rule::T0,
                    "sector {good:?} is recorded as unreadable, but no read of it failed"
                );
                // The first record of a block: the base image has a hole there.
                if whole_blocks(volume, &sectors).is_ok() {
                    for block in blocks.filter(|&block| !touched[block]) {
                        captured[block] = true;
                    }
                } else {
                    ensure!(
                        captured[blocks.start] || touched[blocks.start],
                        Rule::T0,
                        "a hole in block {} comes before the block",
                        blocks.start
                    );
                }
            }
            RecordKind::Write | RecordKind::Trim | RecordKind::Zero => touched[blocks].fill(true),
            // They change nothing.
            RecordKind::Check => whole_blocks(volume, &sectors)?,
            // The engine makes the first only.
            RecordKind::Resync | RecordKind::Unchanged => {
                whole_blocks(volume, &sectors)?;
                // Only blocks that the stream described before, or whose t0 content is lost.
                touched[blocks].fill(true);
            }
            RecordKind::BaseComplete => {
                let missing = captured.iter().position(|&captured| !captured);
                ensure!(
                    missing.is_none() && !complete,
                    Rule::T0,
                    "the base image is recorded as complete, block {missing:?} is missing"
                );
                complete = true;
            }
            RecordKind::EpochEnd | RecordKind::GapBegin | RecordKind::Consistent => {}
        }
    }
    Ok(Base { complete, whole: captured.iter().all(|&captured| captured) })
}

fn whole_blocks(volume: &Volume, sectors: &Sectors) -> Result<(), Broken> {
    let blocks = volume.blocks_of(sectors);
    let whole = blocks.start * volume.block_sectors
        ..(blocks.end * volume.block_sectors).min(volume.sectors);
    ensure!(*sectors == whole, Rule::T0, "sectors {sectors:?} are not whole blocks");
    Ok(())
}

/// The write that a record is of; its payload is that write or a part of it, and nothing else.
fn writer_of(ledger: &Ledger, received: &Received) -> Result<WriteId, Broken> {
    let Record { seq, kind, .. } = received.record;
    let sectors = received.sectors(&ledger.volume);
    let writer = received.payload.first().and_then(|content| content.writer());
    let kind_of = |id| match ledger.write(id).clearing {
        None => RecordKind::Write,
        Some(Clearing::Trim) => RecordKind::Trim,
        Some(Clearing::Zero) => RecordKind::Zero,
    };
    let is_its = |id: &WriteId| {
        let write = ledger.write(*id);
        let is_part = write.parts.is_some()
            && write.sectors.start <= sectors.start
            && sectors.end <= write.sectors.end;
        (write.sectors == sectors || is_part) && kind_of(*id) == kind
    };
    let what = || format!("record {seq} of {sectors:?} has the payload of {writer:?}");
    let id = writer.filter(is_its).ok_or_else(|| Broken::new(Rule::Bound, what()))?;
    let expected = sectors.map(|sector| ledger.content(id, sector).of_any_edition());
    ensure!(
        expected.eq(received.payload.iter().map(|content| content.of_any_edition())),
        Rule::Bound,
        "record {seq} has sectors of other writes than {id}"
    );
    Ok(id)
}
