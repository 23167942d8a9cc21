//! The cases of the benchmark; each adds rows to the table.
//!
//! Rule: contestants take turns run by run, and a ratio is computed within a round, so that a
//! machine that becomes slower affects both.

mod alone;
mod bill;
mod chunks;
mod history;
mod ingest;
mod live;
mod log;
mod many;
mod packing;
mod restore;
mod slow;
mod sparse;

use std::path::{Path, PathBuf};

use crate::contestant::{Name, Target};
use crate::error::{IoContext, Result};
use crate::fio::{Fio, Load};
use crate::plot::Plots;
use crate::run::{LoadedSync, Plan, fill, in_turn};
use crate::setting::Setting;
use crate::statistics::{Series, Window, now_ms};
use crate::table::Row;

const MIB: f64 = 1024.0 * 1024.0;
/// A file system in memory.
const IN_MEMORY: &str = "/dev/shm";
/// Size of a volume there.
const MEMORY_SIZE: u64 = 256 << 20;
/// The engine's default hold limit.
const HOLD_LIMIT_MS: f64 = 200.0;
/// A write rate that every disk can carry.
const EASY_RATE: u32 = 500;

type Step = fn(&mut Cases) -> Result<()>;

const STEPS: [(&str, Step); 19] = [
    ("no session", Cases::no_session),
    ("no session on all processors", Cases::no_session_on_all_processors),
    ("holds of the lock at 64 TiB", Cases::lock),
    ("many writes held at once", Cases::burst),
    ("first sync without writers", Cases::quiet_sync),
    ("first sync under writers", Cases::loaded_syncs),
    ("first sync under an easy rate of writes", Cases::easy_rate),
    ("slow target", Cases::slow_target),
    ("live replication", Cases::live),
    ("the write-intent log", Cases::log),
    ("several volumes", Cases::many),
    ("a sparse volume of 64 TiB", Cases::sparse),
    ("TLS on the link", Cases::tls),
    ("compression on the link", Cases::packing),
    ("ingest into a repository", Cases::ingest),
    ("restores and mounts after a history", Cases::restores),
    ("histories of an hour, a day and 30 days", Cases::histories),
    ("a repository beside fixed chunks", Cases::chunks),
    ("the bill of many volumes in an object store", Cases::bill),
];

/// A running benchmark.
pub struct Cases {
    /// Its extent.
    pub plan: Plan,
    /// Programs, files and limits.
    pub setting: Setting,
    /// The program `snapless-server`.
    pub server: PathBuf,
    /// The results so far.
    pub rows: Vec<Row>,
    /// The plots.
    pub plots: Plots,
}

impl Cases {
    /// Runs the cases whose name contains `only`.
    pub fn run(&mut self, only: &str) -> Result<()> {
        let steps = STEPS.iter().filter(|(name, _)| name.contains(only));
        let total = steps.clone().count();
        for (index, (name, step)) in steps.enumerate() {
            let began = std::time::Instant::now();
            step(self)?;
            let seconds = began.elapsed().as_secs_f64();
            eprintln!("[{}/{total}] {name} ... ok ({seconds:.1} s)", index + 1);
        }
        Ok(())
    }

    /// On a file in memory: the disk's variation would hide the cost of the rundown.
    fn no_session(&mut self) -> Result<()> {
        let folder = tempfile::Builder::new().prefix("snapless-bench-").tempdir_in(IN_MEMORY);
        let folder = folder.on("make a folder in", Path::new(IN_MEMORY))?;
        let setting = Setting {
            disk: folder.path().join("disk.img"),
            size: MEMORY_SIZE,
            ..self.setting.clone()
        };
        fill(&setting.disk, setting.size)?;
        for load in [Load::writes("4k", 16), Load::writes("4k", 1)] {
            let mut windows: [Vec<Window>; 2] = [Vec::new(), Vec::new()];
            // More rounds than elsewhere: the difference is small.
            for round in 0..2 * self.plan.rounds {
                for index in in_turn(round, vec![0, 1]) {
                    let engine = ["off", "idle"][index];
                    let window = setting.without_sync(&self.plan, engine, &load)?;
                    windows[index].push(window);
                }
            }
            let [off, idle] = &windows;
            let case = format!("no session, file in memory, {}", load.name());
            let iops: Series = pairs(idle, off, |it| it.iops);
            let row = Row::new(
                &case,
                "IOPS, engine idle",
                series(idle, |it| it.iops).text(0),
                format!("compiled out: {}", series(off, |it| it.iops).text(0)),
                iops.text(3),
            );
            self.rows.push(row.at_least(0.99, iops.median()));
            let p99 = |it: &Window| it.percentile(0.99);
            let ratio: Series = pairs(off, idle, p99);
            let row = Row::new(
                case,
                "p99, ms, engine idle",
                series(idle, p99).text(2),
                format!("compiled out: {}", series(off, p99).text(2)),
                ratio.text(3),
            );
            self.rows.push(row.at_least(0.99, ratio.median()));
        }
        Ok(())
    }

