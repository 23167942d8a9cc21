//! Ingest: a first sync into a repository beside the plain writing of the same bytes, durably, on
//! the same disk.
//!
//! `dd` syncs once, at the end. A server cannot: it acknowledges an epoch when it is durable. So a
//! second comparison writes the same epochs and syncs as often. Both ends of the server's
//! connection are on this machine, and share its processors.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use snapless_bench::feed::Feed;

use super::{Cases, MIB, series};
use crate::content::Content;
use crate::error::{IoContext, Result};
use crate::process::{bytes_to_disk, cpu_seconds, peak_memory, run};
use crate::run::{COMPARE_LEN, compare, fill_with, in_turn};
use crate::server::{Repository, Sealing, VOLUME};
use crate::statistics::Series;
use crate::table::Row;

/// Bytes of a record of a first sync.
const RECORD: usize = 64 << 10;
/// Bytes of a frame, which the server writes at once.
const FRAME: usize = 4 << 20;
/// Frames of an epoch.
const EPOCH_FRAMES: usize = 16;
/// Bytes of an acknowledged end.
const SLOT: [u8; 64] = [1; 64];

/// What a server did.
struct Ingest {
    seconds: f64,
    /// Bytes that it wrote to the disk, for each of content.
    written: f64,
    /// Bytes of the repository, for each of content.
    stored: f64,
    /// MiB of memory at most.
    memory: f64,
    /// CPU seconds per GiB.
    cpu: f64,
}

impl Cases {
    pub(super) fn ingest(&mut self) -> Result<()> {
        let image = self.setting.folder.join("ingest.img");
        let sealings = Sealing::offered(&self.server)?;
        for content in Content::BOTH {
            fill_with(content, &image, self.plan.store_size)?;
            let (mut dd, mut bare) = (Vec::new(), Vec::new());
            let mut ours: Vec<Vec<Ingest>> = sealings.iter().map(|_| Vec::new()).collect();
            for round in 0..self.plan.rounds {
                for index in in_turn(round, (0..sealings.len() + 2).collect()) {
                    match index.checked_sub(2) {
                        Some(index) => ours[index].push(self.ingest_run(&image, sealings[index])?),
                        None if index == 0 => dd.push(self.dd(&image)?),
                        None => bare.push(self.bare_writes(&image)?),
                    }
                }
            }
            for (sealing, ours) in sealings.iter().zip(&ours) {
                self.ingest_rows(content, *sealing, ours, [&dd, &bare]);
            }
        }
        Ok(std::fs::remove_file(&image).on("remove", &image)?)
    }

    fn ingest_rows(
        &mut self,
        content: Content,
        sealing: Sealing,
        ours: &[Ingest],
        [dd, bare]: [&[f64]; 2],
    ) {
        #[allow(clippy::cast_precision_loss)]
        let mib = self.plan.store_size as f64 / MIB;
        let case = format!("ingest of {mib:.0} MiB, {}: {sealing}", content.name());
        for (name, theirs) in [("`dd conv=fdatasync`", dd), ("the same writes and syncs", bare)] {
            let ratio: Series = ours.iter().zip(theirs).map(|(a, b)| b / a.seconds).collect();
            self.rows.push(Row::new(
                &case,
                "MiB/s",
                series(ours, |it| mib / it.seconds).quartile_text(0),
                format!("{name}: {}", series(theirs, |it| mib / it).quartile_text(0)),
                ratio.quartile_text(2),
            ));
        }
        self.rows.push(Row::new(
            case,
            "bytes written and bytes stored for each of content; memory, MiB; CPU, s per GiB",
            format!(
                "{}, {}; {}; {}",
                series(ours, |it| it.written).quartile_text(3),
                series(ours, |it| it.stored).quartile_text(3),
                series(ours, |it| it.memory).quartile_text(0),
                series(ours, |it| it.cpu).quartile_text(2)
            ),
            "",
            "",
        ));
    }

