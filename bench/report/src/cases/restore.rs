//! Restores and mounts of a point, however long the history before and after it is.
//!
//! A restore is compared with a plain copy of the image's file, a mount with `qemu-nbd` on it. Both
//! sides find their files in the system's cache, as long as it has room; after the longest history
//! also without that.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use snapless_bench::history::{self, History, WRITE_LEN};

use super::{Cases, series};
use crate::error::{IoContext, Result};
use crate::fio::{Fio, Load};
use crate::history::write;
use crate::process;
use crate::run::{COMPARE_LEN, compare, copy, in_turn};
use crate::server::{Mounted, Repository, evict};
use crate::statistics::{Series, Window, now_ms};
use crate::table::Row;

const QEMU: &str = "qemu-nbd";
/// The largest volume.
const SIZE_MAX: u64 = 1 << 30;
/// Writes of the histories, as parts of the volume's length.
const LENGTHS: [f64; 3] = [0.25, 1.0, 2.0];
/// A map is kept after this part of the volume's length: short, so that the histories have many.
const MAPS: u64 = 8;
/// What a restore must have of the throughput of a plain copy.
const COPY_RATIO: f64 = 0.8;
/// Seconds until the first byte of a mount.
const FIRST_BYTE: f64 = 1.0;

/// A repository, its volume's image at t0, in the middle and at the end.
struct Stored<'a> {
    cases: &'a Cases,
    folder: tempfile::TempDir,
    repository: Repository,
    history: History,
}

impl Cases {
    pub(super) fn restores(&mut self) -> Result<()> {
        for (index, part) in LENGTHS.into_iter().enumerate() {
            let rows = {
                let stored = Stored::new(self, part)?;
                let is_longest = index + 1 == LENGTHS.len();
                let mut rows = stored.restores(is_longest, Cache::Warm)?;
                // Before the cold restores, which leave the cache with a part of the files.
                rows.extend(stored.mounts()?);
                if is_longest {
                    rows.extend(stored.restores(is_longest, Cache::Cold)?);
                }
                rows
            };
            self.rows.extend(rows);
        }
        Ok(())
    }
}

/// What the system has of the files that are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cache {
    /// All, as long as there is room.
    Warm,
    /// Nothing.
    Cold,
}