    fn quiet_sync(&mut self) -> Result<()> {
        let (mut raw, mut theirs) = (Vec::new(), Vec::new());
        let (mut checked, mut forgotten) = (Vec::new(), Vec::new());
        let sync = |name, target| self.setting.quiet_sync(name, target).map(|rate| rate / MIB);
        for round in 0..self.plan.rounds {
            for index in in_turn(round, vec![0, 1, 2, 3]) {
                match index {
                    0 => raw.push(self.setting.raw_read()? / MIB),
                    1 => forgotten.push(sync(Name::Snapless, Target::Forget)?),
                    2 => checked.push(sync(Name::Snapless, Target::Null)?),
                    _ => theirs.push(sync(Name::Qemu, Target::Null)?),
                }
            }
        }
        let all = |values: &[f64]| values.iter().copied().collect::<Series>();
        let sinks = [("null sink", &forgotten), ("null sink that keeps checksums", &checked)];
        for (sink, ours) in sinks {
            for (name, other, mark) in [("raw read", &raw, 0.95), ("QEMU", &theirs, 1.0)] {
                let ratio: Series = ours.iter().zip(other).map(|(a, b)| a / b).collect();
                let row = Row::new(
                    "first sync, no writers",
                    format!("MiB/s, {sink}"),
                    all(ours).text(0),
                    format!("{name}: {}", all(other).text(0)),
                    ratio.text(2),
                );
                self.rows.push(row.at_least(mark, ratio.median()));
            }
        }
        Ok(())
    }

    fn loaded_syncs(&mut self) -> Result<()> {
        for (size, depth) in [("4k", 1), ("4k", 16), ("16k", 1), ("16k", 16)] {
            let load = Load::writes(size, depth);
            let [ours, theirs] = self.both(&load)?;
            self.compare_syncs(&load, &ours, &theirs);
            if (size, depth) == ("4k", 16) {
                self.plots.take(&ours, &theirs);
            }
        }
        Ok(())
    }

    fn both(&self, load: &Load) -> Result<[Vec<LoadedSync>; 2]> {
        let mut runs = [Vec::new(), Vec::new()];
        for round in 0..self.plan.rounds {
            for name in in_turn(round, Name::BOTH.to_vec()) {
                let run = self.setting.loaded_sync(&self.plan, name, load)?;
                runs[usize::from(name == Name::Qemu)].push(run);
            }
        }
        Ok(runs)
    }

    fn compare_syncs(&mut self, load: &Load, ours: &[LoadedSync], theirs: &[LoadedSync]) {
        let case = format!("first sync under {}", load.name());
        let iops = pairs(ours, theirs, |it| it.during.iops);
        let row = Row::new(
            &case,
            "writers' IOPS",
            series(ours, |it| it.during.iops).text(0),
            format!("QEMU: {}", series(theirs, |it| it.during.iops).text(0)),
            iops.text(1),
        );
        self.rows.push(row.at_least(5.0, iops.median()));
        for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("longest", 1.0)] {
            let of = |it: &LoadedSync| it.during.percentile(share);
            let ratio = pairs(ours, theirs, of);
            let row = Row::new(
                &case,
                format!("{name}, ms"),
                series(ours, of).text(2),
                format!("QEMU: {}", series(theirs, of).text(2)),
                ratio.text(3),
            );
            let has_mark = name == "p99";
            self.rows.push(if has_mark { row.at_most(0.1, ratio.median()) } else { row });
        }
        let holds: Series = ours.iter().filter_map(|it| it.longest_hold_ms).collect();
        let longest = holds.spread().1;
        let row = Row::new(
            &case,
            "longest hold, ms",
            holds.text(1),
            format!("`hold_limit`: {HOLD_LIMIT_MS:.0}"),
            format!("{:.2}", longest / HOLD_LIMIT_MS),
        );
        self.rows.push(row.marked("≤ 1, every time", longest <= HOLD_LIMIT_MS));
        let seconds = pairs(ours, theirs, |it| it.seconds);
        let row = Row::new(
            case,
            "duration of the sync, s",
            series(ours, |it| it.seconds).text(2),
            format!("QEMU: {}", series(theirs, |it| it.seconds).text(2)),
            seconds.text(2),
        );
        self.rows.push(row.at_most(1.0, seconds.median()));
    }

    fn easy_rate(&mut self) -> Result<()> {
        let load = Load { rate: EASY_RATE, ..Load::writes("4k", 16) };
        let [ours, theirs] = self.both(&load)?;
        let reads: Series = (0..self.plan.rounds)
            .map(|_| self.block_read(&load))
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .collect();
        let added = |runs: &[LoadedSync]| -> Series {
            let p99 = |window: &Window| window.percentile(0.99);
            runs.iter().map(|it| p99(&it.during) - p99(&it.before)).collect()
        };
        let median = added(&ours).median();
        let row = Row::new(
            format!("first sync under {}", load.name()),
            "p99 added, ms",
            added(&ours).text(2),
            format!("a block's read: {}; QEMU adds {}", reads.text(2), added(&theirs).text(2)),
            format!("{:.2}", median / reads.median()),
        );
        self.rows.push(row.marked("≤ 1.2 reads", median <= reads.median() * 1.2));
        Ok(())
    }

    /// The p99 in milliseconds of random reads of one block beside the same writers.
    fn block_read(&self, load: &Load) -> Result<f64> {
        let setting = &self.setting;
        let host = setting.host(&["--engine", "off"])?;
        let writers = Fio::start(&host.uri("v"), setting.size, load, &setting.folder)?;
        let load = Load { size: "64k", depth: 1, rate: 0, reads: true, skip_kib: 0 };
        let readers = Fio::start(&host.uri("v"), setting.size, &load, &setting.folder)?;
        std::thread::sleep(self.plan.warm);
        let start = now_ms();
        std::thread::sleep(self.plan.window);
        let end = now_ms();
        let window = Window::new("reads of a block", &readers.end()?, start, end)?;
        writers.end()?;
        host.quit()?;
        Ok(window.percentile(0.99))
    }
}

/// One number per run.
fn series<T>(runs: &[T], of: impl Fn(&T) -> f64) -> Series {
    runs.iter().map(of).collect()
}

/// The ratio within each round.
fn pairs<T>(a: &[T], b: &[T], of: impl Fn(&T) -> f64) -> Series {
    a.iter().zip(b).map(|(a, b)| of(a) / of(b)).collect()
}
