//! The cases: each makes its rows.
//!
//! The rule: contestants take turns, run by run; ratios are made within a round, so that a machine
//! that gets slower meanwhile makes both slower.

mod live;
mod many;
mod slow;
mod sparse;

use std::path::{Path, PathBuf};

use crate::contestant::{Name, Setting, Target};
use crate::error::{IoContext, Result};
use crate::fio::{Fio, Load, now_ms};
use crate::plot::Plots;
use crate::run::{LoadedSync, Plan, fill, in_turn};
use crate::statistics::{Series, Window};
use crate::table::Row;

const MIB: f64 = 1024.0 * 1024.0;
/// A file system in memory.
const IN_MEMORY: &str = "/dev/shm";
/// Bytes of a file there.
const MEMORY_SIZE: u64 = 256 << 20;
/// The engine's own limit of a hold.
const HOLD_LIMIT_MS: f64 = 200.0;
/// A rate that any disk carries.
const EASY_RATE: u32 = 500;

type Step = fn(&mut Cases) -> Result<()>;

const STEPS: [(&str, Step); 8] = [
    ("no session", Cases::no_session),
    ("first sync without writers", Cases::quiet_sync),
    ("first sync under writers", Cases::loaded_syncs),
    ("first sync under an easy rate of writes", Cases::easy_rate),
    ("slow target", Cases::slow_target),
    ("live replication", Cases::live),
    ("several volumes", Cases::many),
    ("a sparse volume of 64 TiB", Cases::sparse),
];

/// A benchmark under way.
pub struct Cases {
    /// How much is measured.
    pub plan: Plan,
    /// Where.
    pub setting: Setting,
    /// `snapless-server`.
    pub server: PathBuf,
    /// What came of it so far.
    pub rows: Vec<Row>,
    /// What is drawn.
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

    /// On a file in memory: on a disk, what the gate costs is lost in what the disk does.
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
            // More pairs than elsewhere: the difference looked for is small.
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
            self.rows.push(Row {
                case: case.clone(),
                measured: "IOPS, engine idle".to_owned(),
                ours: series(idle, |it| it.iops).text(0),
                other: format!("compiled out: {}", series(off, |it| it.iops).text(0)),
                ratio: iops.text(3),
                mark: "≥ 0.99".to_owned(),
                reached: Some(iops.median() >= 0.99),
            });
            let p99: Series = pairs(off, idle, |it| it.percentile(0.99));
            self.rows.push(Row {
                case,
                measured: "p99, ms, engine idle".to_owned(),
                ours: series(idle, |it| it.percentile(0.99)).text(2),
                other: format!("compiled out: {}", series(off, |it| it.percentile(0.99)).text(2)),
                ratio: p99.text(3),
                mark: "≥ 0.99".to_owned(),
                reached: Some(p99.median() >= 0.99),
            });
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
                self.rows.push(Row {
                    case: "first sync, no writers".to_owned(),
                    measured: format!("MiB/s, {sink}"),
                    ours: all(ours).text(0),
                    other: format!("{name}: {}", all(other).text(0)),
                    ratio: ratio.text(2),
                    mark: format!("≥ {mark}"),
                    reached: Some(ratio.median() >= mark),
                });
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
        self.rows.push(Row {
            case: case.clone(),
            measured: "writers' IOPS".to_owned(),
            ours: series(ours, |it| it.during.iops).text(0),
            other: format!("QEMU: {}", series(theirs, |it| it.during.iops).text(0)),
            ratio: iops.text(1),
            mark: "≥ 5".to_owned(),
            reached: Some(iops.median() >= 5.0),
        });
        for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("longest", 1.0)] {
            let of = |it: &LoadedSync| it.during.percentile(share);
            let ratio = pairs(ours, theirs, of);
            let has_mark = name == "p99";
            self.rows.push(Row {
                case: case.clone(),
                measured: format!("{name}, ms"),
                ours: series(ours, of).text(2),
                other: format!("QEMU: {}", series(theirs, of).text(2)),
                ratio: ratio.text(3),
                mark: if has_mark { "≤ 0.1".to_owned() } else { String::new() },
                reached: has_mark.then(|| ratio.median() <= 0.1),
            });
        }
        let holds: Series = ours.iter().filter_map(|it| it.longest_hold_ms).collect();
        self.rows.push(Row {
            case: case.clone(),
            measured: "longest hold, ms".to_owned(),
            ours: holds.text(1),
            other: format!("`hold_limit`: {HOLD_LIMIT_MS:.0}"),
            ratio: format!("{:.2}", holds.spread().1 / HOLD_LIMIT_MS),
            mark: "≤ 1, every time".to_owned(),
            reached: Some(holds.spread().1 <= HOLD_LIMIT_MS),
        });
        let seconds = pairs(ours, theirs, |it| it.seconds);
        self.rows.push(Row {
            case,
            measured: "duration of the sync, s".to_owned(),
            ours: series(ours, |it| it.seconds).text(2),
            other: format!("QEMU: {}", series(theirs, |it| it.seconds).text(2)),
            ratio: seconds.text(2),
            mark: "≤ 1".to_owned(),
            reached: Some(seconds.median() <= 1.0),
        });
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
        let limit = reads.median() * 1.2;
        self.rows.push(Row {
            case: format!("first sync under {}", load.name()),
            measured: "p99 added, ms".to_owned(),
            ours: added(&ours).text(2),
            other: format!(
                "a block's read: {}; QEMU adds {}",
                reads.text(2),
                added(&theirs).text(2)
            ),
            ratio: format!("{:.2}", added(&ours).median() / reads.median()),
            mark: "≤ 1.2 reads".to_owned(),
            reached: Some(added(&ours).median() <= limit),
        });
        Ok(())
    }

    /// The p99 of reading one block at random beside the same writers, in milliseconds.
    fn block_read(&self, load: &Load) -> Result<f64> {
        let setting = &self.setting;
        let host = setting.host(&["--engine", "off"])?;
        let writers = Fio::start(&host.uri("v"), setting.size, load, &setting.folder)?;
        let load = Load { size: "64k", depth: 1, rate: 0, reads: true };
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

/// One number of each run.
fn series<T>(runs: &[T], of: impl Fn(&T) -> f64) -> Series {
    runs.iter().map(of).collect()
}

/// The ratio within each round.
fn pairs<T>(a: &[T], b: &[T], of: impl Fn(&T) -> f64) -> Series {
    a.iter().zip(b).map(|(a, b)| of(a) / of(b)).collect()
}
