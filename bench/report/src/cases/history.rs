//! Histories of an hour, a day and 30 days at 1,000 writes a second on 64 GiB: what a point, a
//! report and a Hello cost must not grow with them.
//!
//! 30 days are 2.6 milliard writes, 11 TB. So the long histories are of a small part of the volume
//! with as small a part of the writes, in segments and between maps that are as much smaller: their
//! counts of segments and maps are those of the whole. One hour has all counts, of records and of
//! pieces of the volume too: only the lengths of its volume and of its writes are an eighth.

use std::path::PathBuf;

use snapless_bench::feed::hello_seconds;
use snapless_bench::history::{self, History, WRITE_LEN};

use super::{Cases, MIB, series};
use crate::error::{IoContext, Result};
use crate::history::write;
use crate::process::{self, Used};
use crate::run::{COMPARE_LEN, compare, copy, in_turn};
use crate::server::{Repository, VOLUME};
use crate::statistics::Series;
use crate::table::Row;

/// The volume, in bytes.
const LENGTH: u64 = 64 << 30;
const WRITES_PER_HOUR: u64 = 3600 * 1000;
const SPANS: [(&str, u64); 3] = [("1 h", 1), ("1 day", 24), ("30 days", 30 * 24)];
/// KiB of a segment, and of the stream between two maps.
const SEGMENT: u64 = 256 << 10;
const MAP: u64 = 4 << 20;
/// Bytes of a record's header.
const HEADER: u64 = 64;
/// Lengths of the hour with all counts are divided by this.
const SHORT: u64 = 8;
/// Cost after a long history, for that after an hour.
const FLAT: f64 = 1.5;
/// Seconds until the first byte of a mount.
const FIRST_BYTE: f64 = 1.0;

/// A repository with a history.
struct Stored {
    name: &'static str,
    repository: Repository,
    history: History,
    plan: history::Plan,
    length: u64,
    folder: PathBuf,
}

/// What was measured of it, in seconds and bytes of memory.
#[derive(Clone, Copy, Debug)]
struct Measured {
    /// Restores of the latest point, of the middle and of t0.
    restores: Option<[Used; 3]>,
    mount: Used,
    list: Used,
    points: Used,
    /// The start of a server, and its memory after a Hello.
    serve: Used,
    hello: f64,
}

