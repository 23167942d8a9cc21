//! What a stream of writes costs to keep, beside backups in chunks of 4 MiB of the same volume
//! ([`crate::chunk_store`]): bytes written, bytes stored, recovery points.
//!
//! The volume is a small part of one of 64 GiB, with as small a part of its writes.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use fastrand::Rng;
use snapless_bench::feed::Feed;

use super::ingest::first_sync;
use super::{Cases, MIB};
use crate::chunk_store::{Backups, Counted};
use crate::content::Content;
use crate::error::{IoContext, Result};
use crate::process::bytes_to_disk;
use crate::run::{COMPARE_LEN, compare, fill_with};
use crate::server::{Repository, Sealing, VOLUME};
use crate::table::Row;
use crate::trace::{LEN_MEAN, Trace, Write};

const DAYS: u64 = 2;
/// The part of the volume that is written in a day.
const DAILY: u64 = 20;
/// Writes of an epoch, of a second: at 64 GiB there are 2.9 a second.
const EPOCH_WRITES: u64 = 3;
/// After so many writes there is no further backup of those that are made after each one: they are
/// alike.
const SAMPLE: u64 = 256;

/// What was written and stored after the first copy, and how many points it made.
#[derive(Clone, Copy)]
struct Kept {
    first: u64,
    written: u64,
    stored: u64,
    points: u64,
}

/// The volume and its writes.
struct Traced<'a> {
    /// Its content at t0.
    image: &'a Path,
    size: u64,
    /// The number of writes.
    writes: u64,
}

impl Cases {
    pub(super) fn chunks(&mut self) -> Result<()> {
        let folder = &self.setting.folder;
        let [image, end] = ["trace.img", "trace.end"].map(|name| folder.join(name));
        let size = self.plan.store_size;
        fill_with(Content::Half, &image, size)?;
        let traced = Traced { image: &image, size, writes: DAYS * size / DAILY / LEN_MEAN };
        let theirs = [
            ("8 backups a day", traced.backups(8 * DAYS, &end)?),
            ("a backup a day", traced.backups(DAYS, &end)?),
            ("a backup at each write", traced.sampled(&end)?),
        ];
        for sealing in Sealing::offered(&self.server)? {
            let root = folder.join("trace");
            let repository = Repository::init(&self.server, &root, sealing)?;
            let ours = traced.feed(&repository)?;
            let restored = folder.join("trace.restored");
            repository.restore("latest", &restored)?;
            let steps = (0..size).step_by(COMPARE_LEN);
            compare("a trace", &restored, &end, steps)?;
            std::fs::remove_file(&restored).on("remove", &restored)?;
            repository.remove()?;
            for (name, theirs) in theirs {
                self.rows.push(row(&traced, sealing, ours, (name, theirs)));
            }
        }
        for path in [&image, &end] {
            std::fs::remove_file(path).on("remove", path)?;
        }
        Ok(())
    }
}

fn row(traced: &Traced, sealing: Sealing, ours: Kept, (name, theirs): (&str, Kept)) -> Row {
    #[allow(clippy::cast_precision_loss)]
    let mib = |bytes: u64| bytes as f64 / MIB;
    let text = |kept: Kept| {
        let [first, written, stored] = [kept.first, kept.written, kept.stored].map(mib);
        format!("{first:.0}; {written:.1}; {stored:.1}; {}", kept.points)
    };
    let size = mib(traced.size);
    let case = format!(
        "{DAYS} days of {} writes, {:.0} MiB, in {size:.0} MiB, half compressible: {sealing}",
        traced.writes,
        mib(traced.writes * LEN_MEAN)
    );
    Row::new(
        case,
        "first copy, MiB; after it: written, MiB; stored, MiB; recovery points",
        text(ours),
        format!("4 MiB chunks, {name}: {}", text(theirs)),
        format!("written: {:.3}", mib(ours.written) / mib(theirs.written)),
    )
}

impl Traced<'_> {
    /// Calls `each` with every write, its number from 1 on and its content.
    fn play(&self, mut each: impl FnMut(u64, Write, &[u8]) -> Result<()>) -> Result<()> {
        let (mut random, mut content) = (Rng::with_seed(2), vec![0; 64 << 10]);
        for (number, write) in (1..=self.writes).zip(Trace::new(self.size)) {
            let content = &mut content[..usize::try_from(write.len).unwrap_or(0)];
            Content::Half.fill(&mut random, content);
            each(number, write, content)?;
        }
        Ok(())
    }

    /// Calls `each` after every write to a copy of the image at `end`; first without one.
    fn play_on(
        &self,
        end: &Path,
        mut each: impl FnMut(u64, Option<Write>, &File) -> Result<()>,
    ) -> Result<()> {
        std::fs::copy(self.image, end).on("write", end)?;
        let disk = OpenOptions::new().read(true).write(true).open(end).on("open", end)?;
        each(0, None, &disk)?;
        self.play(|number, write, content| {
            disk.write_all_at(content, write.offset).on("write", end)?;
            each(number, Some(write), &disk)
        })
    }

    /// As many backups, after as many writes each.
    fn backups(&self, count: u64, end: &Path) -> Result<Kept> {
        let mut backups = Backups::new(self.size);
        let mut first = Counted::default();
        self.play_on(end, |number, write, disk| {
            if let Some(Write { offset, len }) = write {
                backups.touch(offset, len);
            }
            // The last write makes the last backup.
            if number * count / self.writes > number.saturating_sub(1) * count / self.writes {
                backups.back_up(disk).on("read", end)?;
            }
            if number == 0 {
                backups.back_up(disk).on("read", end)?;
                first = backups.counted();
            }
            Ok(())
        })?;
        Ok(kept(first, backups.counted().since(first)))
    }

    /// A backup after each write: the first ones, and as much for the others.
    fn sampled(&self, end: &Path) -> Result<Kept> {
        let mut backups = Backups::new(self.size);
        let mut first = Counted::default();
        self.play_on(end, |number, write, disk| {
            if number > SAMPLE {
                return Ok(());
            }
            if let Some(Write { offset, len }) = write {
                backups.touch(offset, len);
            }
            backups.back_up(disk).on("read", end)?;
            if number == 0 {
                first = backups.counted();
            }
            Ok(())
        })?;
        let sample = backups.counted().since(first);
        let all = |bytes: u64| bytes * self.writes / sample.backups;
        Ok(kept(
            first,
            Counted {
                backups: self.writes,
                stored: all(sample.stored),
                written: all(sample.written),
            },
        ))
    }

    /// Sends the first sync and the writes to a server.
    fn feed(&self, repository: &Repository) -> Result<Kept> {
        let server = repository.serve()?;
        let mut feed = Feed::begin(&server.address, VOLUME, self.size)?;
        first_sync(&mut feed, self.image, self.size)?;
        let (written, first) = (bytes_to_disk(server.id()), repository.stored_bytes()?);
        self.play(|number, write, content| {
            feed.stream().write(write.offset, content)?;
            let is_end = number.is_multiple_of(EPOCH_WRITES);
            if is_end { Ok(feed.settle()?) } else { Ok(()) }
        })?;
        feed.settle()?;
        let written = bytes_to_disk(server.id()) - written;
        let stored = repository.stored_bytes()? - first;
        Ok(Kept { first, written, stored, points: self.writes })
    }
}

fn kept(first: Counted, since: Counted) -> Kept {
    let Counted { stored, written, backups } = since;
    Kept { first: first.stored, written, stored, points: backups }
}