impl<'a> Stored<'a> {
    fn new(cases: &'a Cases, part: f64) -> Result<Self> {
        let folder = tempfile::tempdir_in(&cases.setting.folder);
        let folder = folder.on("make a folder in", &cases.setting.folder)?;
        let size = cases.setting.size.min(SIZE_MAX);
        let (begin, image) = (folder.path().join("t0.img"), folder.path().join("image.img"));
        copy(&cases.setting.disk, &begin, size)?;
        copy(&begin, &image, size)?;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss
        )]
        let writes = ((size / WRITE_LEN) as f64 * part) as u64;
        let root = folder.path().join("r");
        let plan = history::Plan {
            repository: root.clone(),
            begin: history::Begin::Image { image, middle: Some(folder.path().join("middle.img")) },
            writes,
            map_bytes: size / MAPS,
            ..history::Plan::default()
        };
        let history = write(&cases.setting.host, &plan)?;
        let repository = Repository::at(&cases.server, &root);
        Ok(Self { cases, folder, repository, history })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn name(&self, what: &str) -> String {
        let size = self.cases.setting.size.min(SIZE_MAX) >> 20;
        format!("{what} of {size} MiB out of a stream of {} MiB", self.history.bytes >> 20)
    }

    /// Restores the latest point, and others of the longest history.
    fn restores(&self, is_longest: bool, cache: Cache) -> Result<Vec<Row>> {
        let mut points = vec![("latest", "latest", "image.img")];
        if is_longest {
            points.push(("t0", "t0", "t0.img"));
            points.push((&self.history.middle, "the middle", "middle.img"));
        }
        let size = self.cases.setting.size.min(SIZE_MAX);
        let mut copies = Vec::new();
        let mut ours = vec![Vec::new(); points.len()];
        for round in 0..self.cases.plan.rounds {
            for index in in_turn(round, (0..=points.len()).collect()) {
                let to = self.path("restored.img");
                if cache == Cache::Cold {
                    self.repository.evict()?;
                    evict(&self.path("image.img"))?;
                }
                let Some((at, _, image)) = points.get(index) else {
                    let began = Instant::now();
                    copy(&self.path("image.img"), &to, size)?;
                    copies.push(began.elapsed().as_secs_f64());
                    remove(&to)?;
                    continue;
                };
                ours[index].push(self.repository.restore(at, &to)?.seconds);
                let steps = (0..size).step_by(COMPARE_LEN);
                compare("a restore", &to, &self.path(image), steps)?;
                remove(&to)?;
            }
        }
        let state = if cache == Cache::Cold { ", not in the cache" } else { "" };
        let rows = points.iter().zip(&ours).map(|((_, name, _), ours)| {
            let ratio: Series = copies.iter().zip(ours).map(|(copy, ours)| copy / ours).collect();
            let row = Row::new(
                self.name("a restore"),
                format!("{name}{state}: s"),
                series(ours, |it| *it).quartile_text(2),
                format!("a copy of the file: {}", series(&copies, |it| *it).quartile_text(2)),
                ratio.quartile_text(2),
            );
            row.at_least(COPY_RATIO, ratio.median())
        });
        Ok(rows.collect())
    }

    /// Mounts the latest point.
    fn mounts(&self) -> Result<Vec<Row>> {
        let (mut first, mut reads) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for round in 0..self.cases.plan.rounds {
            for index in in_turn(round, vec![0, 1]) {
                let (seconds, window) = self.mount(index == 0)?;
                first[index].push(seconds);
                reads[index].push(window.iops);
            }
        }
        let text = |of: &[f64], digits| series(of, |it| *it).quartile_text(digits);
        let ours = series(&first[0], |it| *it);
        let ratio = |of: &[Vec<f64>; 2]| -> Series {
            of[0].iter().zip(&of[1]).map(|(a, b)| a / b).collect()
        };
        let first_byte = Row::new(
            self.name("a mount"),
            "first byte, s",
            ours.quartile_text(3),
            format!("{QEMU} on the raw image: {}", text(&first[1], 3)),
            ratio(&first).quartile_text(2),
        );
        let random = Row::new(
            self.name("a mount"),
            "random reads of 4 KiB, QD 16: IOPS",
            text(&reads[0], 0),
            format!("{QEMU} on the raw image: {}", text(&reads[1], 0)),
            ratio(&reads).quartile_text(2),
        );
        Ok(vec![first_byte.marked("≤ 1 s", ours.median() <= FIRST_BYTE), random])
    }

    /// Seconds from the start to the first byte, and random reads.
    fn mount(&self, is_ours: bool) -> Result<(f64, Window)> {
        let (socket, image) = (self.path("disk.sock"), self.path("image.img"));
        let size = self.cases.setting.size.min(SIZE_MAX);
        let (place, mut want) = ((size / 2, 4096), [0; 4096]);
        let mounted = if is_ours {
            self.repository.mount("latest", &socket, place)?
        } else {
            let mut command = process::command(QEMU);
            command.args(["--read-only", "--format=raw", "--persistent", "--shared=0"]);
            command.arg(format!("--socket={}", socket.display())).arg(&image);
            Mounted::start(QEMU, &mut command, &socket, place)?
        };
        let file = File::open(&image).on("open", &image)?;
        file.read_exact_at(&mut want, size / 2).on("read", &image)?;
        if mounted.bytes != want {
            return Err(process::failed("a mount", "its first bytes are not the image's"));
        }
        let load = Load { size: "4k", depth: 16, rate: 0, reads: true, skip_kib: 0 };
        let uri = format!("nbd+unix:///?socket={}", socket.display());
        let fio = Fio::start(&uri, size, &load, &self.cases.setting.folder)?;
        std::thread::sleep(self.cases.plan.warm);
        let start = now_ms();
        std::thread::sleep(self.cases.plan.window);
        let end = now_ms();
        let window = Window::new("reads of a mount", &fio.end()?, start, end)?;
        Ok((mounted.seconds, window))
    }
}

fn remove(path: &Path) -> Result<()> {
    Ok(std::fs::remove_file(path).on("remove", path)?)
}
