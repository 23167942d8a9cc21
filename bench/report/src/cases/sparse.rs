//! A volume of 64 TiB that consists mostly of holes, which the sweep skips.
//!
//! It is a sparse file in memory. Far less than 1 % is allocated, in two amounts, which show what
//! the time is proportional to.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use snapless_bench::process::HostProcess;
use snapless_bench::spec::SessionSpec;
use snapless_bench::spec::SinkSpec;

use super::{Cases, IN_MEMORY, MIB};
use crate::error::{IoContext, Result};
use crate::run::{COMPARE_LEN, compare};
use crate::table::Row;
use crate::wait::wait_for;

const LENGTH: u64 = 64 << 40;
/// Length of a run of data.
const RUN: u64 = COMPARE_LEN as u64;
const LIMIT: Duration = Duration::from_mins(5);

impl Cases {
    pub(super) fn sparse(&mut self) -> Result<()> {
        let folder = tempfile::Builder::new().prefix("snapless-bench-").tempdir_in(IN_MEMORY);
        let folder = folder.on("make a folder in", Path::new(IN_MEMORY))?;
        for runs in [256, 512] {
            let row = self.sparse_run(folder.path(), runs)?;
            self.rows.push(row);
        }
        Ok(())
    }

    fn sparse_run(&self, folder: &Path, runs: u64) -> Result<Row> {
        let (disk, copy) = (folder.join("disk.img"), folder.join("copy.img"));
        make(&disk, runs)?;
        let options = ["--sector", "4096"];
        let host = HostProcess::start(&self.setting.host, folder, &[("v", &disk)], &options)?;
        let mut control = host.control()?;
        let sink = SinkSpec::Image { latest: copy.clone(), t0: None };
        let spec = SessionSpec { skip_holes: true, ..SessionSpec::new(sink) };
        let began = Instant::now();
        let started = control.start("v", &spec)?;
        let report = wait_for("a first sync", LIMIT, || {
            let report = control.status("v")?;
            Ok(report.is_drained().then_some(report))
        })?;
        let seconds = began.elapsed().as_secs_f64();
        control.stop("v")?;
        host.quit()?;
        compare("a sparse volume", &copy, &disk, offsets(runs))?;
        #[allow(clippy::cast_precision_loss)]
        let (start, memory) = (started.t0_us as f64 / 1e6, started.memory as f64 / MIB);
        let row = Row::new(
            "64 TiB, sparse, holes skipped",
            format!("{runs} MiB allocated: start, s; memory, MiB; first sync, s"),
            format!("{start:.2}; {memory:.0}; {seconds:.2}"),
            format!("blocks read: {}", report.blocks_by_sweep),
            "",
        )
        .marked("start < 1 s", start < 1.0);
        for path in [disk, copy] {
            std::fs::remove_file(&path).on("remove", &path)?;
        }
        Ok(row)
    }
}

fn offsets(runs: u64) -> impl Iterator<Item = u64> {
    (0..runs).map(move |index| index * (LENGTH / runs / RUN * RUN))
}

fn make(path: &Path, runs: u64) -> Result<()> {
    let file = File::create(path).on("create", path)?;
    file.set_len(LENGTH).on("resize", path)?;
    let mut random = fastrand::Rng::with_seed(runs);
    let mut bytes = vec![0; COMPARE_LEN];
    for offset in offsets(runs) {
        random.fill(&mut bytes);
        file.write_all_at(&bytes, offset).on("write", path)?;
    }
    Ok(())
}