    fn ingest_run(&self, image: &Path, sealing: Sealing) -> Result<Ingest> {
        let folder = &self.setting.folder;
        let repository = Repository::init(&self.server, &folder.join("ingest"), sealing)?;
        let server = repository.serve()?;
        let size = self.plan.store_size;
        let mut feed = Feed::begin(&server.address, VOLUME, size)?;
        let (written, cpu) = (bytes_to_disk(server.id()), cpu_seconds(server.id()));
        let began = Instant::now();
        first_sync(&mut feed, image, size)?;
        let seconds = began.elapsed().as_secs_f64();
        #[allow(clippy::cast_precision_loss)]
        let [written, stored, memory, content] = [
            bytes_to_disk(server.id()) - written,
            repository.stored_bytes()?,
            peak_memory(server.id()),
            size,
        ]
        .map(|bytes| bytes as f64);
        let cpu = (cpu_seconds(server.id()) - cpu) / (content / MIB / 1024.0);
        drop((feed, server));
        let restored = folder.join("ingest.restored");
        repository.restore("latest", &restored)?;
        let steps = (0..size).step_by(COMPARE_LEN);
        compare("an ingest", &restored, image, steps)?;
        std::fs::remove_file(&restored).on("remove", &restored)?;
        repository.remove()?;
        let (written, stored) = (written / content, stored / content);
        Ok(Ingest { seconds, written, stored, memory: memory / MIB, cpu })
    }

    /// Seconds of `dd`.
    fn dd(&self, image: &Path) -> Result<f64> {
        let to = self.setting.folder.join("ingest.dd");
        let argument = |name: &str, path: &Path| format!("{name}={}", path.display());
        let mut command = Command::new("dd");
        command.args([argument("if", image), argument("of", &to)]);
        command.args(["bs=4M", "conv=fdatasync", "status=none"]);
        let began = Instant::now();
        run("dd", &mut command)?;
        let seconds = began.elapsed().as_secs_f64();
        std::fs::remove_file(&to).on("remove", &to)?;
        Ok(seconds)
    }

    /// Seconds of a server's writes and syncs, without a server.
    fn bare_writes(&self, image: &Path) -> Result<f64> {
        let [to, end] = ["ingest.bare", "ingest.end"].map(|name| self.setting.folder.join(name));
        let began = Instant::now();
        let mut source = File::open(image).on("open", image)?;
        let mut target = File::create(&to).on("create", &to)?;
        let acknowledged = File::create(&end).on("create", &end)?;
        let mut bytes = vec![0; FRAME];
        let mut frames: usize = 0;
        loop {
            let len = read_full(&mut source, &mut bytes, image)?;
            target.write_all(&bytes[..len]).on("write", &to)?;
            frames += 1;
            if len < FRAME || frames.is_multiple_of(EPOCH_FRAMES) {
                target.sync_data().on("sync", &to)?;
                acknowledged.write_all_at(&SLOT, 0).on("write", &end)?;
                acknowledged.sync_data().on("sync", &end)?;
            }
            if len < FRAME {
                break;
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        for path in [to, end] {
            std::fs::remove_file(&path).on("remove", &path)?;
        }
        Ok(seconds)
    }
}

/// Sends the content of a file as a first sync, until it is durable.
pub(super) fn first_sync(feed: &mut Feed, image: &Path, size: u64) -> Result<()> {
    let mut source = File::open(image).on("open", image)?;
    let mut bytes = vec![0; RECORD];
    for offset in (0..size).step_by(RECORD) {
        let len = read_full(&mut source, &mut bytes, image)?;
        feed.stream().block(offset, &bytes[..len])?;
    }
    feed.stream().base_complete()?;
    Ok(feed.settle()?)
}

/// Reads until the buffer is full or the file ends; returns the bytes that were read.
fn read_full(file: &mut File, bytes: &mut [u8], path: &Path) -> Result<usize> {
    let mut len = 0;
    while len < bytes.len() {
        match file.read(&mut bytes[len..]).on("read", path)? {
            0 => break,
            read => len += read,
        }
    }
    Ok(len)
}
