//! Restores and mounts of a point, however long the history before and after it is.
//!
//! A restore is compared with a plain copy of the image's file, a mount with `qemu-nbd` on it. Both
//! sides find their files in the system's cache, as long as it has room.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use snapless_bench::history::{History, WRITE_LEN};

use super::{Cases, series};
use crate::error::{IoContext, Result};
use crate::fio::{Fio, Load};
use crate::nbd;
use crate::process::{self, Running};
use crate::run::{COMPARE_LEN, compare, in_turn};
use crate::statistics::{Series, Window, now_ms};
use crate::table::Row;

const VOLUME: &str = "5d0f7c1e-6d0c-4e57-8a35-3f1b0e6f4c21";
const PROGRAM: &str = "snapless-server";
const BENCH: &str = "snapless-bench";
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

/// A repository, its volume's image at t0 and at the end.
struct Stored<'a> {
    cases: &'a Cases,
    folder: tempfile::TempDir,
    history: History,
}

impl Cases {
    pub(super) fn restores(&mut self) -> Result<()> {
        for (index, part) in LENGTHS.into_iter().enumerate() {
            let rows = {
                let stored = Stored::new(self, part)?;
                let mut rows = stored.restores(index + 1 == LENGTHS.len())?;
                rows.extend(stored.mounts()?);
                rows
            };
            self.rows.extend(rows);
        }
        Ok(())
    }
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
        let mut command = Command::new(&cases.setting.host);
        command.args(["history", "--volume", VOLUME, "--repository"]).arg(folder.path().join("r"));
        command.arg("--image").arg(&image).arg("--writes").arg(writes.to_string());
        command.arg("--map").arg(((size / MAPS) >> 10).max(1).to_string());
        let output = process::run(BENCH, &mut command)?;
        let history = serde_json::from_slice(&output.stdout)
            .map_err(|error| process::failed(BENCH, format!("it printed no history: {error}")))?;
        Ok(Self { cases, folder, history })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn name(&self, what: &str) -> String {
        let size = self.cases.setting.size.min(SIZE_MAX) >> 20;
        format!("{what} of {size} MiB out of a stream of {} MiB", self.history.bytes >> 20)
    }

    /// Restores the latest point, and others of the longest history.
    fn restores(&self, is_longest: bool) -> Result<Vec<Row>> {
        let mut points = vec![("latest", "latest", Some("image.img"))];
        if is_longest {
            points.push(("t0", "t0", Some("t0.img")));
            points.push((&self.history.middle, "the middle", None));
        }
        let size = self.cases.setting.size.min(SIZE_MAX);
        let mut copies = Vec::new();
        let mut ours = vec![Vec::new(); points.len()];
        for round in 0..self.cases.plan.rounds {
            for index in in_turn(round, (0..=points.len()).collect()) {
                let to = self.path("restored.img");
                let began = Instant::now();
                let Some((at, _, image)) = points.get(index) else {
                    copy(&self.path("image.img"), &to, size)?;
                    copies.push(began.elapsed().as_secs_f64());
                    remove(&to)?;
                    continue;
                };
                self.restore(at, &to)?;
                ours[index].push(began.elapsed().as_secs_f64());
                if let Some(image) = image {
                    let steps = (0..size).step_by(COMPARE_LEN);
                    compare("a restore", &to, &self.path(image), steps)?;
                }
                remove(&to)?;
            }
        }
        let rows = points.iter().zip(&ours).map(|((_, name, _), ours)| {
            let ratio: Series = copies.iter().zip(ours).map(|(copy, ours)| copy / ours).collect();
            let row = Row::new(
                self.name("a restore"),
                format!("{name}: s"),
                series(ours, |it| *it).text(2),
                format!("a copy of the file: {}", series(&copies, |it| *it).text(2)),
                ratio.text(2),
            );
            row.at_least(COPY_RATIO, ratio.median())
        });
        Ok(rows.collect())
    }

    fn restore(&self, at: &str, to: &Path) -> Result<()> {
        let mut command = process::command(&self.cases.server);
        command.args(["restore", "--volume", VOLUME, "--at", at, "--repository"]);
        command.arg(self.path("r")).arg("--to").arg(to);
        process::run(PROGRAM, &mut command).map(drop)
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
        let text = |of: &[f64], digits| series(of, |it| *it).text(digits);
        let ours = series(&first[0], |it| *it);
        let first_byte = Row::new(
            self.name("a mount"),
            "first byte, s",
            ours.text(3),
            format!("{QEMU} on the file: {}", text(&first[1], 3)),
            format!("{:.2}", ours.median() / series(&first[1], |it| *it).median()),
        );
        let ratio: Series = reads[0].iter().zip(&reads[1]).map(|(a, b)| a / b).collect();
        let random = Row::new(
            self.name("a mount"),
            "random reads of 4 KiB, QD 16: IOPS",
            text(&reads[0], 0),
            format!("{QEMU} on the file: {}", text(&reads[1], 0)),
            ratio.text(2),
        );
        Ok(vec![first_byte.marked("≤ 1 s", ours.median() <= FIRST_BYTE), random])
    }

    /// Seconds from the start to the first byte, and random reads.
    fn mount(&self, is_ours: bool) -> Result<(f64, Window)> {
        let socket = self.path("disk.sock");
        // Left over from the program before.
        let _ = std::fs::remove_file(&socket);
        let (program, mut command) = if is_ours {
            let mut command = process::command(&self.cases.server);
            command.args(["mount", "--volume", VOLUME, "--at", "latest", "--repository"]);
            command.arg(self.path("r")).arg("--socket").arg(&socket);
            (PROGRAM, command)
        } else {
            let mut command = process::command(QEMU);
            command.args(["--read-only", "--format=raw", "--persistent", "--shared=0"]);
            command.arg(format!("--socket={}", socket.display())).arg(self.path("image.img"));
            (QEMU, command)
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let began = Instant::now();
        let server = Running::start(program, &mut command)?;
        let size = self.cases.setting.size.min(SIZE_MAX);
        let len = 4096;
        let found = nbd::first_read(&socket, size / 2, len)?;
        let seconds = began.elapsed().as_secs_f64();
        let mut want = vec![0; len as usize];
        let image = self.path("image.img");
        let file = File::open(&image).on("open", &image)?;
        file.read_exact_at(&mut want, size / 2).on("read", &image)?;
        if found != want {
            return Err(process::failed(program, "its first bytes are not the image's"));
        }
        let load = Load { size: "4k", depth: 16, rate: 0, reads: true };
        let uri = format!("nbd+unix:///?socket={}", socket.display());
        let fio = Fio::start(&uri, size, &load, &self.cases.setting.folder)?;
        std::thread::sleep(self.cases.plan.warm);
        let start = now_ms();
        std::thread::sleep(self.cases.plan.window);
        let end = now_ms();
        let window = Window::new("reads of a mount", &fio.end()?, start, end)?;
        drop(server);
        Ok((seconds, window))
    }
}

/// Copies the first bytes of a file durably, in steps as a restore does.
fn copy(from: &Path, to: &Path, size: u64) -> Result<()> {
    let (source, mut target) =
        (File::open(from).on("open", from)?, File::create(to).on("create", to)?);
    let mut bytes = vec![0; COMPARE_LEN];
    for offset in (0..size).step_by(COMPARE_LEN) {
        source.read_exact_at(&mut bytes, offset).on("read", from)?;
        target.write_all(&bytes).on("write", to)?;
    }
    Ok(target.sync_all().on("write", to)?)
}

fn remove(path: &Path) -> Result<()> {
    Ok(std::fs::remove_file(path).on("remove", path)?)
}