/// The name and the value of a measurement.
type Quantity = (&'static str, fn(&Measured) -> f64);

const RESTORES: [Quantity; 3] = [
    ("restore of the latest point, s", |it| it.restore(0).seconds),
    ("restore of the middle, s", |it| it.restore(1).seconds),
    ("restore of t0, s", |it| it.restore(2).seconds),
];
const OTHERS: [Quantity; 5] = [
    ("mount of the latest point: first byte, s", |it| it.mount.seconds),
    ("list, s", |it| it.list.seconds),
    ("points, s", |it| it.points.seconds),
    ("start of the server, s", |it| it.serve.seconds),
    ("Hello, s", |it| it.hello),
];

impl Measured {
    fn restore(&self, index: usize) -> Used {
        self.restores.map_or(Used { seconds: 0.0, memory: 0 }, |all| all[index])
    }
}

impl Cases {
    pub(super) fn histories(&mut self) -> Result<()> {
        let spans = &SPANS[..self.plan.history_spans.min(SPANS.len())];
        let stored = spans.iter().map(|(name, hours)| self.long_history(name, *hours));
        let stored: Vec<Stored> = stored.collect::<Result<_>>()?;
        let mut measured: Vec<Vec<Measured>> = stored.iter().map(|_| Vec::new()).collect();
        for round in 0..self.plan.rounds {
            for index in in_turn(round, (0..stored.len()).collect()) {
                measured[index].push(stored[index].measure()?);
            }
        }
        let part = self.plan.history_part;
        let hour = &measured[0];
        for (stored, measured) in stored.iter().zip(&measured) {
            let name = stored.name;
            let case = format!("{name} at 1,000 IOPS on 64 GiB, 1/{part} of both");
            let quantities = RESTORES.into_iter().chain(OTHERS);
            self.rows.extend(rows(&case, measured, quantities, (name != "1 h").then_some(hour)));
            self.rows.extend(stored.summaries(case, measured));
        }
        for stored in stored {
            stored.remove()?;
        }
        let stored = self.whole_hour()?;
        let measured = (0..self.plan.rounds).map(|_| stored.measure());
        let measured: Vec<Measured> = measured.collect::<Result<_>>()?;
        let part = self.plan.hour_part;
        let part = if part == 1 { String::new() } else { format!(", 1/{part} of the IOPS") };
        let case = format!("1 h at 1,000 IOPS on 64 GiB, all lengths 1/{SHORT}{part}");
        self.rows.extend(rows(&case, &measured, OTHERS, None));
        self.rows.extend(stored.summaries(case, &measured));
        stored.remove()
    }

    /// A history of a part of the volume and of its writes.
    fn long_history(&self, name: &'static str, hours: u64) -> Result<Stored> {
        let part = self.plan.history_part;
        let folder = self.setting.folder.join(format!("history-{hours}"));
        std::fs::create_dir(&folder).on("create", &folder)?;
        let [begin, image, middle] =
            ["t0.img", "latest.img", "middle.img"].map(|name| folder.join(name));
        let length = (LENGTH / part).next_multiple_of(COMPARE_LEN as u64);
        for path in [&begin, &image] {
            copy(&self.setting.disk, path, length)?;
        }
        let segment = (SEGMENT / part).max(1);
        let plan = history::Plan {
            repository: folder.join("r"),
            begin: history::Begin::Image { image, middle: Some(middle) },
            writes: WRITES_PER_HOUR * hours / part,
            interval_us: 1000 * part,
            // Four epochs a segment, or an epoch for each write.
            epoch_writes: ((segment << 10) / 4 / (WRITE_LEN + HEADER)).clamp(1, 1000),
            segment_bytes: segment << 10,
            map_bytes: (MAP / part).max(1) << 10,
            ..history::Plan::default()
        };
        self.stored(name, folder, plan, length)
    }

    /// An hour of all writes, each of them shorter.
    fn whole_hour(&self) -> Result<Stored> {
        let folder = self.setting.folder.join("history-whole");
        std::fs::create_dir(&folder).on("create", &folder)?;
        let length = LENGTH / SHORT;
        let write_len = WRITE_LEN / SHORT;
        // Of as many records as in the whole.
        let shortened = |kib: u64| (kib << 10) * (write_len + HEADER) / (WRITE_LEN + HEADER);
        let part = self.plan.hour_part;
        let plan = history::Plan {
            repository: folder.join("r"),
            begin: history::Begin::Empty { length },
            writes: WRITES_PER_HOUR / part,
            write_len,
            interval_us: 1000 * part,
            epoch_writes: 1000,
            segment_bytes: shortened(SEGMENT) >> 10 << 10,
            map_bytes: shortened(MAP) >> 10 << 10,
            ..history::Plan::default()
        };
        self.stored("1 h", folder, plan, length)
    }

    fn stored(
        &self,
        name: &'static str,
        folder: PathBuf,
        plan: history::Plan,
        length: u64,
    ) -> Result<Stored> {
        let repository = Repository::at(&self.server, &plan.repository);
        let history = write(&self.setting.host, &plan)?;
        Ok(Stored { name, repository, history, plan, length, folder })
    }
}

fn rows(
    case: &str,
    measured: &[Measured],
    quantities: impl IntoIterator<Item = Quantity>,
    hour: Option<&Vec<Measured>>,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, of) in quantities {
        let ours = series(measured, of);
        let (mut other, mut ratio) = (String::new(), Series::default());
        if let Some(hour) = hour {
            other = format!("after 1 h: {}", series(hour, of).quartile_text(3));
            ratio = measured.iter().zip(hour).map(|(long, hour)| of(long) / of(hour)).collect();
        }
        let text = if hour.is_some() { ratio.quartile_text(2) } else { String::new() };
        let row = Row::new(case, name, ours.quartile_text(3), other, text);
        let is_mount = name.starts_with("mount");
        rows.push(match hour {
            _ if is_mount => row.marked("≤ 1 s", ours.median() <= FIRST_BYTE),
            Some(_) => row.at_most(FLAT, ratio.median()),
            None => row,
        });
    }
    rows
}

impl Stored {
    fn measure(&self) -> Result<Measured> {
        let (offset, want) = self.plan.write(self.plan.writes - 1, self.length);
        let len = u32::try_from(want.len()).unwrap_or(0);
        let socket = self.folder.join("disk.sock");
        let mounted = self.repository.mount("latest", &socket, (offset, len))?;
        if mounted.bytes != want {
            return Err(process::failed("a mount", "its first bytes are not those written last"));
        }
        let mount = Used { seconds: mounted.seconds, memory: mounted.peak_memory() };
        drop(mounted);
        let server = self.repository.serve()?;
        let hello = hello_seconds(&server.address, VOLUME, self.length)?;
        let serve = Used { seconds: server.seconds, memory: process::peak_memory(server.id()) };
        drop(server);
        Ok(Measured {
            restores: self.restores()?,
            mount,
            list: self.repository.list()?,
            points: self.repository.points()?,
            serve,
            hello,
        })
    }

    /// Restores of the latest point, of the middle and of t0; none of a volume without images.
    fn restores(&self) -> Result<Option<[Used; 3]>> {
        if matches!(self.plan.begin, history::Begin::Empty { .. }) {
            return Ok(None);
        }
        let restore = |at: &str, image: &str| -> Result<Used> {
            let to = self.folder.join("restored.img");
            let used = self.repository.restore(at, &to)?;
            let steps = (0..self.length).step_by(COMPARE_LEN);
            compare("a restore", &to, &self.folder.join(image), steps)?;
            std::fs::remove_file(&to).on("remove", &to)?;
            Ok(used)
        };
        Ok(Some([
            restore("latest", "latest.img")?,
            restore(&self.history.middle, "middle.img")?,
            restore("t0", "t0.img")?,
        ]))
    }

    /// What it takes in memory and on the disk.
    fn summaries(&self, case: String, measured: &[Measured]) -> [Row; 2] {
        #[allow(clippy::cast_precision_loss)]
        let mib =
            |of: fn(&Measured) -> u64| series(measured, |it| of(it) as f64 / MIB).quartile_text(0);
        let mut memory: Vec<String> = vec![
            format!("mount {}", mib(|it| it.mount.memory)),
            format!("list {}", mib(|it| it.list.memory)),
            format!("points {}", mib(|it| it.points.memory)),
            format!("server {}", mib(|it| it.serve.memory)),
        ];
        if measured.iter().all(|it| it.restores.is_some()) {
            memory.insert(0, format!("restore {}", mib(|it| it.restore(0).memory)));
        }
        let History { records, segments, maps, .. } = self.history;
        #[allow(clippy::cast_precision_loss)]
        let per = |bytes: u64, of: u64| bytes as f64 / of.max(1) as f64;
        let History { index_bytes, map_bytes, written_bytes, content_bytes, .. } = self.history;
        [
            Row::new(&case, "memory, MiB", memory.join(", "), "", ""),
            Row::new(
                case,
                "bytes of indices, of maps for each record; bytes written for each of content",
                format!(
                    "{:.1}, {:.1}; {:.3}",
                    per(index_bytes, records),
                    per(map_bytes, records),
                    per(written_bytes, content_bytes)
                ),
                format!("{records} records, {segments} segments, {maps} maps"),
                "",
            ),
        ]
    }

    fn remove(self) -> Result<()> {
        Ok(std::fs::remove_dir_all(&self.folder).on("remove", &self.folder)?)
    }
}
